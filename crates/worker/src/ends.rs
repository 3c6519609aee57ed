//! The end of a task, by whoever brings it about, and what follows from it.

use crate::Worker;
use crate::draft::{Barred, Draft};
use tidewire_core::family::stop_below;
use tidewire_core::port::{Cursor, Leasing, Settlement};
use tidewire_core::queue::Left;
use tidewire_core::{Ending, Entry, Failure, Kind, Offset, Outcome, Task, TaskRef, Usage};

/// Ends the task's log. What was started for a task that did not end well stops with it.
pub(crate) async fn end(
    worker: &Worker,
    task: &Task,
    draft: Draft,
    entries: Vec<Entry>,
    ending: Ending,
) -> Result<Left, Barred> {
    let whole = ending.state == Outcome::Done;
    draft.end(worker, task, entries, ending).await?;
    if !whole {
        stop_children(worker, task.at()).await;
    }
    Ok(Left::Ended)
}

/// Stops what a task has started. The reaper finds what this misses.
async fn stop_children(worker: &Worker, at: TaskRef) {
    let stopped = async {
        match worker.tasks.get(at).await? {
            Some(task) => stop_below(&*worker.tasks, &*worker.bus, &task).await,
            None => Ok(0),
        }
    };
    if let Err(error) = stopped.await {
        tracing::warn!(task = %at.task, %error, "its children could not be stopped");
    }
}

/// How many attempts began, of so many leases: one that is taken only to end the task is none.
pub(crate) fn begun(task: &Task, leases: u32) -> u32 {
    leases.min(task.spec.max_attempts)
}

/// Ends a task that no worker runs: it was stopped or grew too old in the queue, or its worker does not stop.
pub(crate) async fn end_unheld(worker: &Worker, at: TaskRef, outcome: Outcome, error: Option<Failure>) {
    let now = worker.clock.now();
    let leasing = Leasing { worker: worker.name.clone(), now, until: now.plus(worker.pace.lease), seize: true };
    let Ok((task, lease)) = worker.tasks.lease(at, leasing).await else { return };
    let ended = async {
        let draft = Draft::take_over(worker, &task, &lease).await?;
        let ending = ending(outcome, error, draft.used_before, begun(&task, lease.attempt));
        end(worker, &task, draft, Vec::new(), ending).await
    };
    match ended.await {
        Ok(_) => gone(worker, at).await,
        // Whoever has it ends it.
        Err(Barred::Fenced) => {}
        Err(Barred::Ended) => {
            settle_from_log(worker, at).await;
            gone(worker, at).await;
        }
        Err(Barred::Unavailable(reason)) => tracing::error!(task = %at.task, reason, "the task can't be ended"),
    }
}

/// The queue need not wait for the task any more: its lane goes on.
async fn gone(worker: &Worker, at: TaskRef) {
    if let Err(error) = worker.queue.ended(at).await {
        tracing::error!(%error, task = %at.task, "the queue could not offer the next task");
    }
}

/// Finishes and settles a task whose log has ended and whose record has not: an engine that keeps them apart
/// fell in between. Both are idempotent.
pub(crate) async fn settle_from_log(worker: &Worker, at: TaskRef) {
    let Ok(state) = worker.log.state(at.log()).await else { return };
    let Some(last) = state.tail.0.checked_sub(1) else { return };
    let cursor = Cursor { epoch: state.epoch, next: Offset(last) };
    let Ok(page) = worker.log.read(at.log(), cursor, 1).await else { return };
    let Some(event) = page.events.first().filter(|event| event.kind == Kind::End) else { return };
    match serde_json::from_slice::<Ending>(&event.data) {
        Ok(ending) => {
            // Settled first: once the record is finished, nobody comes back to this task.
            let deployment = ending.deployment.as_deref().map(Into::into);
            let settlement = Settlement { task: at, at: event.at, usage: ending.usage, deployment };
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

pub(crate) fn ending(state: Outcome, error: Option<Failure>, usage: Usage, attempts: u32) -> Ending {
    Ending { state, error, finish_reason: None, stop_sequence: None, usage, deployment: None, attempts, cache: None }
}

pub(crate) fn failure(code: &str, message: &str) -> Failure {
    Failure::new(code, message)
}

/// Why a task ends whose route is gone.
pub(crate) fn no_route() -> Failure {
    failure("unknown_model", "no route has this model any more: the configuration has changed")
}

/// Why a task ends at its deadline.
pub(crate) fn too_late() -> Failure {
    failure("deadline_exceeded", "the task's deadline passed; give it a longer `deadline_ms`, or try again later")
}
