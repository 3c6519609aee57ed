//! Which format the store has, and how an older one is brought up to this version's.
//!
//! ```text
//! format  what is stored otherwise than in the one before
//!      1
//!      2  the keyspace `directory`; more fields in a task's record, each with a default where it is missing
//!      3  the keyspaces `reservations`, `accounts` and `usage`, and the balance in `meta`: an older version would settle
//!         tasks and leave what they hold
//! ```

use super::open::OpenError;
use super::seal;
use fjall::{Database, Keyspace, PersistMode};

/// The format that this version writes. A change of what is stored raises it, adds a line above and, where stored
/// values must change, a step to [`settle`].
pub(super) const CURRENT: u32 = 3;
const KEY: &[u8] = b"format";

/// What a store's format was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There was no store yet.
    New,
    /// This version's.
    Current,
    /// An older one. The store has this version's now.
    Older(u32),
}

/// Why a format was not settled.
pub(super) enum Unsettled {
    Newer(u32),
    Damaged,
    Store(fjall::Error),
}

impl Unsettled {
    pub(super) fn into_open_error(self, failed: impl FnOnce(fjall::Error) -> OpenError) -> OpenError {
        match self {
            Self::Newer(found) => OpenError::NewerFormat { found, known: CURRENT },
            Self::Damaged => OpenError::Damaged { what: "its format number fails its checksum".to_owned() },
            Self::Store(error) => failed(error),
        }
    }
}

/// Reads the store's format and brings an older one up to this version's: the changed values and the new number
/// are one commit, synced before anything else is written, so that a crash leaves the one format or the other.
/// From then on an older program refuses the store.
pub(super) fn settle(db: &Database, meta: &Keyspace) -> Result<Found, Unsettled> {
    let found = match read(meta)? {
        None => Found::New,
        Some(CURRENT) => return Ok(Found::Current),
        Some(newer) if newer > CURRENT => return Err(Unsettled::Newer(newer)),
        Some(older) => Found::Older(older),
    };
    let mut batch = db.batch();
    // From 1 to 3 no stored value changes: a record of format 1 is read as it stands, and new keyspaces are made empty by
    // the open that follows.
    batch.insert(meta, KEY, seal::seal(KEY, &[&CURRENT.to_le_bytes()]));
    batch.durability(Some(PersistMode::SyncAll)).commit().map_err(Unsettled::Store)?;
    Ok(found)
}

/// The store's format; `None` where there is no store yet.
pub(super) fn read(meta: &Keyspace) -> Result<Option<u32>, Unsettled> {
    let Some(value) = meta.get(KEY).map_err(Unsettled::Store)? else { return Ok(None) };
    let body = seal::open(KEY, &value.into()).map_err(|_| Unsettled::Damaged)?;
    body.first_chunk().map(|bytes| Some(u32::from_le_bytes(*bytes))).ok_or(Unsettled::Damaged)
}
