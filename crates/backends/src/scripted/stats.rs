//! Counts of a scripted backend's runs: by them a test sees that its stop or disconnect reached the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Counts, while they change.
#[derive(Debug, Default)]
pub struct Stats {
    began: AtomicU64,
    ended: AtomicU64,
    dropped: AtomicU64,
    changed: Notify,
}

/// Counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that began, those that failed at once included.
    pub began: u64,
    /// Runs that are open now.
    pub open: u64,
    /// Runs that played to their end, or to the accident in their script.
    pub ended: u64,
    /// Runs that were dropped before that.
    pub dropped: u64,
}

impl Stats {
    /// The counts of now.
    pub fn counts(&self) -> Counts {
        // The ends first: a run that begins in between is then open, never minus one.
        let ended = self.ended.load(Ordering::Acquire);
        let dropped = self.dropped.load(Ordering::Acquire);
        let began = self.began.load(Ordering::Acquire);
        Counts { began, open: began - ended - dropped, ended, dropped }
    }

    /// Waits until the counts are as wanted.
    pub async fn until(&self, wanted: impl Fn(Counts) -> bool) -> Counts {
        loop {
            // The watch before the look: a change between the two would wake nobody.
            let changed = self.changed.notified();
            let counts = self.counts();
            if wanted(counts) {
                return counts;
            }
            changed.await;
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Guard {
        self.began.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        Guard { stats: Some(self.clone()) }
    }
}

/// One open run.
pub(super) struct Guard {
    /// Empty once the run has ended.
    stats: Option<Arc<Stats>>,
}

impl Guard {
    /// The run has played to its end. A second call does nothing.
    pub(super) fn close(&mut self) {
        if let Some(stats) = self.stats.take() {
            stats.ended.fetch_add(1, Ordering::AcqRel);
            stats.changed.notify_waiters();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(stats) = &self.stats {
            stats.dropped.fetch_add(1, Ordering::AcqRel);
            stats.changed.notify_waiters();
        }
    }
}
