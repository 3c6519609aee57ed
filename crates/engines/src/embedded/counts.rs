//! Counts over the whole store, kept with every commit that changes one, so that an open need not look
//! through a million logs.

use super::seal;
use super::store::{Store, Trouble};
use super::varint;
use bytes::Bytes;
use fjall::Snapshot;

/// Their key in the keyspace `meta`.
pub(super) const KEY: &[u8] = b"counts";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Logs that have not ended.
    pub(super) logs_live: u64,
    /// The data that all ended logs hold together.
    pub(super) ended_bytes: u64,
    /// The position of the feed's next entry; the first one is 1.
    pub(super) feed_next: u64,
    /// The position before which the feed was cut off.
    pub(super) feed_first: u64,
    /// The last version that a named record was given.
    pub(super) record_version: u64,
}

impl Counts {
    pub(super) fn seal(&self) -> Bytes {
        let mut body = Vec::with_capacity(24);
        for number in [self.logs_live, self.ended_bytes, self.feed_next, self.feed_first, self.record_version] {
            varint::put(&mut body, number);
        }
        seal::seal(KEY, &[&body])
    }

    /// Reads them; those of an empty store where there are none.
    pub(super) fn read(store: &Store, at: &Snapshot) -> Result<Self, Trouble> {
        let what = || "the store's counts".to_owned();
        let Some(body) = Store::body(at, &store.meta, KEY, what)? else {
            return Ok(Self { feed_next: 1, feed_first: 1, ..Self::default() });
        };
        let mut rest = &body[..];
        let mut next = || varint::take(&mut rest).ok_or_else(|| Trouble::damaged(what()));
        let (logs_live, ended_bytes, feed_next, feed_first) = (next()?, next()?, next()?, next()?);
        // A store that is older than the directory has none yet.
        let record_version = next().unwrap_or(0);
        Ok(Self { logs_live, ended_bytes, feed_next, feed_first, record_version })
    }
}
