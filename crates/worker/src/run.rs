//! One task's story, from the claim to the end of its log.

use crate::Worker;
use crate::draft::{Barred, Draft, RetryNote, StartNote, json};
use crate::keeper::{Keeper, Leash, Order};
use crate::pump::{Finish, Pumped, pump};
use std::sync::Arc;
use tidewire_core::port::{BackendError, Cursor, LeaseError, Leasing, Measurement, Release, Request, Settlement};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Entry, Failure, Fence, Kind, Offset, Outcome, Task, TaskRef, Timestamp, Usage};

/// A task that waits for its next attempt.
pub(crate) struct Again {
    pub(crate) task: TaskRef,
    pub(crate) capability: Arc<str>,
    pub(crate) not_before: Timestamp,
}

/// Runs a claimed task: takes its lease, opens its log, lets the model speak, and ends the log, or leaves the
/// task to another attempt.
pub(crate) async fn run(worker: &Worker, keeper: &Arc<Keeper>, at: TaskRef) -> Option<Again> {
    let (task, lease) = lease(worker, at).await?;
    let leash = keeper.keep(&lease, worker.clock.monotonic());
    let told = attempt(worker, &task, &lease, leash).await;
    match told {
        Ok(again) => again,
        Err(Barred::Ended) => {
            settle_from_log(worker, at).await;
            None
        }
        Err(Barred::Fenced) => {
            tracing::info!(task = %task.id, fence = lease.fence.0, "another worker has taken the task over");
            None
        }
        // The lease lapses by itself, and the reaper finds the task when the engine is well again.
        Err(Barred::Unavailable(reason)) => {
            tracing::error!(task = %task.id, reason, "the log can't be written; the task waits for the engine");
            None
        }
    }
}

async fn lease(worker: &Worker, at: TaskRef) -> Option<(Task, Lease)> {
    let now = worker.clock.now();
    let leasing = Leasing { worker: worker.name.clone(), now, until: now.plus(worker.pace.lease), seize: false };
    match worker.tasks.lease(at, leasing).await {
        Ok(leased) => Some(leased),
        // Stopped while it waited, claimed twice, or claimed too early: whoever has it goes on with it.
        Err(LeaseError::Ended | LeaseError::Held | LeaseError::Unknown | LeaseError::TooEarly { .. }) => None,
        Err(LeaseError::Unavailable(error)) => {
            tracing::error!(task = %at.task, %error, "no lease");
            None
        }
    }
}

async fn attempt(worker: &Worker, task: &Task, lease: &Lease, mut leash: Leash) -> Result<Option<Again>, Barred> {
    let first = lease.fence == Fence(1);
    let mut draft = if first { Draft::blank(lease) } else { Draft::take_over(worker, lease).await? };
    if let Some(ending) = no_attempt(worker, task, lease, &draft) {
        draft.end(worker, task, Vec::new(), ending).await?;
        return Ok(None);
    }
    let Some(backend) = worker.backends.get(&task.spec.capability).cloned() else {
        let gone = failure("unknown_model", "no deployment has this model any more: the configuration has changed");
        let ending = ending(Outcome::Failed, Some(gone), draft.used_before, lease.attempt);
        draft.end(worker, task, Vec::new(), ending).await?;
        return Ok(None);
    };
    let model = worker.catalog.model_at_backend(&task.spec.capability, &task.spec.model);
    let note = StartNote { attempt: lease.attempt, worker: &worker.name.0, model: &model };
    let opening = vec![Entry::new(worker.clock.now(), Kind::Started, json(&note))];
    // Only plain text goes on in the middle; a tool call or a train of thought starts over.
    let committed = if draft.has_more_than_text { String::new() } else { draft.text.clone() };
    let request = Request { model, input: task.spec.input.clone(), committed, timeouts: worker.pace.timeouts };
    let pumped = pump(worker, task, &mut draft, &mut leash, opening, (backend, request)).await?;
    conclude(worker, task, lease, draft, pumped).await
}

/// Why no attempt begins, if none does.
fn no_attempt(worker: &Worker, task: &Task, lease: &Lease, draft: &Draft) -> Option<Ending> {
    let attempts = begun(task, lease.attempt.saturating_sub(1));
    if task.stop_requested {
        return Some(ending(Outcome::Stopped, None, draft.used_before, attempts));
    }
    if task.spec.deadline <= worker.clock.now() {
        return Some(ending(Outcome::Failed, Some(too_late()), draft.used_before, attempts));
    }
    if lease.attempt > task.spec.max_attempts {
        let lost = failure("attempts_exhausted", "the server was lost in the middle of every attempt it may have");
        return Some(ending(Outcome::Failed, Some(lost), draft.used_before, attempts));
    }
    None
}

/// How many attempts began, of so many leases: one that is taken only to end the task is none.
fn begun(task: &Task, leases: u32) -> u32 {
    leases.min(task.spec.max_attempts)
}

/// Ends the log, or leaves the task to another attempt.
async fn conclude(
    worker: &Worker,
    task: &Task,
    lease: &Lease,
    draft: Draft,
    pumped: Pumped,
) -> Result<Option<Again>, Barred> {
    let used = draft.used_before.plus(pumped.usage);
    let (outcome, error, finish_reason) = match pumped.finish {
        Finish::Whole(reason) => (Outcome::Done, None, Some(reason.to_string())),
        Finish::TooLate => (Outcome::Failed, Some(too_late()), None),
        Finish::Called(Order::Stop | Order::Go) => (Outcome::Stopped, None, None),
        Finish::Called(Order::Lost) => return Err(Barred::Fenced),
        Finish::Called(Order::HandBack) => {
            worker.log.append(draft.append(pumped.rest)).await?;
            release(worker, lease, Release::HandBack).await;
            return Ok(None);
        }
        Finish::Failed(error) => match another_attempt(worker, task, lease, &error) {
            Some(not_before) => {
                let rest = (pumped.rest, pumped.usage);
                return retry(worker, task, lease, &draft, rest, (error, not_before)).await.map(Some);
            }
            None => (Outcome::Failed, Some(failure(error.fault.code(), &error.message)), None),
        },
    };
    let ending = Ending { finish_reason, ..ending(outcome, error, used, lease.attempt) };
    draft.end(worker, task, pumped.rest, ending).await?;
    Ok(None)
}

/// When another attempt may begin, if one may.
fn another_attempt(worker: &Worker, task: &Task, lease: &Lease, error: &BackendError) -> Option<Timestamp> {
    if !error.fault.is_passing() || lease.attempt >= task.spec.max_attempts {
        return None;
    }
    let wait = worker.pace.backoff.wait(lease.attempt, error, worker.clock.random());
    let not_before = worker.clock.now().plus(wait);
    (not_before < task.spec.deadline).then_some(not_before)
}

async fn retry(
    worker: &Worker,
    task: &Task,
    lease: &Lease,
    draft: &Draft,
    (mut rest, usage): (Vec<Entry>, Usage),
    (error, not_before): (BackendError, Timestamp),
) -> Result<Again, Barred> {
    let now = worker.clock.now();
    let after_ms = u64::try_from(not_before.since(now).as_millis()).unwrap_or(u64::MAX);
    let code = error.fault.code().to_owned();
    tracing::info!(task = %task.id, attempt = lease.attempt, code, after_ms, "the attempt failed; another follows");
    let note = RetryNote { attempt: lease.attempt, code, message: error.message, after_ms, usage };
    rest.push(Entry::new(now, Kind::Retry, json(&note)));
    worker.log.append(draft.append(rest)).await?;
    worker.meter.record(Measurement::Retry);
    release(worker, lease, Release::Retry { not_before }).await;
    Ok(Again { task: lease.task, capability: task.spec.capability.clone(), not_before })
}

async fn release(worker: &Worker, lease: &Lease, release: Release) {
    if let Err(error) = worker.tasks.release(lease, release).await {
        // Lost or unavailable: either way the lease lapses, and the reaper finds the task.
        tracing::warn!(task = %lease.task.task, %error, "the lease could not be given back");
    }
}

/// Ends a task that no worker runs: it was stopped or grew too old in the queue, or its worker does not stop.
pub(crate) async fn end_unheld(worker: &Worker, at: TaskRef, outcome: Outcome, error: Option<Failure>) {
    let now = worker.clock.now();
    let leasing = Leasing { worker: worker.name.clone(), now, until: now.plus(worker.pace.lease), seize: true };
    let Ok((task, lease)) = worker.tasks.lease(at, leasing).await else { return };
    let ended = async {
        let draft = Draft::take_over(worker, &lease).await?;
        let ending = ending(outcome, error, draft.used_before, begun(&task, lease.attempt));
        draft.end(worker, &task, Vec::new(), ending).await
    };
    match ended.await {
        Ok(()) | Err(Barred::Fenced) => {}
        Err(Barred::Ended) => settle_from_log(worker, at).await,
        Err(Barred::Unavailable(reason)) => tracing::error!(task = %at.task, reason, "the task can't be ended"),
    }
}

/// Finishes and settles a task whose log has ended and whose record has not: an engine that keeps them apart
/// fell in between. Both are idempotent.
async fn settle_from_log(worker: &Worker, at: TaskRef) {
    let Ok(state) = worker.log.state(at.log()).await else { return };
    let Some(last) = state.tail.0.checked_sub(1) else { return };
    let cursor = Cursor { epoch: state.epoch, next: Offset(last) };
    let Ok(page) = worker.log.read(at.log(), cursor, 1).await else { return };
    let Some(event) = page.events.first().filter(|event| event.kind == Kind::End) else { return };
    match serde_json::from_slice::<Ending>(&event.data) {
        Ok(ending) => {
            // Settled first: once the record is finished, nobody comes back to this task.
            let settlement = Settlement { task: at, at: event.at, usage: ending.usage };
            if let Err(error) = worker.ledger.settle(settlement).await {
                return tracing::warn!(task = %at.task, %error, "the task could not be settled; its lease lapses");
            }
            if let Err(error) = worker.tasks.finish(at, event.at, ending).await {
                tracing::warn!(task = %at.task, %error, "the task's record could not be finished");
            }
        }
        Err(error) => tracing::error!(task = %at.task, %error, "the end event can't be read"),
    }
}

fn ending(state: Outcome, error: Option<Failure>, usage: Usage, attempts: u32) -> Ending {
    Ending { state, error, finish_reason: None, usage, attempts }
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.to_owned(), message: message.to_owned() }
}

/// Why a task ends at its deadline.
pub(crate) fn too_late() -> Failure {
    failure("deadline_exceeded", "the task's deadline passed; give it a longer `deadline_ms`, or try again later")
}
