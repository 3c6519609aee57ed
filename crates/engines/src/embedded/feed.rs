//! The feed: for every commit, which logs grew and how far.

use super::store::{Store, Trouble, pair};
use super::{key, seal, varint};
use bytes::Bytes;
use fjall::{Guard, Readable};
use tidewire_core::port::{FeedEntry, FeedPosition};
use tidewire_core::{LogRef, Offset};

/// The feed is trimmed by this many entries at a time: seldom, and a small part of a commit.
pub(super) const TRIM_STEP: u64 = 1024;

/// A record of the feed in the making: what one commit added to it.
pub(super) struct Builder {
    first: u64,
    count: u64,
    entries: Vec<u8>,
}

impl Builder {
    pub(super) fn new(first: u64) -> Self {
        Self { first, count: 0, entries: Vec::new() }
    }

    pub(super) fn push(&mut self, log: LogRef, from: Offset, to: Offset) {
        if to > from {
            self.entries.extend_from_slice(&key::log(log));
            varint::put(&mut self.entries, from.0);
            varint::put(&mut self.entries, to.0 - from.0);
            self.count += 1;
        }
    }

    /// The position after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.count
    }

    /// The record as it is stored; `None` where nothing grew.
    pub(super) fn seal(&self) -> Option<([u8; 8], Bytes)> {
        let key = key::feed(self.first);
        (self.count > 0).then(|| (key, seal::seal(&key, &[&self.entries])))
    }
}

/// Entries after a position. A damaged record is an error and not a gap: what follows it is given only to
/// those who ask for it.
pub(super) fn read(store: &Store, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Trouble> {
    let at = store.snapshot();
    let mut found = Vec::new();
    let upto = key::feed(after.0.saturating_add(1));
    // The record that holds the next entry may begin before it.
    let begin = at.range(&store.feed, ..=upto).next_back().map(Guard::key).transpose()?;
    let begin = begin.as_deref().and_then(key::parse_feed).unwrap_or(0);
    for record in at.range(&store.feed, key::feed(begin)..) {
        let (key, value) = pair(record)?;
        let damaged = || Trouble::damaged("a record of the feed");
        let body = seal::open(&key, &value).map_err(|_| damaged())?;
        let mut position = key::parse_feed(&key).ok_or_else(damaged)?;
        let mut rest = &body[..];
        while !rest.is_empty() {
            let entry = parse(&mut rest, position).ok_or_else(damaged)?;
            if found.len() >= limit {
                return Ok(found);
            }
            if entry.position > after {
                found.push(entry);
            }
            position += 1;
        }
    }
    Ok(found)
}

/// How many entries a record has; `None` where it can't be read.
pub(super) fn count(mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        parse(&mut body, count)?;
        count += 1;
    }
    Some(count)
}

fn parse(from: &mut &[u8], position: u64) -> Option<FeedEntry> {
    let log = key::parse_log(varint::take_bytes(from, key::LOG_BYTES)?)?;
    let begin = varint::take(from)?;
    let end = begin.checked_add(varint::take(from)?)?;
    Some(FeedEntry { position: FeedPosition(position), log, from: Offset(begin), to: Offset(end) })
}
