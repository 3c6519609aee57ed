//! One task's story, from the claim to the end of its log.

use crate::Worker;
use crate::context;
use crate::draft::{Barred, Draft, RetryNote, json};
use crate::ends::{begun, end, ending, failure, settle_from_log, too_late};
use crate::failover::{Delivered, deliver};
use crate::files;
use crate::keeper::{Keeper, Leash, Order};
use crate::pump::Finish;
use crate::purse::Purse;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{BackendError, LeaseError, Leasing, Measurement, Release};
use tidewire_core::queue::Left;
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Entry, Failure, Fence, Kind, Outcome, Task, TaskRef, Timestamp, Usage};

/// A task that waited so long may have been told that its wait outgrew the estimate, so that its log is not empty.
/// Half of the shortest wait that can outgrow one.
const TOLD_OF_DELAY: Duration = Duration::from_millis(500);

/// Runs a claimed task: takes its lease, opens its log, lets the model speak, and ends the log, or leaves the
/// task to another attempt.
pub(crate) async fn run(worker: &Arc<Worker>, keeper: &Arc<Keeper>, at: TaskRef) -> Left {
    let (task, lease) = match lease(worker, at).await {
        Ok(leased) => leased,
        Err(left) => return left,
    };
    let leash = keeper.keep(&task, &lease, &*worker.clock);
    let attempted = attempt(worker, &task, &lease, leash).await;
    if let Some(of) = &task.spec.cache {
        worker.answers.announced.over(of.key, at);
    }
    match attempted {
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

async fn attempt(worker: &Arc<Worker>, task: &Task, lease: &Lease, mut leash: Leash) -> Result<Left, Barred> {
    let waited = worker.clock.now().since(task.submitted_at);
    let untouched = lease.fence == Fence(1) && waited < TOLD_OF_DELAY;
    let mut draft = if untouched { Draft::blank(task, lease) } else { Draft::take_over(worker, task, lease).await? };
    if let Some(ending) = no_attempt(worker, task, lease, &draft).await? {
        return end(worker, task, draft, Vec::new(), ending).await;
    }
    let input = context::input(worker, task).await?;
    let input = match files::with_texts(worker, task, &input, &mut leash).await? {
        Ok(input) => input,
        Err(pumped) => {
            return conclude(worker, task, lease, draft, Delivered { pumped, deployment: None, told: None }).await;
        }
    };
    let purse = Purse::open(worker, task, &input).await?;
    let delivered = deliver(worker, task, lease, &mut draft, &mut leash, (input, purse)).await?;
    conclude(worker, task, lease, draft, delivered).await
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
async fn conclude(
    worker: &Worker,
    task: &Task,
    lease: &Lease,
    draft: Draft,
    Delivered { pumped, deployment, told }: Delivered,
) -> Result<Left, Barred> {
    let deployment = deployment.map(|name| name.to_string());
    let used = draft.used_before.plus(pumped.usage);
    let mut stop_sequence = None;
    let (outcome, error, finish_reason) = match pumped.finish {
        Finish::Whole(reason) => {
            stop_sequence = reason.sequence.map(|sequence| sequence.to_string());
            (Outcome::Done, None, Some(reason.word.to_string()))
        }
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
                return retry(worker, lease, &draft, rest, (error, not_before, deployment)).await;
            }
            None => (Outcome::Failed, Some(given_up(&error)), None),
        },
    };
    let ending =
        Ending { finish_reason, stop_sequence, deployment, cache: told, ..ending(outcome, error, used, lease.attempt) };
    end(worker, task, draft, pumped.rest, ending).await
}

/// Why a task fails whose last attempt failed.
fn given_up(error: &BackendError) -> Failure {
    let retry_after_ms = error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Failure { retry_after_ms, ..failure(error.fault.code(), &error.message) }
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
    (error, not_before, deployment): (BackendError, Timestamp, Option<String>),
) -> Result<Left, Barred> {
    let now = worker.clock.now();
    let after_ms = u64::try_from(not_before.since(now).as_millis()).unwrap_or(u64::MAX);
    let code = error.fault.code().to_owned();
    tracing::info!(task = %lease.task.task, attempt = lease.attempt, code, after_ms, "the attempt failed; another follows");
    let note = RetryNote { attempt: lease.attempt, deployment, code, message: error.message, after_ms, usage };
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
