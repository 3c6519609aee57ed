//! What is done to whole logs: trimming, erasing, expiring. Each step is a commit of its own and bounded, so
//! that a long log does not hold up the rest.

use super::Committer;
use super::round::Round;
use crate::embedded::op::{Expiring, Gone, Keep};
use crate::embedded::record::{Builder, Reader};
use crate::embedded::store::{Store, Trouble, all_events, pair};
use crate::embedded::{cold, key, seal, varint};
use bytes::Bytes;
use fjall::Readable;
use tidewire_core::port::{TrimError, Unavailable};
use tidewire_core::{Entry, Event, Kind, LogKind, LogRef, Offset, TaskRef, Timestamp};

/// How many records one step deletes: some 20 ms.
const MAX_DELETED: usize = 16 * 1024;
/// How many records one step erases, and how much it reads for that: some 20 ms.
const MAX_ERASED: usize = 1024;
const MAX_ERASED_BYTES: usize = 8 * 1024 * 1024;

impl From<Trouble> for TrimError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.into())
    }
}

/// An entry of the index of ended logs.
pub(super) fn ended_entry(at: Timestamp, log: LogRef, bytes: u64) -> ([u8; key::ENDED_BYTES], Bytes) {
    let key = key::ended(at, log);
    let mut body = Vec::with_capacity(8);
    varint::put(&mut body, bytes);
    (key, seal::seal(&key, &[&body]))
}

impl Committer {
    pub(super) fn keep(&mut self, round: &mut Round, keep: Keep) {
        round.changes += 1;
        match keep {
            Keep::Trim(log, upto, snapshot, reply) => {
                let result = self.trim(round, log, upto, &snapshot);
                round.answer(reply, result);
            }
            Keep::Sweep(log, from, reply) => {
                let result = self.sweep(round, log, from);
                round.answer(reply, result);
            }
            Keep::Erase(log, from, reply) => {
                let result = self.erase(round, log, from);
                round.answer(reply, result);
            }
            Keep::Remove(log, reply) => {
                let result = self.remove(round, log).map_err(Unavailable::from);
                round.answer(reply, result);
            }
            Keep::Expire(logs, reply) => {
                let result = self.expire(round, &logs).map_err(Unavailable::from);
                round.answer(reply, result);
            }
        }
    }

    /// Writes the snapshot, with what follows it in its record, and moves the log's first offset. What is
    /// before it can't be read from then on, and is swept later.
    fn trim(&mut self, round: &mut Round, log: LogRef, upto: Offset, snapshot: &Entry) -> Result<(), TrimError> {
        let shared = self.shared.clone();
        let writing = self.heads.get(&shared.store, log)?.ok_or(TrimError::Unknown)?;
        let state = writing.state();
        if upto <= state.first || upto > state.tail {
            return Err(TrimError::OutOfRange { first: state.first, tail: state.tail });
        }
        let first = Offset(upto.0 - 1);
        let mut builder = Builder::new(first);
        builder.push(snapshot);
        let mut bytes_so_far = writing.bytes;
        let mut bytes_after = 0;
        if upto < state.tail {
            let (from, mut record) = record_with(&shared.store, log, upto)?;
            record.skip_to(upto).map_err(|_| damaged(log, from))?;
            let mut rest = Vec::new();
            while let Some(event) = record.next().map_err(|_| damaged(log, from))? {
                bytes_after += event.data.len() as u64;
                rest.push(event);
            }
            bytes_after += writing.bytes - record.bytes_so_far().min(writing.bytes);
            // A record that begins at `upto` stays as it is.
            if from < upto {
                bytes_so_far = record.bytes_so_far();
                for event in &rest {
                    builder.push(&as_entry(event));
                }
            }
        }
        let record = builder.seal(log, bytes_so_far);
        round.batch.insert(&shared.store.events, key::events(log, record.from), record.value);
        let mut stand = writing.stand();
        let held_before = stand.held_bytes();
        stand.state.first = first;
        stand.hold(bytes_after + snapshot.data.len() as u64);
        self.rewrite(round, log, stand, held_before)?;
        Ok(())
    }

    /// Deletes records that trimming left before the first offset.
    fn sweep(&mut self, round: &mut Round, log: LogRef, from: Offset) -> Result<Option<Offset>, TrimError> {
        let store = &self.shared.store;
        let writing = self.heads.get(store, log)?.ok_or(TrimError::Unknown)?;
        let range = key::events(log, from)..key::events(log, writing.state().first);
        let mut last = None;
        for (count, record) in store.events.range(range).enumerate() {
            if count == MAX_DELETED {
                return Ok(last);
            }
            let key = record.key().map_err(Trouble::from)?;
            last = key::parse_events_from(&key);
            round.batch.remove(&store.events, key);
        }
        Ok(None)
    }

    /// Blanks events, record by record.
    fn erase(&mut self, round: &mut Round, log: LogRef, from: Offset) -> Result<Option<Offset>, TrimError> {
        let shared = self.shared.clone();
        let writing = self.heads.get(&shared.store, log)?.ok_or(TrimError::Unknown)?;
        let mut stand = writing.stand();
        if let Some(task) = log.log.task().filter(|_| from == Offset(0)) {
            let task = TaskRef { tenant: log.tenant, task };
            let key = key::task(task);
            round.batch.insert(&shared.store.inputs, key, seal::seal(&key, &[]));
            shared.live.forget_input(task);
        }
        let range = key::events(log, from)..=*all_events(log).end();
        let (mut kept_bytes, mut read_bytes) = (0, 0);
        for (count, record) in shared.store.events.range(range).enumerate() {
            let (key, value) = pair(record)?;
            let begin = key::parse_events_from(&key).unwrap_or_default();
            if count == MAX_ERASED || read_bytes >= MAX_ERASED_BYTES {
                self.rewrite(round, log, stand, stand.held_bytes())?;
                return Ok(Some(begin));
            }
            read_bytes += value.len();
            let (blank, kept) = blanked(log, begin, &value).map_err(|_| damaged(log, begin))?;
            kept_bytes += kept;
            round.batch.insert(&shared.store.events, key, blank);
        }
        let held_before = stand.held_bytes();
        stand.hold(kept_bytes);
        self.rewrite(round, log, stand, held_before)?;
        Ok(None)
    }

    /// Takes up a log's new stand after its stored records changed.
    fn rewrite(
        &mut self,
        round: &mut Round,
        log: LogRef,
        stand: crate::embedded::head::Stand,
        held_before: u64,
    ) -> Result<(), Trouble> {
        let Some(writing) = self.heads.get(&self.shared.store, log)? else { return Ok(()) };
        writing.set_stand(stand);
        round.touch(log, writing, stand.state.tail).head_changed = true;
        round.rewritten.push(log);
        round.durable = true;
        if let Some(at) = stand.ended_at.filter(|_| log.log.kind() == LogKind::Task) {
            let held = stand.held_bytes();
            self.counts.ended_bytes = (self.counts.ended_bytes + held).saturating_sub(held_before);
            round.counts_changed = true;
            let (key, value) = ended_entry(at, log, held);
            round.batch.insert(&self.shared.store.ended, key, value);
        }
        Ok(())
    }

    /// Makes a log unknown. The rest of it is deleted in steps, as that of an expired log: its entry in the index
    /// of ended logs, at the beginning of time, makes retention go on with it if a crash comes between.
    fn remove(&mut self, round: &mut Round, log: LogRef) -> Result<Option<Expiring>, Trouble> {
        let store = &self.shared.store;
        let (ended, bytes) = match self.heads.get(store, log) {
            Ok(None) => return Ok(None),
            Ok(Some(writing)) => (writing.state().ended, writing.stand().held_bytes()),
            // What can't be read can be removed all the same.
            Err(Trouble::Damaged { .. }) => (false, 0),
            Err(disk @ Trouble::Disk(_)) => return Err(disk),
        };
        let ended_at = Timestamp::default();
        let (key, value) = ended_entry(ended_at, log, bytes);
        round.batch.insert(&store.ended, key, value);
        round.batch.remove(&store.logs, key::log(log));
        round.gone.push(log);
        round.durable = true;
        self.counts.ended_bytes += bytes;
        self.counts.logs_live = self.counts.logs_live.saturating_sub(u64::from(!ended));
        round.counts_changed = true;
        Ok(Some(Expiring { ended_at, log }))
    }

    /// Deletes ended logs with all that belongs to them. Answers for as many, from the front, as are gone.
    /// The head goes first, so that no reader finds half a log, and the index entry last, so that a crash in
    /// between leaves nothing behind that is not found again.
    fn expire(&mut self, round: &mut Round, logs: &[Expiring]) -> Result<Vec<Gone>, Trouble> {
        let shared = self.shared.clone();
        let store = &shared.store;
        let mut room = MAX_DELETED;
        let mut gone = Vec::new();
        for &Expiring { ended_at, log } in logs {
            let index_key = key::ended(ended_at, log);
            let Some(value) = store.ended.get(index_key)? else {
                gone.push(Gone { bytes: 0 });
                continue;
            };
            // An entry that can't be read any more still names its log.
            let bytes = Store::ended_bytes(&index_key, &value.into()).unwrap_or(0);
            round.gone.push(log);
            round.durable = true;
            round.batch.remove(&store.logs, key::log(log));
            for record in store.events.range(all_events(log)) {
                if room == 0 {
                    return Ok(gone);
                }
                round.batch.remove(&store.events, record.key()?);
                room -= 1;
            }
            for producer in store.producers.prefix(key::log(log)) {
                round.batch.remove(&store.producers, producer.key()?);
            }
            if let Some(task) = log.log.task() {
                Self::forget_task(store, round, TaskRef { tenant: log.tenant, task });
            }
            round.batch.remove(&store.ended, index_key);
            self.counts.ended_bytes = self.counts.ended_bytes.saturating_sub(bytes);
            round.counts_changed = true;
            gone.push(Gone { bytes });
        }
        Ok(gone)
    }

    fn forget_task(store: &Store, round: &mut Round, task: TaskRef) {
        let key = key::task(task);
        // A record that can't be read leaves its idempotency key behind, which then names no task.
        let record = store.task(&store.db.snapshot(), task).ok().flatten();
        if let Some(idempotency) = record.and_then(|task| task.idempotency) {
            round.batch.remove(&store.idempotency, key::idempotency(task.tenant, &idempotency.key));
        }
        for keyspace in [&store.tasks, &store.inputs, &store.settlements] {
            round.batch.remove(keyspace, key);
        }
    }
}

/// The record that holds an offset.
fn record_with(store: &Store, log: LogRef, offset: Offset) -> Result<(Offset, Reader), Trouble> {
    let at = store.db.snapshot();
    let from = cold::record_of(store, &at, log, offset)?.ok_or_else(|| damaged(log, offset))?;
    let key = key::events(log, from);
    let value = at.get(&store.events, key)?.ok_or_else(|| damaged(log, from))?;
    let reader = Reader::checked(log, from, &value.into()).map_err(|_| damaged(log, from))?;
    Ok((from, reader))
}

/// The record with its data blanked, and how much data is left in it.
fn blanked(log: LogRef, from: Offset, value: &Bytes) -> Result<(Bytes, u64), seal::Damaged> {
    let mut record = Reader::checked(log, from, value)?;
    let mut builder = Builder::new(from);
    while let Some(event) = record.next()? {
        match event.kind {
            Kind::End => builder.push(&as_entry(&event)),
            _ => builder.push(&Entry::new(event.at, Kind::Erased, Bytes::new())),
        }
    }
    Ok((builder.seal(log, record.bytes_so_far()).value, builder.data_bytes() as u64))
}

fn as_entry(event: &Event) -> Entry {
    Entry { at: event.at, kind: event.kind, data: event.data.clone() }
}

fn damaged(log: LogRef, offset: Offset) -> Trouble {
    Trouble::Damaged { what: format!("a record of {}", log.log), offset }
}
