//! Reading events from disk: what is no longer in memory, each record checked before a byte of it is given.

use super::head;
use super::key;
use super::record::Reader;
use super::seal::Damaged;
use super::slots::{Room, check};
use super::store::{Store, Trouble, pair};
use bytes::Bytes;
use fjall::{Guard, Readable, Snapshot};
use tidewire_core::port::{Cursor, Page, ReadError};
use tidewire_core::{Event, LogRef, Offset};

/// A page from disk. One snapshot shows the head and the events as of the same commit, so that a trim or an
/// expiry in between is seen whole or not at all.
pub(super) fn read(store: &Store, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
    let at = store.snapshot();
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
        match add(&mut page.events, &mut room, log, from, &value, next) {
            Ok(true) => next = page.events.last().map_or(next, |event| event.offset.plus(1)),
            Ok(false) => break,
            // What is before the damage is whole; the reader meets the damage with its next read.
            Err(_) if !page.events.is_empty() => break,
            Err(damaged) => return Err(ReadError::Damaged { offset: damaged }),
        }
    }
    if page.events.is_empty() {
        return Err(ReadError::Damaged { offset: next });
    }
    Ok(page)
}

/// Adds a record's events from `next` on to a page. `false` where one does not fit; as an error the place of
/// the damage.
fn add(
    events: &mut Vec<Event>,
    room: &mut Room,
    log: LogRef,
    from: Offset,
    value: &Bytes,
    next: Offset,
) -> Result<bool, Offset> {
    let mut record = Reader::checked(log, from, value).map_err(|Damaged| from)?;
    if from > next || record.to() <= next {
        // A hole before it: a record is missing.
        return Err(next);
    }
    room.fill(events, &mut record, next).map_err(|Damaged| from)
}

/// The first offset of the record that holds `offset`.
pub(super) fn record_of(store: &Store, at: &Snapshot, log: LogRef, offset: Offset) -> Result<Option<Offset>, Trouble> {
    let range = key::events(log, Offset(0))..=key::events(log, offset);
    let last = at.range(&store.events, range).next_back();
    Ok(last.map(Guard::key).transpose()?.and_then(|key| key::parse_events_from(&key)))
}
