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
    /// How many commits there were, the one that writes this included.
    pub(super) commits: u64,
    /// The last of them that was synced when this was written, by which a commit that the disk has lost is told
    /// from one that a loss of power tore.
    pub(super) synced: u64,
}

/// What a stored value says about commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Witness {
    /// The one that wrote it.
    pub(super) commit: u64,
    /// The last one that was synced then.
    pub(super) synced: u64,
}

impl Counts {
    pub(super) fn seal(&self) -> Bytes {
        let mut body = Vec::with_capacity(32);
        let Self { logs_live, ended_bytes, feed_next, feed_first, record_version, commits, synced } = *self;
        for number in [logs_live, ended_bytes, feed_next, feed_first, record_version, commits, synced] {
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
        // Earlier versions had no directory, and counted no commits.
        let (record_version, commits) = (next().unwrap_or(0), next().unwrap_or(0));
        // An open syncs all that it reads.
        let synced = commits;
        Ok(Self { logs_live, ended_bytes, feed_next, feed_first, record_version, commits, synced })
    }

    /// What a stored value says about commits; `None` where it fails its checksum, or an earlier version wrote it.
    pub(super) fn witness(value: &Bytes) -> Option<Witness> {
        let body = seal::open(KEY, value).ok()?;
        let mut rest = &body[..];
        let mut numbers = std::iter::from_fn(|| varint::take(&mut rest)).skip(5);
        Some(Witness { commit: numbers.next()?, synced: numbers.next()? })
    }
}
