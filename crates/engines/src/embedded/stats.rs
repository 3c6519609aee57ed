//! What the committer counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one commit took.
#[derive(Clone, Copy, Debug)]
pub struct CommitTiming {
    /// From the first change taken up to the last answer given.
    pub whole: Duration,
    /// Of that, what the store took: the journal's write, the sync, the index in memory. The sync is nearly all.
    pub disk: Duration,
    /// It waited for the disk: it held something that must survive, and the mode is `fsync`.
    pub synced: bool,
    /// How many changes it held.
    pub changes: usize,
    /// How many bytes of data they carried.
    pub bytes: usize,
}

/// Counters since the engine was opened.
#[derive(Debug, Default)]
pub struct Stats {
    commits: AtomicU64,
    syncs: AtomicU64,
    changes: AtomicU64,
    bytes: AtomicU64,
    hot_bytes: AtomicU64,
}

impl Stats {
    pub(super) fn add(&self, timing: &CommitTiming, hot_bytes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.syncs.fetch_add(u64::from(timing.synced), Ordering::Relaxed);
        self.changes.fetch_add(timing.changes as u64, Ordering::Relaxed);
        self.bytes.fetch_add(timing.bytes as u64, Ordering::Relaxed);
        self.hot_bytes.store(hot_bytes as u64, Ordering::Relaxed);
    }

    /// Commits to the journal.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Those of them that waited for the disk.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Changes in all commits.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Bytes of data in all commits.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of events that are held in memory for readers.
    pub fn hot_bytes(&self) -> u64 {
        self.hot_bytes.load(Ordering::Relaxed)
    }
}
