//! What is known of a batch beside its log: when it was made, whether it is over, and which key it has.

use crate::Edge;
use crate::refusal::Refusal;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use tidewire_core::port::{Cursor, Expect, PutError, ReadError, RecordName, Shelf};
use tidewire_core::{Durability, Ending, Epoch, Kind, LogId, LogRef, Offset, TenantId, Timestamp};
use tidewire_proto::Code;
use tidewire_proto::batch::{BatchTasks, Progress};

/// The names of batches, and of their idempotency keys, on the shelf.
const BATCH: &str = "batch/";
const KEY: &str = "key/";

/// The longest key, as a task's.
const MAX_KEY_BYTES: usize = 255;

/// How far back it is looked first for the newest ones.
const SPAN: Duration = Duration::from_hours(1);

/// Records that are read at once on the way to the newest ones.
const AT_ONCE: usize = 500;

/// How much of a log's end is read for its last event.
const LAST_BYTES: usize = 64 * 1024;

/// A batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) created_at: Timestamp,
    pub(crate) total: u64,
    /// Not all of its tasks have been reported.
    pub(crate) open: bool,
    /// Its idempotency key: whoever made it can complete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_of: Option<LogId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    batch: LogId,
    hash: u64,
}

fn name(tenant: TenantId, name: String) -> RecordName {
    RecordName { tenant, shelf: Shelf::Batches, name }
}

fn of(log: LogRef) -> RecordName {
    name(log.tenant, format!("{BATCH}{}", log.log))
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers only.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn not_put(error: &PutError) -> Refusal {
    Refusal::new(Code::Unavailable, format!("the batch could not be recorded: {error}"))
}

/// Gives the key to a batch, unless it has one: the batch that has it, and whether that is an earlier one.
pub(super) async fn claim(
    edge: &Edge,
    tenant: TenantId,
    key: &str,
    batch: LogId,
    hash: u64,
) -> Result<(LogId, bool), Refusal> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        let message = format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes");
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    let name = name(tenant, format!("{KEY}{key}"));
    match edge.directory.put(name.clone(), json(&Key { batch, hash }), Expect::Absent).await {
        Ok(_) => return Ok((batch, false)),
        Err(PutError::Conflict { .. }) => {}
        Err(error) => return Err(not_put(&error)),
    }
    let found = edge.directory.get(&name).await?;
    let known: Option<Key> = found.and_then(|found| serde_json::from_slice(&found.value).ok());
    match known {
        Some(known) if known.hash == hash => Ok((known.batch, true)),
        Some(known) => {
            let message =
                format!("this idempotency key belongs to {}, which has another body; use another key", known.batch);
            Err(Refusal::new(Code::IdempotencyConflict, message))
        }
        None => Err(Refusal::new(Code::Unavailable, "the idempotency key is being let go of; try again")),
    }
}

/// Keeps the record of a batch, unless it is kept.
pub(super) async fn put(edge: &Edge, log: LogRef, record: &Record) -> Result<(), Refusal> {
    match edge.directory.put(of(log), json(record), Expect::Absent).await {
        Ok(_) | Err(PutError::Conflict { .. }) => Ok(()),
        Err(error) => Err(not_put(&error)),
    }
}

/// The batch is over.
pub(super) async fn close(edge: &Edge, log: LogRef) -> Result<(), Refusal> {
    let record = Record { open: false, ..find(edge, log).await? };
    edge.directory.put(of(log), json(&record), Expect::Anything).await.map(drop).map_err(|error| not_put(&error))
}

/// Forgets a batch: its log, its key, and last its record, so that one that was cut off is found again.
pub(super) async fn forget(edge: &Edge, log: LogRef, batch: &Record) -> Result<(), Refusal> {
    let unremoved = |error: String| Refusal::new(Code::Unavailable, error);
    edge.keeping.remove(log).await.map_err(|error| unremoved(error.to_string()))?;
    let key = batch.key.as_ref().map(|key| name(log.tenant, format!("{KEY}{key}")));
    for record in key.into_iter().chain([of(log)]) {
        let removed = edge.directory.remove(&record, Expect::Anything).await;
        removed.map_err(|error| unremoved(error.to_string()))?;
    }
    Ok(())
}

/// The record of a batch.
pub(crate) async fn find(edge: &Edge, log: LogRef) -> Result<Record, Refusal> {
    let found = edge.directory.get(&of(log)).await?;
    let record = found.and_then(|found| serde_json::from_slice(&found.value).ok());
    record.ok_or_else(|| {
        Refusal::new(Code::UnknownBatch, format!("there is no batch `{}`: it never was, or it has expired", log.log))
    })
}

/// Batches after the one named, oldest first.
pub(crate) async fn list(
    edge: &Edge,
    tenant: TenantId,
    after: Option<LogId>,
    limit: usize,
) -> Result<Vec<(LogRef, Record)>, Refusal> {
    let after = after.map_or_else(|| BATCH.to_owned(), |after| format!("{BATCH}{after}"));
    from(edge, tenant, &after, limit).await
}

/// Batches before the one named, newest first. A shelf is read forwards alone, so that it is looked at the last hour first, and
/// then at ever longer times, until there are as many as are asked for: their names tell when they were made.
pub(crate) async fn newest(
    edge: &Edge,
    tenant: TenantId,
    before: Option<LogId>,
    limit: usize,
) -> Result<Vec<(LogRef, Record)>, Refusal> {
    // A clock that was set back may have named some in what is the future now.
    let upto = before.map_or_else(|| edge.clock.now().plus(SPAN), LogId::made_at);
    let mut span = SPAN;
    loop {
        let begin = upto.minus(span);
        let mut after = format!("{BATCH}{}", LogId::shared(begin, 0, Durability::Durable));
        let mut last = VecDeque::with_capacity(limit + 1);
        'shelf: loop {
            let page = from(edge, tenant, &after, AT_ONCE).await?;
            let whole = page.len() == AT_ONCE;
            for (log, record) in page {
                if before.is_some_and(|before| log.log >= before) {
                    break 'shelf;
                }
                after = format!("{BATCH}{}", log.log);
                if last.len() == limit {
                    last.pop_front();
                }
                last.push_back((log, record));
            }
            if !whole {
                break;
            }
        }
        if last.len() == limit || begin == Timestamp::default() {
            return Ok(last.into_iter().rev().collect());
        }
        span = span.saturating_mul(16);
    }
}

/// Batches whose names sort after this one, in the order of their names.
async fn from(edge: &Edge, tenant: TenantId, after: &str, limit: usize) -> Result<Vec<(LogRef, Record)>, Refusal> {
    let found = edge.directory.list(tenant, Shelf::Batches, Some(after), limit).await?;
    let batch = |(name, record): (String, tidewire_core::port::Record)| {
        let log = name.strip_prefix(BATCH)?.parse().ok()?;
        Some((LogRef { tenant, log }, serde_json::from_slice(&record.value).ok()?))
    };
    Ok(found.into_iter().map_while(batch).collect())
}

/// The tasks of a batch, once they are all committed.
pub(crate) async fn committed(edge: &Edge, log: LogRef) -> Result<Option<(Epoch, Vec<String>)>, Refusal> {
    let state = match edge.log.state(log).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if state.tail == Offset(0) {
        return Ok(None);
    }
    let page = edge.log.read(log, Cursor { epoch: state.epoch, next: Offset(0) }, 1).await?;
    let first = page.events.first().filter(|event| event.kind == Kind::Batch);
    let tasks: Option<BatchTasks> = first.and_then(|event| serde_json::from_slice(&event.data).ok());
    Ok(tasks.map(|tasks| (state.epoch, tasks.tasks)))
}

/// How far a batch has come, from the end of its log: its last progress, and how it ended.
pub(crate) async fn read_progress(
    edge: &Edge,
    log: LogRef,
) -> Result<(Option<Progress>, Option<(Timestamp, Ending)>), Refusal> {
    let state = match edge.log.state(log).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok((None, None)),
        Err(error) => return Err(error.into()),
    };
    // The end and the progress before it.
    let next = Offset(state.tail.0.saturating_sub(2).max(state.first.0));
    let page = edge.log.read(log, Cursor { epoch: state.epoch, next }, LAST_BYTES).await?;
    let (mut progress, mut end) = (None, None);
    for event in page.events {
        match event.kind {
            Kind::Progress => progress = serde_json::from_slice(&event.data).ok(),
            Kind::End => end = serde_json::from_slice(&event.data).ok().map(|ending| (event.at, ending)),
            _ => {}
        }
    }
    Ok((progress, end))
}
