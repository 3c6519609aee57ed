//! The answers that are on their way to several tasks, by what was asked for.

use crate::Worker;
use crate::choice::Choice;
use crate::refresh;
use crate::semantic::Semantic;
use crate::share::{Errand, Seat, Share};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::cache::{Policy, Use};
use tidewire_core::port::CacheKey;
use tidewire_core::{Task, TaskId, TaskRef};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An answer is not made anew more often: a provider that fails is not asked at each reader's bidding.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Refreshes that are remembered at most: 100 bytes each. Beyond it, old answers are given and stay old.
const MAX_REFRESHES: usize = 10_000;

/// The shared answers of one worker.
#[derive(Clone, Default)]
pub struct Shares(Arc<Inner>);

#[derive(Default)]
struct Inner {
    live: Mutex<HashMap<CacheKey, Arc<Share>>>,
    /// Who makes an answer anew, and since when.
    refreshes: Mutex<HashMap<CacheKey, (TaskRef, Duration)>>,
    semantic: Semantic,
    tracker: TaskTracker,
    closing: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shares {
    /// A seat in the answer that is on its way; else in one that begins now.
    pub(crate) fn board(
        &self,
        choice: Choice,
        task: &Task,
        (of, policy): (&Use, &Arc<Policy>),
        errand: Errand,
    ) -> Seat {
        let worker = errand.worker.clone();
        let now = worker.clock.monotonic();
        let mut live = lock(&self.0.live);
        if of.join
            && let Some(share) = live.get(&of.key)
            && let Some(seat) = share.board(of, &worker, now)
        {
            return seat;
        }
        let (share, seat) = Share::found(task, of, policy.clone(), now);
        if of.join {
            live.insert(of.key, share.clone());
        }
        drop(live);
        let (closing, linger) = (self.0.closing.clone(), policy.ttl);
        let underway = Underway { shares: self.clone(), key: of.key, share };
        self.0.tracker.spawn(async move {
            let share = &underway.share;
            share.clone().drive(choice, errand).await;
            // Whoever looked for a kept answer just before it was kept finds it here.
            tokio::select! {
                () = closing.cancelled() => {}
                () = share.linger(&worker, linger) => {}
            }
        });
        seat
    }

    /// The questions that are known.
    pub(crate) fn semantic(&self) -> &Semantic {
        &self.0.semantic
    }

    /// Whether this answer is on its way, and takes one more.
    pub(crate) fn is_on_its_way(&self, key: CacheKey, worker: &Worker) -> bool {
        let share = lock(&self.0.live).get(&key).cloned();
        share.is_some_and(|share| share.takes_more(worker))
    }

    /// Nobody joins this answer any more, and it is not kept: somebody has found it bad.
    pub(crate) fn spoil(&self, key: CacheKey, maker: TaskId) {
        let share = lock(&self.0.live).get(&key).cloned();
        if let Some(share) = share {
            share.spoil(maker);
        }
    }

    /// Has the answer made anew that `reader` is given an old copy of; once, for all its readers.
    pub(crate) fn refresh(&self, worker: &Arc<Worker>, reader: &Task, key: CacheKey) {
        let Some(of) = &reader.spec.cache else { return };
        let now = worker.clock.monotonic();
        let task = {
            let mut refreshes = lock(&self.0.refreshes);
            let is_near = |(task, since): &(TaskRef, Duration)| {
                worker.queue.knows(*task) || now.saturating_sub(*since) < REFRESH_EVERY
            };
            if refreshes.get(&key).is_some_and(is_near) {
                return;
            }
            if refreshes.len() >= MAX_REFRESHES {
                refreshes.retain(|_, refresh| is_near(refresh));
            }
            if refreshes.len() >= MAX_REFRESHES {
                return;
            }
            let task = refresh::task(worker, reader, of);
            refreshes.insert(key, (task.at(), now));
            task
        };
        let worker = worker.clone();
        self.0.tracker.spawn(async move {
            if let Err(error) = refresh::submit(&worker, task).await {
                tracing::warn!(%error, "an old answer could not be made anew; its next reader tries again");
            }
        });
    }

    /// Returns once none is on its way any more. Nobody rides on one by then.
    pub(crate) async fn close(&self) {
        self.0.closing.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

/// An answer on its way. Dropped, it is over, however that came: a driver that falls leaves nobody waiting for it.
struct Underway {
    shares: Shares,
    key: CacheKey,
    share: Arc<Share>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.share.close();
        let mut live = lock(&self.shares.0.live);
        if live.get(&self.key).is_some_and(|now| Arc::ptr_eq(now, &self.share)) {
            live.remove(&self.key);
        }
    }
}
