//! The pool: a bounded number of tasks at once for each capability, and an orderly end.

use crate::Worker;
use crate::keeper::{Keeper, LeaseView, Order};
use crate::reaper;
use crate::run::run;
use crate::slots::Room;
use crate::waits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::cache::REPLAY;
use tidewire_core::port::Claim;
use tidewire_core::queue::Turn;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long a worker waits after the dispatch failed before it asks again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long running tasks may take to hand back their leases: a commit, and a margin for a slow disk.
const HAND_BACK: Duration = Duration::from_secs(5);

/// How many tasks of a capability run at once.
#[derive(Clone, Debug)]
pub struct Slots {
    /// What its tasks name.
    pub capability: Arc<str>,
    /// How many at once.
    pub count: usize,
}

/// What runs, for whoever looks on.
#[derive(Clone)]
pub struct Running(Claimer);

impl Running {
    /// How many tasks, now.
    pub fn count(&self) -> usize {
        self.0.keeper.running()
    }

    /// How many may at once, those of all routes together. Without those that wait for no model.
    pub fn slots(&self) -> usize {
        let rooms = self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.iter().filter(|(capability, _)| &***capability != REPLAY).map(|(_, room)| room.count()).sum()
    }

    /// The worker's name.
    pub fn worker(&self) -> &str {
        &self.0.worker.name.0
    }

    /// It claims nothing more.
    pub fn drains(&self) -> bool {
        self.0.claiming.is_cancelled()
    }

    /// Those that have run longest, at most `limit`, oldest first.
    pub fn leases(&self, limit: usize) -> Vec<LeaseView> {
        self.0.keeper.oldest(limit)
    }
}

/// How many tasks of each capability run at once.
#[derive(Clone)]
pub struct Sizes(Claimer);

impl Sizes {
    /// From now on so many. A capability that is not named any more goes on with one slot, so that what waits for it is
    /// told why it waits in vain. Beyond a lower number tasks end in their own time.
    pub fn set(&self, slots: Vec<Slots>) {
        if !self.0.claiming.is_cancelled() {
            self.0.set_slots(slots);
        }
    }
}

/// Running workers.
pub struct Pool(Claimer);

impl Pool {
    /// Starts claiming tasks.
    pub fn start(worker: Worker, slots: Vec<Slots>) -> Self {
        let claimer = Claimer {
            worker: Arc::new(worker),
            keeper: Arc::default(),
            runs: TaskTracker::new(),
            rest: TaskTracker::new(),
            claiming: CancellationToken::new(),
            end: CancellationToken::new(),
            rooms: Arc::default(),
        };
        claimer.rest.spawn(claimer.keeper.clone().watch_over(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(reaper::reap(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(waits::keep_time(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(waits::tell_delays(claimer.worker.clone(), claimer.end.clone()));
        claimer.set_slots(slots);
        Self(claimer)
    }

    /// How many tasks run at once, for whoever changes it while the pool works.
    pub fn sizes(&self) -> Sizes {
        Sizes(self.0.clone())
    }

    /// What runs, for whoever wants to know while the pool works.
    pub fn running(&self) -> Running {
        Running(self.0.clone())
    }

    /// Stops: claims nothing more, gives running tasks `grace` to end, hands the rest back, and returns once
    /// nothing of the pool runs any more.
    pub async fn drain(self, grace: Duration) {
        let Self(Claimer { worker, keeper, runs, rest, claiming, end, rooms: _ }) = self;
        claiming.cancel();
        runs.close();
        tokio::select! {
            () = runs.wait() => {}
            () = worker.clock.sleep(grace) => keeper.tell_all(Order::HandBack),
        }
        tokio::select! {
            () = runs.wait() => {}
            () = worker.clock.sleep(HAND_BACK) => {
                tracing::warn!(running = keeper.running(), "tasks did not hand back in time");
            }
        }
        end.cancel();
        // Nobody rides any more: what is left of them ends.
        worker.shares.close().await;
        rest.close();
        rest.wait().await;
    }
}

/// What every task of the pool shares.
#[derive(Clone)]
struct Claimer {
    worker: Arc<Worker>,
    keeper: Arc<Keeper>,
    /// Running tasks.
    runs: TaskTracker,
    /// All else: claiming, keeping, reaping, watching the waits.
    rest: TaskTracker,
    /// Cancelled: nothing more is claimed.
    claiming: CancellationToken,
    /// Cancelled: the pool ends.
    end: CancellationToken,
    /// How many tasks of each capability run at once. One that was ever claimed stays.
    rooms: Arc<Mutex<HashMap<Arc<str>, Arc<Room>>>>,
}

impl Claimer {
    fn set_slots(&self, slots: Vec<Slots>) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for (capability, room) in &*rooms {
            if !slots.iter().any(|slots| slots.capability == *capability) {
                room.set(1);
            }
        }
        for Slots { capability, count } in slots {
            if let Some(room) = rooms.get(&capability) {
                room.set(count);
                continue;
            }
            let room = Arc::new(Room::new(count));
            rooms.insert(capability.clone(), room.clone());
            self.rest.spawn(self.clone().claim(capability, room));
        }
    }

    async fn claim(self, capability: Arc<str>, room: Arc<Room>) {
        loop {
            let next = async {
                let slot = room.take().await;
                let wanted = self.worker.queue.want(&capability).await;
                let claimed = match wanted {
                    Ok(()) => self.worker.dispatch.claim(&capability).await,
                    Err(error) => Err(error),
                };
                (slot, claimed)
            };
            let claimed = tokio::select! {
                () = self.claiming.cancelled() => return,
                claimed = next => claimed,
            };
            match claimed {
                (slot, Ok(claim)) => {
                    let turn = self.worker.queue.claimed(claim.task, &claim.capability);
                    let claimer = self.clone();
                    self.runs.spawn(async move {
                        claimer.one(claim, turn).await;
                        drop(slot);
                    });
                }
                (_, Err(error)) => {
                    tracing::error!(%error, %capability, "the dispatch gives no tasks");
                    self.worker.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn one(&self, claim: Claim, turn: Turn) {
        let task = claim.task;
        // What is logged meanwhile names the task, of whatever level it is.
        let span = tracing::error_span!("task", task = %task.task);
        let left = run(&self.worker, &self.keeper, task).instrument(span).await;
        if let Err(error) = self.worker.dispatch.forget(claim).await {
            tracing::error!(%error, "the dispatch could not forget a claim");
        }
        if let Err(error) = self.worker.queue.left(task, turn, left).await {
            tracing::error!(%error, "the queue could not offer the next task");
        }
    }
}
