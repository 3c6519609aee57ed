//! All logs, by name.

use super::lock;
use super::log::Log;
use super::shards::Shards;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tidewire_core::port::{FeedEntry, FeedPosition};
use tidewire_core::{Epoch, LogId, LogRef, TenantId};

#[derive(Default)]
pub(super) struct Logs {
    logs: Shards<LogRef, Arc<Mutex<Log>>>,
    // How many appends there were: the position in the feed of the newest one.
    appends: AtomicU64,
}

impl Logs {
    /// The log. The map's lock is let go, so that a long read of one log holds up no other.
    pub(super) fn get(&self, log: LogRef) -> Option<Arc<Mutex<Log>>> {
        self.logs.shard(&log).get(&log).cloned()
    }

    /// The epoch of the log that is there, or else of a new one, for which `admit` must find room.
    pub(super) fn create<E>(&self, log: LogRef, admit: impl FnOnce() -> Result<Epoch, E>) -> Result<Epoch, E> {
        let mut shard = self.logs.shard(&log);
        if let Some(known) = shard.get(&log) {
            return Ok(lock(known).head.state.epoch);
        }
        let epoch = admit()?;
        shard.insert(log, Arc::new(Mutex::new(Log::new(epoch))));
        Ok(epoch)
    }

    /// Takes the log away if it may go. Gives back what it was charged, and how much data it held.
    pub(super) fn remove(&self, log: LogRef, may_go: impl FnOnce(&Log) -> bool) -> Option<(usize, usize)> {
        let mut shard = self.logs.shard(&log);
        let known = shard.get(&log)?.clone();
        let mut contents = lock(&known);
        if !may_go(&contents) {
            return None;
        }
        contents.leave();
        shard.remove(&log);
        Some((contents.charged_bytes(), contents.data_bytes()))
    }

    /// The place in the feed of an append. Called under the lock of its log, which keeps [`Logs::feed`] right.
    pub(super) fn next_position(&self) -> FeedPosition {
        FeedPosition(self.appends.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// What was appended after a position, in order.
    pub(super) fn feed(&self, after: FeedPosition, limit: usize) -> Vec<FeedEntry> {
        // Read before the logs are: whoever took a position up to this one holds its log's lock until the
        // append is in, so that the loop below waits for it. A later one would be told while an earlier one is
        // still on its way into a log that the loop has passed, and the earlier one would never be told.
        let upto = FeedPosition(self.appends.load(Ordering::Acquire));
        let mut entries = Vec::new();
        if upto <= after {
            return entries;
        }
        for shard in self.logs.each() {
            for (name, log) in shard.iter() {
                lock(log).feed(*name, after, upto, &mut entries);
            }
        }
        entries.sort_unstable_by_key(|entry| entry.position);
        entries.truncate(limit);
        entries
    }

    /// Logs of a tenant after one of them, in the order of their names.
    pub(super) fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Vec<LogId> {
        let mut ids = Vec::new();
        for shard in self.logs.each() {
            let wanted = |log: &&LogRef| log.tenant == tenant && after.is_none_or(|after| log.log > after);
            ids.extend(shard.keys().filter(wanted).map(|log| log.log));
        }
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }
}
