//! A record: what one log got in one commit, as one stored value.
//!
//! ```text
//! count, bytes so far, first event's time, then per event: kind, time since the one before, length, data
//! ```

use super::seal::{self, Damaged};
use super::{key, varint};
use bytes::Bytes;
use tidewire_core::{Entry, Event, Kind, LogRef, Offset, Timestamp};

/// A record that holds this much data is closed and another begun, so that a reader that wants a few events
/// of it decodes at most so much. A commit of one log is seldom larger.
pub(super) const MAX_RECORD_BYTES: usize = 256 * 1024;
/// The same for small events: skipping so many takes some 20 µs.
pub(super) const MAX_RECORD_EVENTS: usize = 4096;

/// A record, sealed.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its first event's offset.
    pub(super) from: Offset,
    /// One past its last event's offset.
    pub(super) to: Offset,
    /// How much data its events hold.
    pub(super) data_bytes: usize,
    /// The value as it is stored.
    pub(super) value: Bytes,
}

/// A record in the making.
#[derive(Debug)]
pub(super) struct Builder {
    from: Offset,
    count: usize,
    first_at: Timestamp,
    last_at: Timestamp,
    events: Vec<u8>,
    data_bytes: usize,
}

impl Builder {
    pub(super) fn new(from: Offset) -> Self {
        Self {
            from,
            count: 0,
            first_at: Timestamp::default(),
            last_at: Timestamp::default(),
            events: Vec::new(),
            data_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        if self.count == 0 {
            self.first_at = entry.at;
            self.last_at = entry.at;
        }
        self.events.reserve(entry.data.len() + 16);
        self.events.push(entry.kind as u8);
        // A writer's clock may step back, so the difference has a sign.
        let since = entry.at.as_micros().wrapping_sub(self.last_at.as_micros());
        varint::put_signed(&mut self.events, since.cast_signed());
        varint::put(&mut self.events, entry.data.len() as u64);
        self.events.extend_from_slice(&entry.data);
        self.last_at = entry.at;
        self.data_bytes += entry.data.len();
        self.count += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.data_bytes >= MAX_RECORD_BYTES || self.count >= MAX_RECORD_EVENTS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn to(&self) -> Offset {
        self.from.plus(self.count)
    }

    pub(super) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// The record as it is stored. `bytes_so_far`: the data that the log has been given, this included.
    pub(super) fn seal(&self, log: LogRef, bytes_so_far: u64) -> Record {
        let mut front = Vec::with_capacity(24);
        varint::put(&mut front, self.count as u64);
        varint::put(&mut front, bytes_so_far);
        varint::put(&mut front, self.first_at.as_micros());
        let value = seal::seal(&key::events(log, self.from), &[&front, &self.events]);
        Record { from: self.from, to: self.to(), data_bytes: self.data_bytes, value }
    }
}

/// A stored record, checked and ready to be decoded.
#[derive(Debug)]
pub(super) struct Reader {
    body: Bytes,
    at: usize,
    next: Offset,
    to: Offset,
    last_at: u64,
    bytes_so_far: u64,
}

impl Reader {
    /// Checks a stored value's checksum.
    pub(super) fn checked(log: LogRef, from: Offset, value: &Bytes) -> Result<Self, Damaged> {
        Self::of_body(seal::open(&key::events(log, from), value)?, from)
    }

    /// A record from memory: this process sealed it, so its checksum was never at risk.
    pub(super) fn trusted(record: &Record) -> Result<Self, Damaged> {
        Self::of_body(seal::body_of(&record.value), record.from)
    }

    fn of_body(body: Bytes, from: Offset) -> Result<Self, Damaged> {
        let mut rest = &body[..];
        let mut front = || varint::take(&mut rest).ok_or(Damaged);
        let (count, bytes_so_far, last_at) = (front()?, front()?, front()?);
        let to = Offset(from.0.checked_add(count).ok_or(Damaged)?);
        let at = body.len() - rest.len();
        Ok(Self { body, at, next: from, to, last_at, bytes_so_far })
    }

    /// One past the record's last event.
    pub(super) fn to(&self) -> Offset {
        self.to
    }

    /// The data that the log had been given by the end of this record.
    pub(super) fn bytes_so_far(&self) -> u64 {
        self.bytes_so_far
    }

    /// The next event; `None` at the end. Its data shares the record's memory.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Damaged> {
        if self.next >= self.to {
            return Ok(None);
        }
        let mut rest = self.body.get(self.at..).ok_or(Damaged)?;
        let kind = varint::take_bytes(&mut rest, 1).and_then(|kind| Kind::from_number(kind[0])).ok_or(Damaged)?;
        let since = varint::take_signed(&mut rest).ok_or(Damaged)?;
        let length = varint::take(&mut rest).and_then(|length| usize::try_from(length).ok()).ok_or(Damaged)?;
        let begin = self.body.len() - rest.len();
        varint::take_bytes(&mut rest, length).ok_or(Damaged)?;
        self.last_at = self.last_at.wrapping_add(since.cast_unsigned());
        self.at = begin + length;
        let event = Event {
            offset: self.next,
            at: Timestamp::from_micros(self.last_at),
            kind,
            data: self.body.slice(begin..self.at),
        };
        self.next = self.next.plus(1);
        Ok(Some(event))
    }

    /// Goes on to the event at `offset`, or to the end.
    pub(super) fn skip_to(&mut self, offset: Offset) -> Result<(), Damaged> {
        while self.next < offset && self.next()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidewire_core::{Durability, LogId, TenantId};

    fn log() -> LogRef {
        let log = LogId::shared(Timestamp::from_millis(1), 2, Durability::Durable);
        LogRef { tenant: TenantId(3), log }
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (any::<u64>(), 0..Kind::ALL.len(), any::<Vec<u8>>());
        prop::collection::vec(
            entry.prop_map(|(at, kind, data)| Entry::new(Timestamp::from_micros(at), Kind::ALL[kind], data)),
            1..20,
        )
    }

    proptest! {
        #[test]
        fn events_survive_their_record(entries in entries(), from in 0..u64::MAX / 2, skip in 0..20usize) {
            let mut builder = Builder::new(Offset(from));
            for entry in &entries {
                builder.push(entry);
            }
            let record = builder.seal(log(), 77);
            prop_assert_eq!(record.to, Offset(from).plus(entries.len()));
            let mut reader = Reader::checked(log(), record.from, &record.value).unwrap();
            prop_assert_eq!((reader.to(), reader.bytes_so_far()), (record.to, 77));
            reader.skip_to(Offset(from).plus(skip)).unwrap();
            for (place, entry) in entries.iter().enumerate().skip(skip) {
                let event = reader.next().unwrap().unwrap();
                prop_assert_eq!(event.offset, Offset(from).plus(place));
                prop_assert_eq!(&Entry { at: event.at, kind: event.kind, data: event.data }, entry);
            }
            prop_assert_eq!(reader.next(), Ok(None));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(body: Vec<u8>, from: u64) {
            let value = seal::seal(&key::events(log(), Offset(from)), &[&body]);
            if let Ok(mut reader) = Reader::checked(log(), Offset(from), &value) {
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }
}
