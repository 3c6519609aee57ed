//! The port `LogKeeping`: what a call does in steps, so that no commit grows with a log.

use super::counts::Counts;
use super::op::{Expiring, Keep, Op};
use super::store::{Store, Trouble, pair};
use super::{Engine, feed, key};
use async_trait::async_trait;
use fjall::Readable;
use std::ops::Bound;
use tidewire_core::port::{
    Expired, FeedEntry, FeedPosition, LogKeeping, RemoveError, Retention, TrimError, Unavailable,
};
use tidewire_core::{Entry, LogId, LogRef, Offset, TenantId, Timestamp};

/// How many logs share a commit when they expire.
const EXPIRE_TOGETHER: usize = 256;

#[async_trait]
impl LogKeeping for Engine {
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError> {
        let bytes = snapshot.data.len();
        self.ask(bytes, |reply| Op::Keep(Keep::Trim(log, upto, snapshot, reply))).await?;
        let mut from = Some(Offset(0));
        while let Some(offset) = from {
            from = self.ask(0, |reply| Op::Keep(Keep::Sweep(log, offset, reply))).await?;
        }
        Ok(())
    }

    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable> {
        let mut due = self.on_disk(move |shared| find_due(&shared.store, now, keep, limit)).await?;
        let mut expired = Expired::default();
        while !due.is_empty() {
            let together = due[..due.len().min(EXPIRE_TOGETHER)].to_vec();
            let gone = self.ask(0, |reply| Op::Keep(Keep::Expire(together, reply))).await?;
            expired.logs += gone.len();
            expired.bytes += gone.iter().map(|gone| gone.bytes).sum::<u64>();
            due.drain(..gone.len());
        }
        Ok(expired)
    }

    async fn remove(&self, log: LogRef) -> Result<(), RemoveError> {
        if log.log.task().is_some() {
            return Err(RemoveError::OfATask);
        }
        let Some(removed) = self.ask(0, |reply| Op::Keep(Keep::Remove(log, reply))).await? else { return Ok(()) };
        while self.ask(0, |reply| Op::Keep(Keep::Expire(vec![removed], reply))).await?.is_empty() {}
        Ok(())
    }

    async fn erase(&self, log: LogRef) -> Result<(), TrimError> {
        let mut from = Some(Offset(0));
        while let Some(offset) = from {
            from = self.ask(0, |reply| Op::Keep(Keep::Erase(log, offset, reply))).await?;
        }
        Ok(())
    }

    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable> {
        self.on_disk(move |shared| Ok(list(&shared.store, tenant, after, limit)?)).await
    }

    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable> {
        self.on_disk(move |shared| Ok(feed::read(&shared.store, after, limit)?)).await
    }
}

/// Ended logs that retention no longer keeps, oldest first.
fn find_due(store: &Store, now: Timestamp, keep: Retention, limit: usize) -> Result<Vec<Expiring>, Unavailable> {
    let at = store.snapshot();
    let mut held = Counts::read(store, &at).map_err(Unavailable::from)?.ended_bytes;
    let mut due = Vec::new();
    for entry in at.iter(&store.ended).take(limit) {
        let (key, value) = pair(entry)?;
        let Some((ended_at, log)) = key::parse_ended(&key) else { continue };
        if now.since(ended_at) <= keep.age && held <= keep.bytes {
            break;
        }
        held = held.saturating_sub(Store::ended_bytes(&key, &value).unwrap_or(0));
        due.push(Expiring { ended_at, log });
    }
    Ok(due)
}

fn list(store: &Store, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Trouble> {
    let begin = match after {
        Some(log) => Bound::Excluded(key::log(LogRef { tenant, log }).to_vec()),
        None => Bound::Included(key::tenant(tenant).to_vec()),
    };
    let at = store.snapshot();
    let mut logs = Vec::new();
    for entry in at.range(&store.logs, (begin, Bound::Unbounded)).take(limit) {
        match key::parse_log(&entry.key()?) {
            Some(log) if log.tenant == tenant => logs.push(log.log),
            _ => break,
        }
    }
    Ok(logs)
}
