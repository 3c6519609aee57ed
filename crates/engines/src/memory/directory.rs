//! The engine as a `Directory`.

use super::{Engine, lock};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use tidewire_core::TenantId;
use tidewire_core::port::{Directory, Expect, PutError, Record, RecordName, RemoveRecordError, Shelf, Unavailable};

/// What a record costs besides its name and value: its places in the map and in the allocator's books.
const RECORD_BYTES: usize = 160;

/// All records, in the order of their names.
#[derive(Default)]
pub(super) struct Records {
    shelves: BTreeMap<(TenantId, Shelf), BTreeMap<String, Record>>,
    // The last version that was given: one count for all, so that none comes again.
    version: u64,
}

fn cost_bytes(name: &str, value: &Bytes) -> usize {
    RECORD_BYTES + name.len() + value.len()
}

impl Records {
    fn get(&self, name: &RecordName) -> Option<&Record> {
        self.shelves.get(&(name.tenant, name.shelf))?.get(&name.name)
    }
}

#[async_trait]
impl Directory for Engine {
    async fn get(&self, name: &RecordName) -> Result<Option<Record>, Unavailable> {
        Ok(lock(&self.directory).get(name).cloned())
    }

    async fn put(&self, name: RecordName, value: Bytes, expect: Expect) -> Result<u64, PutError> {
        name.admit(&value)?;
        let mut records = lock(&self.directory);
        let before = records.get(&name);
        let found = before.map(|record| record.version);
        if !expect.holds(found) {
            return Err(PutError::Conflict { found });
        }
        let freed = before.map_or(0, |record| cost_bytes(&name.name, &record.value));
        let cost = cost_bytes(&name.name, &value);
        // A change that adds nothing is taken also where there is no room left.
        self.room.take(cost.saturating_sub(freed))?;
        self.room.give_back(freed.saturating_sub(cost));
        records.version += 1;
        // A copy of its own: a slice would hold the whole buffer that it arrived in.
        let record = Record { value: Bytes::copy_from_slice(&value), version: records.version };
        records.shelves.entry((name.tenant, name.shelf)).or_default().insert(name.name, record);
        Ok(records.version)
    }

    async fn remove(&self, name: &RecordName, expect: Expect) -> Result<bool, RemoveRecordError> {
        let mut records = lock(&self.directory);
        let found = records.get(name).map(|record| record.version);
        if !expect.holds(found) {
            return Err(RemoveRecordError::Conflict { found });
        }
        let shelf = records.shelves.get_mut(&(name.tenant, name.shelf));
        let removed = shelf.and_then(|shelf| shelf.remove(&name.name));
        if let Some(record) = &removed {
            self.room.give_back(cost_bytes(&name.name, &record.value));
        }
        Ok(removed.is_some())
    }

    async fn list(
        &self,
        tenant: TenantId,
        shelf: Shelf,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Unavailable> {
        let records = lock(&self.directory);
        let Some(shelf) = records.shelves.get(&(tenant, shelf)) else { return Ok(Vec::new()) };
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let after = shelf.range::<str, _>((begin, Bound::Unbounded));
        Ok(after.take(limit).map(|(name, record)| (name.clone(), record.clone())).collect())
    }

    async fn count(&self, tenant: TenantId, shelf: Shelf) -> Result<u64, Unavailable> {
        Ok(lock(&self.directory).shelves.get(&(tenant, shelf)).map_or(0, |shelf| shelf.len() as u64))
    }
}
