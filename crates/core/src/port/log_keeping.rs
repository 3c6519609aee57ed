//! The port `LogKeeping`: what becomes of logs over time, and a feed of all that happens in them.

use super::Unavailable;
use crate::event::Entry;
use crate::id::{LogId, LogRef, Offset, TenantId};
use crate::time::Timestamp;
use async_trait::async_trait;

/// Keeping logs: trimming, expiry, erasure, listing, and the feed.
///
/// Promises, checked by `testkit::log_keeping`:
/// - Trimming and erasing never change an offset.
/// - Only a task's log expires, once it has ended, and then as a whole: readers get `Unknown`, never half a log.
///   A shared log is somebody's place to write to, and no age ends that: the face that made it removes it.
/// - A removed log is gone for good and as a whole, ended or not: readers get `Unknown`, writers too, and every
///   watch on it ends.
/// - The feed names every committed append once, in commit order; a position stays good over restarts for as
///   long as the log it names.
#[async_trait]
pub trait LogKeeping: Send + Sync {
    /// Replaces all events before `upto` by `snapshot`, which stands at `upto - 1`.
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError>;

    /// Deletes ended logs of tasks that retention no longer keeps, oldest first, at most `limit` of them.
    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable>;

    /// Deletes a shared log. One that is not there is removed already.
    async fn remove(&self, log: LogRef) -> Result<(), RemoveError>;

    /// Blanks the data of every event, and keeps their offsets: a person's right to be forgotten. An engine that also
    /// keeps tasks blanks what was asked for too.
    /// An `end` event keeps its data, which is usage and holds no text.
    async fn erase(&self, log: LogRef) -> Result<(), TrimError>;

    /// Logs of a tenant, oldest first, after the one named, at most `limit`.
    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable>;

    /// What was appended after a position, at most `limit` entries.
    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable>;
}

/// For how long ended logs of tasks are kept. Whichever bound is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Logs that ended longer ago than this go.
    pub age: std::time::Duration,
    /// The oldest ended logs go while all ended ones together hold more data than this.
    pub bytes: u64,
}

/// What one round of expiry took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many logs. As many as the limit means that there may be more.
    pub logs: usize,
    /// How many bytes of data they held.
    pub bytes: u64,
}

/// A place in the feed. Zero is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPosition(pub u64);

/// One append, as the feed tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// The entry's place.
    pub position: FeedPosition,
    /// Which log grew.
    pub log: LogRef,
    /// The first new event.
    pub from: Offset,
    /// One past the last new event.
    pub to: Offset,
}

/// Why nothing was trimmed or erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    /// There is no such log.
    #[error("there is no such log")]
    Unknown,
    /// `upto` is not after the first event, or is past the tail.
    #[error("can only trim to between {} and {}", first.0, tail.0)]
    OutOfRange {
        /// The first event that can be read.
        first: Offset,
        /// The tail.
        tail: Offset,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a log was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// It is a task's: retention deletes it, together with the task.
    #[error("a task's log is not removed: it expires with its task")]
    OfATask,
    /// Try again later; some of it may be gone already, and none of it can be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
