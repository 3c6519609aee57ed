//! A log's head on disk. It is written when something other than the tail changes; the tail of a log that
//! has not ended is where its last record ends, so that an append writes one value and not two.

use super::record::Reader;
use super::store::{Store, Trouble, all_events, pair};
use super::{key, seal, varint};
use bytes::Bytes;
use fjall::{Readable, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewire_core::port::{Appended, LogState, Produced};
use tidewire_core::{Epoch, Fence, LogRef, Offset, Timestamp};

/// Where a log stands, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) state: LogState,
    /// All data that it was ever given.
    pub(super) bytes: u64,
    /// How much of it is gone, by trimming and erasing; negative where a snapshot is larger than what it
    /// stands for.
    pub(super) dropped_bytes: i64,
    /// When it ended.
    pub(super) ended_at: Option<Timestamp>,
}

impl Stand {
    /// How much data it holds now.
    pub(super) fn held_bytes(&self) -> u64 {
        self.bytes.saturating_add_signed(self.dropped_bytes.saturating_neg())
    }

    /// Makes [`Stand::held_bytes`] say so much.
    pub(super) fn hold(&mut self, bytes: u64) {
        self.dropped_bytes = self.bytes.cast_signed().wrapping_sub(bytes.cast_signed());
    }

    pub(super) fn seal(&self, log: LogRef) -> Bytes {
        let mut body = Vec::with_capacity(32);
        varint::put(&mut body, u64::from(self.state.epoch.0));
        varint::put(&mut body, self.state.first.0);
        varint::put(&mut body, self.state.tail.0);
        varint::put(&mut body, self.state.fence.0);
        varint::put(&mut body, self.bytes);
        varint::put_signed(&mut body, self.dropped_bytes);
        // 0 says "not yet": no log ended at the Unix epoch.
        varint::put(&mut body, self.ended_at.map_or(0, |at| at.as_micros().max(1)));
        seal::seal(&key::log(log), &[&body])
    }

    fn parse(mut body: &[u8]) -> Option<Self> {
        let from = &mut body;
        let epoch = Epoch(u32::try_from(varint::take(from)?).ok()?);
        let (first, tail) = (Offset(varint::take(from)?), Offset(varint::take(from)?));
        let fence = Fence(varint::take(from)?);
        let (bytes, dropped_bytes) = (varint::take(from)?, varint::take_signed(from)?);
        let ended_at = Some(varint::take(from)?).filter(|&at| at != 0).map(Timestamp::from_micros);
        let state = LogState { epoch, first, tail, fence, ended: ended_at.is_some() };
        Some(Self { state, bytes, dropped_bytes, ended_at })
    }
}

/// A head as a reader finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) stand: Stand,
    /// The last record, if it is damaged. Then the true tail is not known, and the one given is one past that
    /// record's first event: a reader gets all that is before the damage, and at it the error.
    damaged: Option<Offset>,
}

impl Found {
    /// The head, if it can be trusted.
    pub(super) fn sound(self, log: LogRef) -> Result<Stand, Trouble> {
        match self.damaged {
            None => Ok(self.stand),
            Some(offset) => Err(Trouble::Damaged { what: format!("the last record of {}", log.log), offset }),
        }
    }
}

/// A log's head as it was last written: its tail counts only if it has ended.
pub(super) fn stored(store: &Store, at: &Snapshot, log: LogRef) -> Result<Option<Stand>, Trouble> {
    let what = || format!("the head of {}", log.log);
    let Some(body) = Store::body(at, &store.logs, &key::log(log), what)? else {
        return Ok(None);
    };
    Stand::parse(&body).ok_or_else(|| Trouble::damaged(what())).map(Some)
}

/// Where a log stands; `None` where there is no such log.
pub(super) fn find(store: &Store, at: &Snapshot, log: LogRef) -> Result<Option<Found>, Trouble> {
    let Some(mut stand) = stored(store, at, log)? else {
        return Ok(None);
    };
    if stand.state.ended {
        return Ok(Some(Found { stand, damaged: None }));
    }
    let mut damaged = None;
    if let Some(last) = at.range(&store.events, all_events(log)).next_back() {
        let (key, value) = pair(last)?;
        let from = key::parse_events_from(&key).unwrap_or_default();
        if let Ok(record) = Reader::checked(log, from, &value) {
            stand.state.tail = record.to();
            stand.bytes = record.bytes_so_far();
        } else {
            stand.state.tail = from.plus(1);
            damaged = Some(from);
        }
    }
    Ok(Some(Found { stand, damaged }))
}

/// The producers of a log with the places of their last appends, and its last rank.
pub(super) fn writers(store: &Store, at: &Snapshot, log: LogRef) -> Result<Writers, Trouble> {
    let (mut producers, mut rank) = (BTreeMap::new(), None);
    for entry in at.prefix(&store.producers, key::log(log)) {
        let (key, value) = pair(entry)?;
        let damaged = || Trouble::damaged(format!("a producer of {}", log.log));
        let body = seal::open(&key, &value).map_err(|_| damaged())?;
        if *key == key::rank(log) {
            rank = Some(Arc::from(std::str::from_utf8(&body).map_err(|_| damaged())?));
            continue;
        }
        let name = std::str::from_utf8(&key[key::LOG_BYTES..]).map_err(|_| damaged())?;
        producers.insert(Arc::from(name), parse_produced(&body).ok_or_else(damaged)?);
    }
    Ok((producers, rank))
}

type Writers = (BTreeMap<Arc<str>, Produced>, Option<Arc<str>>);

/// A log's last rank as it is stored under `key`.
pub(super) fn seal_rank(key: &[u8], rank: &str) -> Bytes {
    seal::seal(key, &[rank.as_bytes()])
}

/// A producer's last append as it is stored under `key`.
pub(super) fn seal_produced(key: &[u8], produced: &Produced) -> Bytes {
    let mut body = Vec::with_capacity(16);
    varint::put(&mut body, produced.epoch);
    varint::put(&mut body, produced.sequence);
    varint::put(&mut body, produced.appended.from.0);
    varint::put(&mut body, produced.appended.to.0);
    seal::seal(key, &[&body])
}

fn parse_produced(mut body: &[u8]) -> Option<Produced> {
    let from = &mut body;
    let (epoch, sequence) = (varint::take(from)?, varint::take(from)?);
    let appended = Appended { from: Offset(varint::take(from)?), to: Offset(varint::take(from)?), repeats: None };
    Some(Produced { epoch, sequence, appended })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidewire_core::{Durability, LogId, TenantId};

    proptest! {
        #[test]
        fn a_head_survives_its_bytes(epoch: u32, first: u64, tail: u64, fence: u64, bytes: u64, held in 0..u64::MAX / 4, ended: bool) {
            let state = LogState { epoch: Epoch(epoch), first: Offset(first), tail: Offset(tail), fence: Fence(fence), ended };
            let ended_at = ended.then(|| Timestamp::from_millis(5));
            let mut stand = Stand { state, bytes: bytes / 4, dropped_bytes: 0, ended_at };
            prop_assert_eq!(stand.held_bytes(), bytes / 4);
            stand.hold(held);
            prop_assert_eq!(stand.held_bytes(), held);
            let log = LogRef { tenant: TenantId(1), log: LogId::shared(Timestamp::default(), 9, Durability::Durable) };
            let body = seal::open(&key::log(log), &stand.seal(log)).unwrap();
            prop_assert_eq!(Stand::parse(&body), Some(stand));
        }
    }
}
