//! Picks up what nobody holds: tasks of an earlier run of the server, lapsed leases, stopped tasks that no
//! worker ends, and tasks that grew too old in the queue.

use crate::Worker;
use crate::run::{end_unheld, too_late};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Filter, Signal};
use tidewire_core::{Outcome, State, Task, TaskRef};
use tokio_util::sync::CancellationToken;

/// How often lapsed leases are looked for: little beside a lease's 30 s.
const SWEEP: Duration = Duration::from_secs(1);

/// Every so many sweeps the whole queue is looked through, which costs more.
const SWEEPS_PER_INSPECTION: u32 = 5;

/// How many records are listed at once.
const PAGE: usize = 500;

/// Stops that are seen to at once; the inspection finds the rest.
const MAX_STOPS: usize = 1024;

/// Reaps until `end`.
pub(crate) async fn reap(worker: Arc<Worker>, end: CancellationToken) {
    let mut signals = worker.bus.subscribe();
    let mut stops = FuturesUnordered::new();
    inspect(&worker, &[State::Queued, State::Running]).await;
    let mut sweeps: u32 = 0;
    let mut tick = worker.clock.sleep(SWEEP);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            signal = signals.next(), if stops.len() < MAX_STOPS => match signal {
                Some(Signal::Stop(task)) => stops.push(see_to_stop(&worker, task)),
                Some(Signal::Grew { .. }) => {}
                None => signals = worker.bus.subscribe(),
            },
            Some(()) = stops.next() => {}
            () = &mut tick => {
                sweeps = sweeps.wrapping_add(1);
                readmit_lapsed(&worker).await;
                if sweeps.is_multiple_of(SWEEPS_PER_INSPECTION) {
                    inspect(&worker, &[State::Queued]).await;
                }
                tick = worker.clock.sleep(SWEEP);
            }
        }
    }
}

/// A stopped task that waits is ended at once; one that runs gets its worker's grace, and is then fenced off.
async fn see_to_stop(worker: &Worker, at: TaskRef) {
    let Ok(Some(task)) = worker.tasks.get(at).await else { return };
    if task.state == State::Running {
        worker.clock.sleep(worker.pace.stop_grace).await;
    }
    let Ok(Some(task)) = worker.tasks.get(at).await else { return };
    if task.state.is_ended() {
        return;
    }
    leave(worker, at).await;
    end_unheld(worker, at, Outcome::Stopped, None).await;
}

async fn readmit_lapsed(worker: &Worker) {
    let lapsed_before = Some(worker.clock.now());
    let filter = Filter { states: vec![State::Running], lapsed_before, limit: PAGE, ..Filter::default() };
    match worker.tasks.list(&filter).await {
        Ok(page) => {
            for task in page.tasks {
                tracing::warn!(task = %task.id, "the lease lapsed: its worker is lost");
                readmit(worker, &task).await;
            }
        }
        Err(error) => tracing::error!(%error, "lapsed leases can't be listed"),
    }
}

/// Looks through all tasks in these states: ends the ones that are too old or stopped, and puts in line the
/// ones that should be.
async fn inspect(worker: &Worker, states: &[State]) {
    let mut waiting = Vec::new();
    let mut filter = Filter { states: states.to_vec(), limit: PAGE, ..Filter::default() };
    loop {
        let page = match worker.tasks.list(&filter).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "tasks can't be listed");
                return;
            }
        };
        let now = worker.clock.now();
        for task in page.tasks {
            if task.stop_requested && task.state == State::Queued {
                leave(worker, task.at()).await;
                end_unheld(worker, task.at(), Outcome::Stopped, None).await;
            } else if task.spec.deadline <= now && task.state == State::Queued {
                leave(worker, task.at()).await;
                end_unheld(worker, task.at(), Outcome::Failed, Some(too_late())).await;
            } else if worker.queue.place(task.at()).is_none()
                && task.not_before.is_none_or(|moment| moment <= now)
                && (task.state == State::Queued || task.lapsed(now))
            {
                waiting.push((task.at(), task.spec.capability));
            }
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    // The list is newest first; the line is oldest first.
    for (task, capability) in waiting.into_iter().rev() {
        if let Err(error) = worker.queue.readmit(task, &capability).await {
            tracing::error!(%error, task = %task.task, "the task could not be put in line");
        }
    }
}

async fn readmit(worker: &Worker, task: &Task) {
    if let Err(error) = worker.queue.readmit(task.at(), &task.spec.capability).await {
        tracing::error!(%error, task = %task.id, "the task could not be put in line");
    }
}

async fn leave(worker: &Worker, task: TaskRef) {
    if let Err(error) = worker.queue.leave(task).await {
        tracing::error!(%error, task = %task.task, "the queue could not offer the next task");
    }
}
