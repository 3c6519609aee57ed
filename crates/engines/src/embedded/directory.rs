//! The port `Directory`: changes go through the committer, reads do not.

use super::op::Op;
use super::store::{Store, Trouble, pair};
use super::{Engine, key, seal, varint};
use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Readable, Snapshot};
use std::ops::Bound;
use tidewire_core::TenantId;
use tidewire_core::port::{Directory, Expect, PutError, Record, RecordName, RemoveRecordError, Shelf, Unavailable};

#[async_trait]
impl Directory for Engine {
    async fn get(&self, name: &RecordName) -> Result<Option<Record>, Unavailable> {
        let name = name.clone();
        self.on_disk(move |shared| Ok(record(&shared.store, &shared.store.snapshot(), &name)?)).await
    }

    async fn put(&self, name: RecordName, value: Bytes, expect: Expect) -> Result<u64, PutError> {
        name.admit(&value)?;
        // A new record is new work; a change of one may be on its way to free some of the disk.
        if expect == Expect::Absent {
            self.shared.room_for_work()?;
        }
        self.ask(name.name.len() + value.len(), |reply| Op::PutRecord(name, value, expect, reply)).await
    }

    async fn remove(&self, name: &RecordName, expect: Expect) -> Result<bool, RemoveRecordError> {
        let name = name.clone();
        self.ask(name.name.len(), |reply| Op::RemoveRecord(name, expect, reply)).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        shelf: Shelf,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Unavailable> {
        let after = after.unwrap_or_default().to_owned();
        self.on_disk(move |shared| Ok(list(&shared.store, tenant, shelf, after, limit)?)).await
    }

    async fn count(&self, tenant: TenantId, shelf: Shelf) -> Result<u64, Unavailable> {
        self.on_disk(move |shared| Ok(count(&shared.store, &shared.store.snapshot(), tenant, shelf)?)).await
    }
}

/// A record as of a moment.
pub(super) fn record(store: &Store, at: &Snapshot, name: &RecordName) -> Result<Option<Record>, Trouble> {
    let what = || format!("the record {:?} of the directory", name.name);
    let body = Store::body(at, &store.directory, &key::record(name), what)?;
    body.map(|body| parse(&body).ok_or_else(|| Trouble::damaged(what()))).transpose()
}

/// How many records a shelf holds.
pub(super) fn count(store: &Store, at: &Snapshot, tenant: TenantId, shelf: Shelf) -> Result<u64, Trouble> {
    let what = || format!("the count of the directory's shelf {}", shelf as u8);
    let Some(body) = Store::body(at, &store.directory, &key::shelf(tenant, shelf), what)? else { return Ok(0) };
    varint::take(&mut &body[..]).ok_or_else(|| Trouble::damaged(what()))
}

fn list(
    store: &Store,
    tenant: TenantId,
    shelf: Shelf,
    after: String,
    limit: usize,
) -> Result<Vec<(String, Record)>, Trouble> {
    let beginning = key::shelf(tenant, shelf);
    // The shelf's own key is that of an empty name: it comes first, and is passed over.
    let begin = Bound::Excluded(key::record(&RecordName { tenant, shelf, name: after }));
    let at = store.snapshot();
    let mut records = Vec::new();
    for entry in at.range(&store.directory, (begin, Bound::Unbounded)).take(limit) {
        let (key, value) = pair(entry)?;
        if !key.starts_with(&beginning) {
            break;
        }
        let damaged = || Trouble::damaged(format!("a record of the directory's shelf {}", shelf as u8));
        let name = key::parse_record(&key).ok_or_else(damaged)?;
        let body = seal::open(&key, &value).map_err(|_| damaged())?;
        records.push((name.to_owned(), parse(&body).ok_or_else(damaged)?));
    }
    Ok(records)
}

/// A record as it is stored under `key`.
pub(super) fn seal_record(key: &[u8], record: &Record) -> Bytes {
    let mut version = Vec::with_capacity(10);
    varint::put(&mut version, record.version);
    seal::seal(key, &[&version, &record.value])
}

/// A shelf's count as it is stored under `key`.
pub(super) fn seal_count(key: &[u8], count: u64) -> Bytes {
    let mut body = Vec::with_capacity(10);
    varint::put(&mut body, count);
    seal::seal(key, &[&body])
}

fn parse(body: &Bytes) -> Option<Record> {
    let mut rest = &body[..];
    let version = varint::take(&mut rest)?;
    Some(Record { value: body.slice(body.len() - rest.len()..), version })
}
