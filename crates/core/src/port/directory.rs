//! The port `Directory`: small named records, such as which log a path names, or what is known of a file.

use super::Unavailable;
use crate::id::TenantId;
use async_trait::async_trait;
use bytes::Bytes;

/// The most bytes of a record's name: a long path of a URL fits.
pub const MAX_NAME_BYTES: usize = 1024;

/// The most bytes of a record's value: what describes a thing fits, the thing itself does not.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Small named records.
///
/// Promises, checked by `testkit::directory`:
/// - **Durable, then visible.** A change returns, and is seen, only once it is committed.
/// - **Compare and set.** Of changes at once that expect the same, one is made.
/// - **Versions only rise.** A record's version never comes again, not even after it was removed and made again:
///   every version is higher than all that the directory gave before. So whoever holds one can't mistake a new
///   record for the old one.
/// - A list is in the order of the names' bytes, and tells nothing of another tenant or shelf.
///
/// Names that belong together can share a beginning, and are then listed together.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The record, if there is one.
    async fn get(&self, name: &RecordName) -> Result<Option<Record>, Unavailable>;

    /// Makes or replaces a record. Its new version.
    async fn put(&self, name: RecordName, value: Bytes, expect: Expect) -> Result<u64, PutError>;

    /// Removes a record; `false` where there was none and none was expected.
    async fn remove(&self, name: &RecordName, expect: Expect) -> Result<bool, RemoveRecordError>;

    /// Records of a shelf whose names sort after `after`, at most `limit`, in the order of their names.
    async fn list(
        &self,
        tenant: TenantId,
        shelf: Shelf,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Unavailable>;

    /// How many records a shelf holds.
    async fn count(&self, tenant: TenantId, shelf: Shelf) -> Result<u64, Unavailable>;
}

/// What kind of thing a record is about. The numbers are written to disk: never give one a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Shelf {
    /// The streams of the Durable Streams face, by path.
    Streams = 1,
    /// Files that were uploaded.
    Files = 2,
    /// Batches of tasks.
    Batches = 3,
    /// Which streams continue which other ones.
    Forks = 4,
    /// Tenants, by name and by number. They and what follows belong to [`TenantId::SYSTEM`].
    Tenants = 5,
    /// Keys, by their public names.
    Keys = 6,
    /// What the server keeps of identity beside: when it changed, where the audit log is.
    Identity = 7,
    /// Results that anybody may read, by their tasks' ids. They too belong to [`TenantId::SYSTEM`].
    Public = 8,
    /// What people think of answers, by task.
    Feedback = 9,
}

/// A record's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is about.
    pub shelf: Shelf,
    /// 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
}

impl RecordName {
    /// Whether this value may be put under this name: the rule that every engine goes by.
    pub fn admit(&self, value: &Bytes) -> Result<(), PutError> {
        let (name_bytes, value_bytes) = (self.name.len(), value.len());
        if (1..=MAX_NAME_BYTES).contains(&name_bytes) && value_bytes <= MAX_RECORD_BYTES {
            Ok(())
        } else {
            Err(PutError::TooLarge { name_bytes, value_bytes })
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// At most [`MAX_RECORD_BYTES`].
    pub value: Bytes,
    /// Rises with each change.
    pub version: u64,
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there.
    Anything,
    /// No record.
    Absent,
    /// The record in this version.
    Version(u64),
}

impl Expect {
    /// Whether it holds for the version that was found.
    pub fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}

/// Why a record was not put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Something else is there than was expected. Read it, and decide again.
    #[error("the record is there in version {found:?}, which was not expected")]
    Conflict {
        /// The version that is there, if there is a record.
        found: Option<u64>,
    },
    /// The name or the value is longer than the directory takes, or the name is empty.
    #[error(
        "a name of {name_bytes} bytes and a value of {value_bytes}: 1 to {MAX_NAME_BYTES} and {MAX_RECORD_BYTES} fit"
    )]
    TooLarge {
        /// Of the name.
        name_bytes: usize,
        /// Of the value.
        value_bytes: usize,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a record was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveRecordError {
    /// Something else is there than was expected. Read it, and decide again.
    #[error("the record is there in version {found:?}, which was not expected")]
    Conflict {
        /// The version that is there, if there is a record.
        found: Option<u64>,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
