//! Watches what waits: scheduled tasks get in line at their moment, and a wait that outgrows its estimate is told.

use crate::Worker;
use crate::draft::json;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Append, AppendError, Writer};
use tidewire_core::queue::Overdue;
use tidewire_core::{Entry, Kind, State};
use tokio_util::sync::CancellationToken;

/// How often waits are looked at: a delay of seconds is told within one.
const SWEEP: Duration = Duration::from_secs(1);

/// How many delays are told in one sweep. Each is an append, and what runs comes first.
const MAX_TOLD: usize = 256;

/// How long to wait after the dispatch took nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// Lets scheduled tasks get in line, until `end`.
pub(crate) async fn keep_time(worker: Arc<Worker>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Err(error) = worker.queue.keep_time() => {
                tracing::error!(%error, "the dispatch takes no tasks");
                worker.clock.sleep(PAUSE).await;
            }
        }
    }
}

/// Tells delays, until `end`.
pub(crate) async fn tell_delays(worker: Arc<Worker>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = worker.clock.sleep(SWEEP) => {}
        }
        for overdue in worker.queue.overdue(MAX_TOLD) {
            tell(&worker, overdue).await;
        }
    }
}

/// The data of a `delayed` event.
#[derive(Debug, Serialize)]
struct DelayNote {
    place: u64,
    wait_ms: Option<u64>,
}

/// Appends by the right of whoever held the task last: the next lease fences it off.
async fn tell(worker: &Worker, overdue: Overdue) {
    let at = overdue.task;
    let Ok(Some(task)) = worker.tasks.get(at).await else { return };
    if task.state != State::Queued || task.stop_requested {
        return;
    }
    let Ok(state) = worker.log.state(at.log()).await else { return };
    let wait_ms = overdue.standing.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let note = DelayNote { place: overdue.standing.place.0, wait_ms };
    let entries = vec![Entry::new(worker.clock.now(), Kind::Delayed, json(&note))];
    let writer = Writer::Leased { fence: task.fence, expect: state.tail };
    let told = worker.log.append(Append { log: at.log(), writer, entries }).await;
    // Where the log has moved on, a worker has the task: the wait is over.
    if let Err(AppendError::Unavailable(error)) = told {
        tracing::warn!(task = %at.task, %error, "a delay could not be told");
    }
}
