//! The pool: a bounded number of tasks at once for each capability, and an orderly end.

use crate::Worker;
use crate::keeper::{Keeper, Order};
use crate::reaper;
use crate::run::{Again, run};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Claim;
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
    /// All else: claiming, keeping, reaping, waiting for the next attempt.
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
                Some((slot, self.worker.dispatch.claim(&slots.capability).await))
            };
            let claimed = tokio::select! {
                () = self.claiming.cancelled() => return,
                claimed = next => claimed,
            };
            match claimed {
                Some((slot, Ok(claim))) => {
                    let claimer = self.clone();
                    self.runs.spawn(async move {
                        let again = claimer.one(claim).await;
                        drop(slot);
                        if let Some(again) = again {
                            claimer.rest.spawn(claimer.clone().wait_for_next_attempt(again));
                        }
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

    async fn one(&self, claim: Claim) -> Option<Again> {
        if let Err(error) = self.worker.queue.claimed(claim.task).await {
            tracing::error!(%error, "the queue could not offer the next task");
        }
        let again = run(&self.worker, &self.keeper, claim.task).await;
        if let Err(error) = self.worker.dispatch.forget(claim).await {
            tracing::error!(%error, "the dispatch could not forget a claim");
        }
        again
    }

    async fn wait_for_next_attempt(self, again: Again) {
        let wait = again.not_before.since(self.worker.clock.now());
        tokio::select! {
            // The task is committed as queued: the next start finds it.
            () = self.end.cancelled() => {}
            () = self.worker.clock.sleep(wait) => {
                if let Err(error) = self.worker.queue.readmit(again.task, &again.capability).await {
                    tracing::error!(%error, task = %again.task.task, "the next attempt waits for the reaper");
                }
            }
        }
    }
}
