//! One task's story, from the claim to the end of its log.

use crate::Worker;
use crate::context;
use crate::draft::{Barred, Draft, RetryNote, StartNote, json};
use crate::ends::{begun, end, ending, failure, settle_from_log, too_late};
use crate::files;
use crate::keeper::{Keeper, Leash, Order};
use crate::pump::{Finish, Pumped, pump};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{BackendError, LeaseError, Leasing, Measurement, Release, Request};
use tidewire_core::queue::Left;
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Entry, Fence, Kind, Outcome, Task, TaskRef, Timestamp, Usage};

/// A task that waited so long may have been told that its wait outgrew the estimate, so that its log is not empty.
/// Half of the shortest wait that can outgrow one.
const TOLD_OF_DELAY: Duration = Duration::from_millis(500);

/// Runs a claimed task: takes its lease, opens its log, lets the model speak, and ends the log, or leaves the
/// task to another attempt.
pub(crate) async fn run(worker: &Worker, keeper: &Arc<Keeper>, at: TaskRef) -> Left {
    let (task, lease) = match lease(worker, at).await {
        Ok(leased) => leased,
        Err(left) => return left,
    };
    let leash = keeper.keep(&lease, worker.clock.monotonic());
    match attempt(worker, &task, &lease, leash).await {
        Ok(left) => left,
        Err(Barred::Ended) => {
            settle_from_log(worker, at).await;
            Left::Ended
        }
        Err(Barred::Fenced) => {
            tracing::info!(task = %task.id, fence = lease.fence.0, "another worker has taken the task over");
            Left::Away
        }
        // The lease lapses by itself, and the reaper finds the task when the engine is well again.
        Err(Barred::Unavailable(reason)) => {
            tracing::error!(task = %task.id, reason, "the log can't be written; the task waits for the engine");
            Left::Away
        }
    }
}

async fn lease(worker: &Worker, at: TaskRef) -> Result<(Task, Lease), Left> {
    let now = worker.clock.now();
    let leasing = Leasing { worker: worker.name.clone(), now, until: now.plus(worker.pace.lease), seize: false };
    worker.tasks.lease(at, leasing).await.map_err(|error| match error {
        // Stopped while it waited.
        LeaseError::Ended | LeaseError::Unknown => Left::Ended,
        // Claimed twice, or claimed too early: whoever has it goes on with it.
        LeaseError::Held => Left::Away,
        LeaseError::TooEarly { not_before } => Left::Again { not_before },
        LeaseError::Unavailable(error) => {
            tracing::error!(task = %at.task, %error, "no lease");
            Left::Away
        }
    })
}

async fn attempt(worker: &Worker, task: &Task, lease: &Lease, mut leash: Leash) -> Result<Left, Barred> {
    let waited = worker.clock.now().since(task.submitted_at);
    let untouched = lease.fence == Fence(1) && waited < TOLD_OF_DELAY;
    let mut draft = if untouched { Draft::blank(lease) } else { Draft::take_over(worker, lease).await? };
    if let Some(ending) = no_attempt(worker, task, lease, &draft).await? {
        return end(worker, task, draft, Vec::new(), ending).await;
    }
    let Some(backend) = worker.backends.get(&task.spec.capability).cloned() else {
        let gone = failure("unknown_model", "no deployment has this model any more: the configuration has changed");
        let ending = ending(Outcome::Failed, Some(gone), draft.used_before, lease.attempt);
        return end(worker, task, draft, Vec::new(), ending).await;
    };
    let input = context::input(worker, task).await?;
    let input = match files::with_texts(worker, task, &input, &mut leash).await? {
        Ok(input) => input,
        Err(ended) => return conclude(worker, task, lease, draft, ended).await,
    };
    let model = worker.catalog.model_at_backend(&task.spec.capability, &task.spec.model);
    let note = StartNote { attempt: lease.attempt, worker: &worker.name.0, model: &model };
    let opening = vec![Entry::new(worker.clock.now(), Kind::Started, json(&note))];
    // Only plain text goes on in the middle; a tool call or a train of thought starts over.
    let committed = if draft.has_more_than_text { String::new() } else { draft.text.clone() };
    let request = Request { model, input, committed, timeouts: worker.pace.timeouts };
    let pumped = pump(worker, task, &mut draft, &mut leash, opening, (backend, request)).await?;
    conclude(worker, task, lease, draft, pumped).await
}

/// Why no attempt begins, if none does.
async fn no_attempt(worker: &Worker, task: &Task, lease: &Lease, draft: &Draft) -> Result<Option<Ending>, Barred> {
    let attempts = begun(task, lease.attempt.saturating_sub(1));
    let ended = |outcome, error| Ok(Some(ending(outcome, error, draft.used_before, attempts)));
    if task.stop_requested {
        return ended(Outcome::Stopped, None);
    }
    if let Some(root) = task.root()
        && let Some(root) = worker.tasks.get(root).await.map_err(|error| Barred::Unavailable(error.reason))?
        && let Err(spent) = root.spec.origin.budget.unwrap_or_default().check_tokens(root.spent)
    {
        return ended(Outcome::Failed, Some(failure("budget_spent", &spent.to_string())));
    }
    if task.spec.deadline <= worker.clock.now() {
        return ended(Outcome::Failed, Some(too_late()));
    }
    if lease.attempt > task.spec.max_attempts {
        let lost = failure("attempts_exhausted", "the server was lost in the middle of every attempt it may have");
        return ended(Outcome::Failed, Some(lost));
    }
    Ok(None)
}

/// Ends the log, or leaves the task to another attempt.
async fn conclude(worker: &Worker, task: &Task, lease: &Lease, draft: Draft, pumped: Pumped) -> Result<Left, Barred> {
    let used = draft.used_before.plus(pumped.usage);
    let (outcome, error, finish_reason) = match pumped.finish {
        Finish::Whole(reason) => (Outcome::Done, None, Some(reason.to_string())),
        Finish::TooLate => (Outcome::Failed, Some(too_late()), None),
        Finish::Refused(failure) => (Outcome::Failed, Some(failure), None),
        Finish::Called(Order::Stop | Order::Go) => (Outcome::Stopped, None, None),
        Finish::Called(Order::Lost) => return Err(Barred::Fenced),
        Finish::Called(Order::HandBack) => {
            worker.log.append(draft.append(pumped.rest)).await?;
            release(worker, lease, Release::HandBack).await;
            return Ok(Left::Away);
        }
        Finish::Failed(error) => match another_attempt(worker, task, lease, &error) {
            Some(not_before) => {
                let rest = (pumped.rest, pumped.usage);
                return retry(worker, lease, &draft, rest, (error, not_before)).await;
            }
            None => (Outcome::Failed, Some(failure(error.fault.code(), &error.message)), None),
        },
    };
    let ending = Ending { finish_reason, ..ending(outcome, error, used, lease.attempt) };
    end(worker, task, draft, pumped.rest, ending).await
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
    lease: &Lease,
    draft: &Draft,
    (mut rest, usage): (Vec<Entry>, Usage),
    (error, not_before): (BackendError, Timestamp),
) -> Result<Left, Barred> {
    let now = worker.clock.now();
    let after_ms = u64::try_from(not_before.since(now).as_millis()).unwrap_or(u64::MAX);
    let code = error.fault.code().to_owned();
    tracing::info!(task = %lease.task.task, attempt = lease.attempt, code, after_ms, "the attempt failed; another follows");
    let note = RetryNote { attempt: lease.attempt, code, message: error.message, after_ms, usage };
    rest.push(Entry::new(now, Kind::Retry, json(&note)));
    worker.log.append(draft.append(rest)).await?;
    worker.meter.record(Measurement::Retry);
    release(worker, lease, Release::Retry { not_before }).await;
    Ok(Left::Again { not_before })
}

async fn release(worker: &Worker, lease: &Lease, release: Release) {
    if let Err(error) = worker.tasks.release(lease, release).await {
        // Lost or unavailable: either way the lease lapses, and the reaper finds the task.
        tracing::warn!(task = %lease.task.task, %error, "the lease could not be given back");
    }
}
