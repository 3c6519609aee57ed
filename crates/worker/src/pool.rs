//! The pool: a bounded number of tasks at once for each capability, and an orderly end.

use crate::Worker;
use crate::keeper::{Keeper, Order};
use crate::reaper;
use crate::run::run;
use crate::waits;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Claim;
use tidewire_core::queue::Turn;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// How many tasks run.
#[derive(Clone)]
pub struct Running(Arc<Keeper>);

impl Running {
    /// Now.
    pub fn count(&self) -> usize {
        self.0.running()
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
        };
        claimer.rest.spawn(claimer.keeper.clone().watch_over(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(reaper::reap(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(waits::keep_time(claimer.worker.clone(), claimer.end.clone()));
        claimer.rest.spawn(waits::tell_delays(claimer.worker.clone(), claimer.end.clone()));
        for slots in slots {
            claimer.rest.spawn(claimer.clone().claim(slots));
        }
        Self(claimer)
    }

    /// How many tasks run, for whoever wants to know while the pool works.
    pub fn running(&self) -> Running {
        Running(self.0.keeper.clone())
    }

    /// Stops: claims nothing more, gives running tasks `grace` to end, hands the rest back, and returns once
    /// nothing of the pool runs any more.
    pub async fn drain(self, grace: Duration) {
        let Self(Claimer { worker, keeper, runs, rest, claiming, end }) = self;
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
}

impl Claimer {
    async fn claim(self, slots: Slots) {
        let free = Arc::new(Semaphore::new(slots.count.min(Semaphore::MAX_PERMITS)));
        loop {
            let next = async {
                let slot = free.clone().acquire_owned().await.ok()?;
                let wanted = self.worker.queue.want(&slots.capability).await;
                let claimed = match wanted {
                    Ok(()) => self.worker.dispatch.claim(&slots.capability).await,
                    Err(error) => Err(error),
                };
                Some((slot, claimed))
            };
            let claimed = tokio::select! {
                () = self.claiming.cancelled() => return,
                claimed = next => claimed,
            };
            match claimed {
                Some((slot, Ok(claim))) => {
                    let turn = self.worker.queue.claimed(claim.task, &claim.capability);
                    let claimer = self.clone();
                    self.runs.spawn(async move {
                        claimer.one(claim, turn).await;
                        drop(slot);
                    });
                }
                Some((_, Err(error))) => {
                    tracing::error!(%error, capability = %slots.capability, "the dispatch gives no tasks");
                    self.worker.clock.sleep(PAUSE).await;
                }
                None => return,
            }
        }
    }

    async fn one(&self, claim: Claim, turn: Turn) {
        let task = claim.task;
        let left = run(&self.worker, &self.keeper, task).await;
        if let Err(error) = self.worker.dispatch.forget(claim).await {
            tracing::error!(%error, "the dispatch could not forget a claim");
        }
        if let Err(error) = self.worker.queue.left(task, turn, left).await {
            tracing::error!(%error, "the queue could not offer the next task");
        }
    }
}
