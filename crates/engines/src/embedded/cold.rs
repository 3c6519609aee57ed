//! Reading events from disk: what is no longer in memory, each record checked before a byte of it is given.

use super::head;
use super::key;
use super::record::Reader;
use super::seal::Damaged;
use super::slots::{Room, check};
use super::store::{Store, Trouble, pair};
use fjall::{Guard, Readable, Snapshot};
use tidewire_core::port::{Cursor, Page, ReadError};
use tidewire_core::{LogRef, Offset};

/// A page from disk. One snapshot shows the head and the events as of the same commit, so that a trim or an
/// expiry in between is seen whole or not at all.
pub(super) fn read(store: &Store, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
    let at = store.db.snapshot();
    let state = head::find(store, &at, log)?.ok_or(ReadError::Unknown)?.stand.state;
    check(&state, cursor)?;
    if cursor.next > state.tail {
        return Err(ReadError::Future { tail: state.tail });
    }
    let mut page = Page { events: Vec::new(), tail: state.tail, ended: state.ended };
    if cursor.next == state.tail {
        return Ok(page);
    }
    let mut room = Room::new(max_bytes);
    let mut next = cursor.next;
    let begin = record_of(store, &at, log, next)?.ok_or(ReadError::Damaged { offset: next })?;
    for record in at.range(&store.events, key::events(log, begin)..key::events(log, state.tail)) {
        let (key, value) = pair(record)?;
        let from = key::parse_events_from(&key).unwrap_or_default();
        let added = Reader::checked(log, from, &value).and_then(|mut record| {
            // A hole before it: a record is missing.
            if from > next || record.to() <= next {
                return Err(Damaged);
            }
            let before = page.events.len();
            let goes_on = room.fill(&mut page.events, &mut record, next);
            if goes_on.is_err() {
                page.events.truncate(before);
            }
            goes_on
        });
        next = page.events.last().map_or(next, |event| event.offset.plus(1));
        match added {
            Ok(true) => {}
            Ok(false) => break,
            // What is before the damage is whole; the reader meets the damage with its next read.
            Err(Damaged) if !page.events.is_empty() => break,
            Err(Damaged) => return Err(ReadError::Damaged { offset: from.min(next) }),
        }
    }
    if page.events.is_empty() {
        return Err(ReadError::Damaged { offset: next });
    }
    Ok(page)
}

/// The first offset of the record that holds `offset`.
pub(super) fn record_of(store: &Store, at: &Snapshot, log: LogRef, offset: Offset) -> Result<Option<Offset>, Trouble> {
    let range = key::events(log, Offset(0))..=key::events(log, offset);
    let last = at.range(&store.events, range).next_back();
    Ok(last.map(Guard::key).transpose()?.and_then(|key| key::parse_events_from(&key)))
}
