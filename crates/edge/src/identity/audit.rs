//! What operators did: a shared log of the system's own, which only grows. It says who, what, when and from where, and
//! no body of a request, so no secret gets into it.

use super::Identity;
use super::caller::Caller;
use crate::Edge;
use crate::refusal::Refusal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Append, Cursor, EventLog, LogKeeping, LogState, ReadError, Unavailable, Writer};
use tidewire_core::{Durability, Entry, Kind, LogId, LogRef, Offset, TenantId, Timestamp};
use tidewire_proto::admin::{AuditEntry, AuditPage};

/// Where its log's name is kept.
const NAME: &str = "audit";

/// How much of the log is read at once.
const PAGE_BYTES: usize = 256 * 1024;

/// How often old entries are forgotten: days are kept, so an hour is soon enough.
const TRIM_EVERY: Duration = Duration::from_hours(1);

/// The most entries that are kept, however young: some 300 MB, an action a second for eleven days.
const MAX_ENTRIES: u64 = 1_000_000;

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What came of an operator's request, in words: a face puts it beside its answer.
#[derive(Clone, Debug)]
pub(crate) struct Note(pub(crate) String);

/// The audit log of a server.
pub(crate) struct Audit<'a>(pub(crate) &'a Edge);

impl Identity {
    async fn audit_log(&self, edge: &Edge) -> Result<Option<LogRef>, Unavailable> {
        let Some(store) = &self.store else { return Ok(None) };
        let random = (u128::from(edge.clock.random()) << 64) | u128::from(edge.clock.random());
        let fresh = LogId::shared(edge.clock.now(), random, Durability::Durable);
        let log = store.once(NAME, fresh).await?;
        Ok(Some(LogRef { tenant: TenantId::SYSTEM, log }))
    }
}

impl Audit<'_> {
    /// Writes down what an operator did. What was done is done: where it can't be written, the server's own log has it.
    pub(crate) async fn write(&self, caller: &Caller, entry: AuditEntry) {
        let edge = self.0;
        let entry = AuditEntry {
            at: edge.clock.now().as_millis(),
            who: caller.name.to_string(),
            key: caller.payer.key.map(|key| key.to_string()),
            tenant: Some(edge.identity.tenant_name(caller.tenant)),
            ..entry
        };
        tracing::info!(
            who = entry.who,
            key = entry.key,
            action = entry.action,
            status = entry.status,
            "an operator's action"
        );
        if let Err(reason) = self.append(&entry).await {
            tracing::error!(reason, "an operator's action is not in the audit log");
        }
    }

    async fn append(&self, entry: &AuditEntry) -> Result<(), String> {
        let edge = self.0;
        let Some(log) = edge.identity.audit_log(edge).await.map_err(|error| error.to_string())? else { return Ok(()) };
        // Made again, it is the same one.
        edge.log.create(log).await.map_err(|error| error.to_string())?;
        let data = serde_json::to_vec(entry).unwrap_or_default();
        let entries = vec![Entry::new(edge.clock.now(), Kind::Data, data)];
        let append = Append { log, writer: Writer::Open { rank: None }, entries };
        edge.log.append(append).await.map(drop).map_err(|error| error.to_string())
    }

    /// Entries after an offset, oldest first.
    pub(crate) async fn read(&self, after: Option<u64>, limit: usize) -> Result<AuditPage, Refusal> {
        let edge = self.0;
        let Some(log) = edge.identity.audit_log(edge).await? else { return Ok(AuditPage::default()) };
        page(&*edge.log, log, after, limit).await
    }
}

/// Forgets what operators did longer ago than `kept`, until the server closes.
pub async fn keep(edge: Arc<Edge>, kept: Duration) {
    loop {
        let trimmed = async {
            let Some(log) = edge.identity.audit_log(&edge).await.map_err(|error| error.to_string())? else {
                return Ok(());
            };
            trim((&*edge.log, &*edge.keeping), log, edge.clock.now(), (kept, MAX_ENTRIES)).await
        };
        if let Err::<(), String>(reason) = trimmed.await {
            tracing::error!(reason, "old entries of the audit log can't be forgotten; the next try is in an hour");
        }
        tokio::select! {
            () = edge.closing.cancelled() => return,
            () = edge.clock.sleep(TRIM_EVERY) => {}
        }
    }
}

/// Trims the log to what is younger than an age, and to so many entries.
async fn trim(
    (events, keeping): (&dyn EventLog, &dyn LogKeeping),
    log: LogRef,
    now: Timestamp,
    kept: (Duration, u64),
) -> Result<(), String> {
    let state = match events.state(log).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let (upto, last) = first_kept(events, log, &state, now, kept).await.map_err(|error| error.to_string())?;
    // The first one is the snapshot of the last time: alone it is not worth another.
    if upto.0 <= state.first.0 + 1 {
        return Ok(());
    }
    keeping.trim(log, upto, Entry::new(last, Kind::Snapshot, "{}")).await.map_err(|error| error.to_string())
}

/// The first entry that is kept, and when the one before it was made.
async fn first_kept(
    events: &dyn EventLog,
    log: LogRef,
    state: &LogState,
    now: Timestamp,
    (age, most): (Duration, u64),
) -> Result<(Offset, Timestamp), ReadError> {
    let too_many = Offset(state.tail.0.saturating_sub(most));
    let (mut upto, mut last) = (state.first, now);
    while upto < state.tail {
        let page = events.read(log, Cursor { epoch: state.epoch, next: upto }, PAGE_BYTES).await?;
        if page.events.is_empty() {
            break;
        }
        for event in &page.events {
            if now.since(event.at) < age && event.offset >= too_many {
                return Ok((upto, last));
            }
            (upto, last) = (event.offset.plus(1), event.at);
        }
    }
    Ok((upto, last))
}

/// Entries after an offset, oldest first; those that are forgotten are passed over.
async fn page(events: &dyn EventLog, log: LogRef, after: Option<u64>, limit: usize) -> Result<AuditPage, Refusal> {
    let state = match events.state(log).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok(AuditPage::default()),
        Err(error) => return Err(error.into()),
    };
    let next = after.map_or(state.first, |after| Offset(after.saturating_add(1)).max(state.first));
    if next >= state.tail {
        return Ok(AuditPage::default());
    }
    let page = events.read(log, Cursor { epoch: state.epoch, next }, PAGE_BYTES).await?;
    let entry = |event: &tidewire_core::Event| {
        let entry: AuditEntry = serde_json::from_slice(&event.data).ok()?;
        Some(AuditEntry { offset: event.offset.0, ..entry })
    };
    let shown = || page.events.iter().take(limit);
    let entries = shown().filter(|event| event.kind == Kind::Data).filter_map(entry).collect();
    let last = shown().last().map(|event| event.offset);
    let next = last.filter(|last| last.plus(1) < state.tail).map(|last| last.0);
    Ok(AuditPage { entries, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::port::Clock;
    use tidewire_engines::memory;
    use tidewire_testkit::clock::HandClock;

    const DAY: Duration = Duration::from_hours(24);

    #[tokio::test]
    async fn old_entries_go_the_young_ones_keep_their_offsets_and_a_reader_from_before_goes_on_with_them() {
        let clock = Arc::new(HandClock::new(1));
        let engine = memory::Engine::new(memory::Bounds::default(), clock.clone());
        let log = LogRef { tenant: TenantId::SYSTEM, log: LogId::shared(clock.now(), 7, Durability::Durable) };
        engine.create(log).await.unwrap();
        let trimmed = async |kept| trim((&engine, &engine), log, clock.now(), kept).await.unwrap();
        let offsets = async |after| {
            let page = page(&engine, log, after, 100).await.unwrap();
            page.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>()
        };
        for day in 0..10 {
            let entry = AuditEntry { action: format!("of day {day}"), ..AuditEntry::default() };
            let entries = vec![Entry::new(clock.now(), Kind::Data, serde_json::to_vec(&entry).unwrap())];
            engine.append(Append { log, writer: Writer::Open { rank: None }, entries }).await.unwrap();
            clock.advance(DAY);
        }
        trimmed((11 * DAY, 100)).await;
        assert_eq!(offsets(None).await, (0..10).collect::<Vec<_>>(), "none is old enough");
        // The last one is a day old by now.
        trimmed((4 * DAY, 100)).await;
        assert_eq!(offsets(None).await, [7, 8, 9]);
        assert_eq!(offsets(Some(2)).await, [7, 8, 9], "what came after is gone");
        assert_eq!(offsets(Some(7)).await, [8, 9]);
        trimmed((4 * DAY, 100)).await;
        assert_eq!(engine.state(log).await.unwrap().first, Offset(6), "a second time there is nothing to do");
        trimmed((11 * DAY, 2)).await;
        assert_eq!(offsets(None).await, [8, 9], "no more than so many, however young");
        trimmed((DAY, 100)).await;
        assert_eq!(offsets(None).await, [0_u64; 0]);
    }
}
