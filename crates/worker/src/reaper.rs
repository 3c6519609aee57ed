//! Picks up what nobody holds: tasks of an earlier run of the server, lapsed leases, stopped tasks that no
//! worker ends, and tasks that grew too old in the queue.

use crate::Worker;
use crate::ends::{end_unheld, no_route, too_late};
use crate::semantic::let_go;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Filter, Signal};
use tidewire_core::queue::Entrant;
use tidewire_core::task::OnBusy;
use tidewire_core::{Outcome, State, Task, TaskRef, TenantId};
use tokio_util::sync::CancellationToken;

/// How often lapsed leases are looked for: little beside a lease's 30 s.
const SWEEP: Duration = Duration::from_secs(1);

/// Every so many sweeps the whole queue is looked through, which costs more.
const SWEEPS_PER_INSPECTION: u32 = 5;

/// How many records are listed at once.
const PAGE: usize = 500;

/// Stops and bad words that are seen to at once; the inspection finds the rest of the stops.
const MAX_STOPS: usize = 1024;

/// Reaps until `end`.
pub(crate) async fn reap(worker: Arc<Worker>, end: CancellationToken) {
    let mut signals = worker.bus.subscribe();
    let mut seen_to = FuturesUnordered::new();
    inspect(&worker).await;
    let mut sweeps: u32 = 0;
    let mut tick = worker.clock.sleep(SWEEP);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            signal = signals.next(), if seen_to.len() < MAX_STOPS => match signal {
                Some(signal @ (Signal::Stop(_) | Signal::Judged { badly: true, .. })) => {
                    seen_to.push(see_to(&worker, signal));
                }
                Some(Signal::Grew { .. } | Signal::Judged { .. } | Signal::Lane(_)) => {}
                None => signals = worker.bus.subscribe(),
            },
            Some(()) = seen_to.next() => {}
            () = &mut tick => {
                sweeps = sweeps.wrapping_add(1);
                // An engine that takes no changes gives no lease either: what waits is put in line once it does.
                if worker.tasks.renew(&[], worker.clock.now()).await.is_ok() {
                    readmit_lapsed(&worker).await;
                    if sweeps.is_multiple_of(SWEEPS_PER_INSPECTION) {
                        inspect(&worker).await;
                    }
                }
                tick = worker.clock.sleep(SWEEP);
            }
        }
    }
}

async fn see_to(worker: &Worker, signal: Signal) {
    match signal {
        Signal::Stop(task) => see_to_stop(worker, task).await,
        Signal::Judged { task, .. } => let_go(worker, task).await,
        Signal::Grew { .. } | Signal::Lane(_) => {}
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
    end_unheld(worker, at, Outcome::Stopped, None).await;
}

async fn readmit_lapsed(worker: &Worker) {
    let lapsed_before = Some(worker.clock.now());
    let filter = Filter { states: vec![State::Running], lapsed_before, limit: PAGE, ..Filter::default() };
    match worker.tasks.list(&filter).await {
        Ok(page) => {
            for task in page.tasks {
                tracing::warn!(task = %task.id, "the lease lapsed: its worker is lost");
                readmit(worker, Entrant::of(&task)).await;
            }
        }
        Err(error) => tracing::error!(%error, "lapsed leases can't be listed"),
    }
}

/// Looks through all live tasks: ends the ones that are too old or stopped, stops the ones whose parent or lane no
/// longer wants them, and puts in line the ones that should be.
async fn inspect(worker: &Worker) {
    let mut waiting = Vec::new();
    let mut replaced = HashSet::new();
    let mut filter = Filter { states: vec![State::Queued, State::Running], limit: PAGE, ..Filter::default() };
    loop {
        let page = match worker.tasks.list(&filter).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "tasks can't be listed");
                return;
            }
        };
        let now = worker.clock.now();
        for mut task in page.tasks {
            if !task.stop_requested && is_unwanted(worker, &task, &mut replaced).await {
                task = stop(worker, task).await;
            }
            let queued = task.state == State::Queued;
            if task.stop_requested && queued {
                end_unheld(worker, task.at(), Outcome::Stopped, None).await;
            } else if queued && worker.catalog.plan().route(&task.spec.capability).is_none() {
                end_unheld(worker, task.at(), Outcome::Failed, Some(no_route())).await;
            } else if task.spec.deadline <= now && queued {
                end_unheld(worker, task.at(), Outcome::Failed, Some(too_late())).await;
            } else if !worker.queue.knows(task.at()) && (queued || task.lapsed(now)) {
                waiting.push(Entrant::of(&task));
            }
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    // The list is newest first; the line, and a lane above all, is oldest first.
    waiting.sort_by_key(|entrant| (entrant.submitted_at, entrant.task.task));
    for entrant in waiting {
        readmit(worker, entrant).await;
    }
}

/// Whether a task should be stopped though nobody has got round to it: the server fell between the commit of what
/// makes it so and the stop. `replaced`: lanes, and tasks, that newer tasks have taken the place of.
async fn is_unwanted(worker: &Worker, task: &Task, replaced: &mut HashSet<Replaced>) -> bool {
    if let Some(parent) = task.parent()
        && let Ok(parent) = worker.tasks.get(parent).await
    {
        let gone = |parent: Task| parent.stop_requested || matches!(parent.state, State::Failed | State::Stopped);
        if parent.is_none_or(gone) {
            return true;
        }
    }
    let turn = &task.spec.turn;
    let Some(lane) = turn.lane.clone() else { return false };
    let lane = Replaced::Lane(task.tenant, lane);
    let unwanted = replaced.contains(&lane) || replaced.contains(&Replaced::Task(task.at()));
    match turn.on_busy {
        OnBusy::Replace => {
            replaced.insert(lane);
        }
        OnBusy::Steer => {
            replaced.extend(turn.steers.map(|steered| Replaced::Task(TaskRef { tenant: task.tenant, task: steered })));
        }
        OnBusy::Queue => {}
    }
    unwanted
}

/// What a newer task has taken the place of.
#[derive(PartialEq, Eq, Hash)]
enum Replaced {
    Lane(TenantId, Arc<str>),
    Task(TaskRef),
}

async fn stop(worker: &Worker, task: Task) -> Task {
    match worker.tasks.request_stop(task.at()).await {
        Ok(stopped) => {
            worker.bus.publish(Signal::Stop(task.at()));
            stopped
        }
        Err(error) => {
            tracing::error!(%error, task = %task.id, "the task could not be stopped");
            task
        }
    }
}

async fn readmit(worker: &Worker, entrant: Entrant) {
    let task = entrant.task;
    if let Err(error) = worker.queue.readmit(entrant).await {
        tracing::error!(%error, task = %task.task, "the task could not be put in line");
    }
}
