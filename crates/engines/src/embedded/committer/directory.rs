//! Putting and removing named records.

use super::Committer;
use super::round::Round;
use crate::embedded::directory;
use crate::embedded::store::Trouble;
use bytes::Bytes;
use tidewire_core::port::{Expect, PutError, Record, RecordName, RemoveRecordError, Unavailable};

impl Committer {
    pub(super) fn put_record(
        &mut self,
        round: &mut Round,
        name: RecordName,
        value: Bytes,
        expect: Expect,
    ) -> Result<u64, PutError> {
        let found = self.record_version(round, &name).map_err(Unavailable::from)?;
        if !expect.holds(found) {
            return Err(PutError::Conflict { found });
        }
        if found.is_none() {
            self.count_record(round, &name, 1).map_err(Unavailable::from)?;
        }
        self.counts.record_version += 1;
        let version = self.counts.record_version;
        round.counts_changed = true;
        round.durable = true;
        round.bytes += value.len();
        round.records.insert(name, Some(Record { value, version }));
        Ok(version)
    }

    pub(super) fn remove_record(
        &mut self,
        round: &mut Round,
        name: RecordName,
        expect: Expect,
    ) -> Result<bool, RemoveRecordError> {
        let found = self.record_version(round, &name).map_err(Unavailable::from)?;
        if !expect.holds(found) {
            return Err(RemoveRecordError::Conflict { found });
        }
        if found.is_some() {
            self.count_record(round, &name, -1).map_err(Unavailable::from)?;
            round.durable = true;
            round.records.insert(name, None);
        }
        Ok(found.is_some())
    }

    /// The record's version as of this round.
    fn record_version(&self, round: &Round, name: &RecordName) -> Result<Option<u64>, Trouble> {
        if let Some(record) = round.records.get(name) {
            return Ok(record.as_ref().map(|record| record.version));
        }
        let store = &self.shared.store;
        Ok(directory::record(store, &store.db.snapshot(), name)?.map(|record| record.version))
    }

    fn count_record(&mut self, round: &mut Round, name: &RecordName, by: i64) -> Result<(), Trouble> {
        let shelf = (name.tenant, name.shelf);
        let before = if let Some(count) = self.shelves.get(&shelf) {
            *count
        } else {
            let store = &self.shared.store;
            directory::count(store, &store.db.snapshot(), name.tenant, name.shelf)?
        };
        self.shelves.insert(shelf, before.saturating_add_signed(by));
        round.shelves.insert(shelf);
        Ok(())
    }
}
