//! The engine as a `LogKeeping`. With an ended log its task's record goes too.

use super::{Engine, lock};
use async_trait::async_trait;
use tidewire_core::port::{
    Expired, FeedEntry, FeedPosition, LogKeeping, RemoveError, Retention, TrimError, Unavailable,
};
use tidewire_core::{Entry, LogId, LogRef, Offset, TaskRef, TenantId, Timestamp};

/// How many ended tasks go for each one that ends, where memory is short: more than one, so that it gets less.
const FORGOTTEN_PER_END: usize = 4;

#[async_trait]
impl LogKeeping for Engine {
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError> {
        let log = self.logs.get(log).ok_or(TrimError::Unknown)?;
        let mut log = lock(&log);
        let before = log.data_bytes();
        let (freed, added) = log.trim(upto, &snapshot)?;
        self.room.take_anyway(added);
        self.room.give_back(freed);
        if log.expires() {
            let mut ended = lock(&self.ended);
            ended.data_bytes = ended.data_bytes + log.data_bytes() as u64 - before as u64;
        }
        Ok(())
    }

    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable> {
        let mut expired = Expired::default();
        for _ in 0..limit {
            let Some(log) = self.next_to_expire(now, keep) else {
                break;
            };
            if let Some(data) = self.forget(log) {
                expired.logs += 1;
                expired.bytes += data as u64;
            }
        }
        Ok(expired)
    }

    async fn erase(&self, at: LogRef) -> Result<(), TrimError> {
        let log = self.logs.get(at).ok_or(TrimError::Unknown)?;
        let mut log = lock(&log);
        let freed = log.erase()?;
        self.room.give_back(freed);
        if let Some(task) = at.log.task() {
            self.room.give_back(self.tasks.forget_input(TaskRef { tenant: at.tenant, task }));
        }
        if log.expires() {
            lock(&self.ended).data_bytes -= freed as u64;
        }
        Ok(())
    }

    async fn remove(&self, log: LogRef) -> Result<(), RemoveError> {
        if log.log.task().is_some() {
            return Err(RemoveError::OfATask);
        }
        if let Some((charged, _)) = self.logs.remove(log, |_| true) {
            self.room.give_back(charged);
        }
        Ok(())
    }

    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable> {
        Ok(self.logs.list(tenant, after, limit))
    }

    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable> {
        Ok(self.logs.feed(after, limit))
    }
}

impl Engine {
    /// Lets go of the oldest that have ended while what is held is more than half of what may be: between two rounds of
    /// retention a busy gateway would fill the memory with what nobody asks for any more, and then refuse new work.
    pub(super) fn make_room(&self) {
        for _ in 0..FORGOTTEN_PER_END {
            if self.room.used() <= self.room.bound() / 2 {
                return;
            }
            let oldest = lock(&self.ended).line.pop_front();
            let Some((_, log)) = oldest else { return };
            self.forget(log);
        }
    }

    /// Forgets an ended log and its task. Gives back how much data it held, where it was there.
    fn forget(&self, log: LogRef) -> Option<usize> {
        // Untouched: the task's log is kept by another engine.
        let removed = self.logs.remove(log, |log| log.head.state.ended || log.is_untouched());
        if let Some((charged, data)) = removed {
            self.room.give_back(charged);
            lock(&self.ended).data_bytes -= data as u64;
        }
        if let Some(task) = log.log.task() {
            self.room.give_back(self.tasks.remove_ended(TaskRef { tenant: log.tenant, task }));
        }
        removed.map(|(_, data)| data)
    }

    fn next_to_expire(&self, now: Timestamp, keep: Retention) -> Option<LogRef> {
        let mut ended = lock(&self.ended);
        let (at, _) = *ended.line.front()?;
        let goes = now.since(at) > keep.age || ended.data_bytes > keep.bytes;
        goes.then(|| ended.line.pop_front()).flatten().map(|(_, log)| log)
    }
}
