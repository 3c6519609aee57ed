//! The port `EventLog`: append-only logs with dense offsets.
//!
//! ```text
//!        first                      tail
//!          │                         │
//!   ░░░░░░ 4   5   6   7   8   9   (10)      next append gets 10
//!   trimmed        └─ a cursor that holds 6 asks for 7 next
//! ```

use super::Unavailable;
use crate::ending::Ending;
use crate::event::{Entry, Event};
use crate::id::{Epoch, Fence, LogRef, Offset};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;

mod head;

pub use head::{Head, Produced};

/// The most bytes of data that one append may carry: small beside a commit, so that no log holds up the rest.
pub const MAX_APPEND_BYTES: usize = 1024 * 1024;

/// The most producers that one log remembers: their places are read whole when the log is written to again, at
/// some 150 bytes each. More than that many programs do not write one conversation; a program that makes up a
/// name for each append would fill memory.
pub const MAX_PRODUCERS: usize = 4096;

/// Append-only logs.
///
/// Every engine keeps these promises, and `testkit::event_log` checks each:
/// - **Durable, then visible.** An append returns, and its events can be read, only once they are committed to
///   the engine's durability. No reader sees an event that a crash can take back.
/// - **No gaps.** Offsets count from 0 by one. An append's events stand together.
/// - **One fenced writer for a task's log.** An append names its fence and the tail it expects. A lower fence
///   than the highest seen is refused; a higher one takes over for good, even where the tail then does not fit.
/// - **Many writers for a shared log.** An append names (producer, epoch, sequence). The same one again is
///   answered with the place that it got, and adds nothing, be it an append or an end. A gap or an old epoch is
///   refused. A writer that asks for no deduplication names no producer, and may repeat itself.
/// - **Ranks rise.** An append to a shared log may carry a rank, and is refused unless it sorts after the last
///   one that the log took.
/// - **An end is an end.** After [`EventLog::end`] nothing is appended. An engine that also keeps tasks and
///   the ledger finishes the task and settles it in the same commit.
/// - **A lost tail is told.** An engine that lost events begins a new epoch; a cursor of another epoch gets
///   [`ReadError::EpochChanged`], never other events under old offsets.
///
/// Dropping the future of an append or an end does not undo it: it may still be committed.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Makes the log, with the durability that its id names. Idempotent: a log that exists keeps its epoch.
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable>;

    /// Adds events, and returns once they are committed. An append without entries still checks its writer.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// Adds the append's entries and then an `end` event with `ending` as its data, in one commit.
    /// An ended log answers [`AppendError::Ended`], so that a caller that repeats itself sees that it is done.
    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError>;

    /// Events from the cursor on: as many as fit `max_bytes` of data, at least one where there is one.
    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError>;

    /// Where the log stands.
    async fn state(&self, log: LogRef) -> Result<LogState, ReadError>;

    /// A watch on the log's growth. It starts at the tail of now, so watch before the first read.
    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError>;
}

/// What to add, where, and by what right.
#[derive(Clone, Debug)]
pub struct Append {
    /// The log.
    pub log: LogRef,
    /// By what right.
    pub writer: Writer,
    /// What to add, in order; at most [`MAX_APPEND_BYTES`] of data.
    pub entries: Vec<Entry>,
}

/// By what right a writer appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The holder of a task's lease.
    Leased {
        /// The lease's fence.
        fence: Fence,
        /// Where the writer believes the tail to be.
        expect: Offset,
    },
    /// One of many writers of a shared log, whose repeated appends are known and not added again.
    Producer {
        /// Its name; unique within the log.
        producer: Arc<str>,
        /// Its incarnation; a higher one takes over, and must begin with sequence 0.
        epoch: u64,
        /// Counts its appends in this epoch from 0.
        sequence: u64,
        /// See [`Writer::Open`]. A repeated append is answered as such, whatever its rank.
        rank: Option<Arc<str>>,
    },
    /// One of many writers of a shared log that asks for no deduplication.
    Open {
        /// The append's place in an order that the writers keep among themselves: where given, it must sort
        /// after the last one that the log took, byte by byte.
        rank: Option<Arc<str>>,
    },
}

impl Writer {
    /// The append's rank, if it has one.
    pub fn rank(&self) -> Option<&Arc<str>> {
        match self {
            Self::Leased { .. } => None,
            Self::Producer { rank, .. } | Self::Open { rank } => rank.as_ref(),
        }
    }
}

/// Where an append's events stand: `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The first one's offset.
    pub from: Offset,
    /// One past the last one's offset.
    pub to: Offset,
    /// Nothing was added: the producer had sent this before. Its last sequence number in this epoch.
    pub repeats: Option<u64>,
}

/// Why an append added nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no such log. Create it.
    #[error("there is no such log")]
    Unknown,
    /// The log has ended. Nothing more can be said.
    #[error("the log ended at {}", tail.0)]
    Ended {
        /// One past the `end` event.
        tail: Offset,
    },
    /// A newer lease has written. Stop working on the task.
    #[error("a lease with fence {} has written, which is newer", fence.0)]
    Fenced {
        /// The highest fence seen.
        fence: Fence,
    },
    /// The tail is elsewhere. Read up to it, and try again.
    #[error("the tail is {}", tail.0)]
    TailMoved {
        /// Where it is.
        tail: Offset,
    },
    /// The producer skipped a sequence number. Send what is missing.
    #[error("the producer's next sequence number is {expected}")]
    SequenceGap {
        /// The one that would be taken.
        expected: u64,
    },
    /// A newer incarnation of the producer has written. Stop.
    #[error("the producer's epoch is {epoch}, which is newer")]
    StaleProducer {
        /// The highest seen.
        epoch: u64,
    },
    /// The rank does not sort after the last one. Somebody else was faster; read what they said.
    #[error("the last rank is {last:?}, and the next one must sort after it")]
    RankTaken {
        /// The last rank that the log took.
        last: Arc<str>,
    },
    /// The log remembers as many producers as it can. Go on under a name that it knows.
    #[error("the log has {MAX_PRODUCERS} producers, and takes no other one")]
    TooManyProducers,
    /// This kind of log takes the other kind of writer.
    #[error("this log takes another kind of writer")]
    WrongWriter,
    /// Too many bytes at once. Split it.
    #[error("{bytes} bytes at once, and {MAX_APPEND_BYTES} are allowed")]
    TooLarge {
        /// How many they were.
        bytes: usize,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A reader's place: the next event that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The incarnation that its offset belongs to.
    pub epoch: Epoch,
    /// The offset of the next event to read.
    pub next: Offset,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct Page {
    /// Dense, in order, from the cursor on.
    pub events: Vec<Event>,
    /// The tail when the page was read. More is there at once where the last event is not the one before it.
    pub tail: Offset,
    /// The log has ended: its last event is at `tail - 1`.
    pub ended: bool,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Its incarnation.
    pub epoch: Epoch,
    /// The first event that can be read: 0, or the snapshot that trimming left.
    pub first: Offset,
    /// The place of the next append.
    pub tail: Offset,
    /// The highest fence that has written.
    pub fence: Fence,
    /// Nothing is appended any more.
    pub ended: bool,
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such log: there never was, or it expired.
    #[error("there is no such log")]
    Unknown,
    /// The cursor belongs to another incarnation. Start over.
    #[error("the log's epoch is {}", epoch.0)]
    EpochChanged {
        /// The log's.
        epoch: Epoch,
    },
    /// The cursor's place was trimmed away. Start from the snapshot.
    #[error("the log was trimmed up to {}", first.0)]
    Trimmed {
        /// Where the snapshot is.
        first: Offset,
    },
    /// The cursor is past the tail.
    #[error("the log's tail is {}", tail.0)]
    Future {
        /// The tail.
        tail: Offset,
    },
    /// What is stored fails its checksum. Nothing wrong is given back; an operator must look.
    #[error("the event at {} fails its checksum", offset.0)]
    Damaged {
        /// The first event of the damaged record.
        offset: Offset,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How far a log has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// The place of the next append.
    pub tail: Offset,
    /// No more will come: the log ended, or is gone.
    pub over: bool,
}

/// Wakes when a log grows. Holds no events, so a slow reader costs nothing but this.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Growth>);

impl Watch {
    /// A watch fed by the engine's end of the channel.
    pub fn new(growth: watch::Receiver<Growth>) -> Self {
        Self(growth)
    }

    /// How far the log has grown by now.
    pub fn now(&self) -> Growth {
        *self.0.borrow()
    }

    /// Waits until the tail has passed `beyond`, or no more will come.
    pub async fn grown(&mut self, beyond: Offset) -> Growth {
        let grown = self.0.wait_for(|growth| growth.tail > beyond || growth.over).await.map(|growth| *growth);
        // The engine let go of its end: the log is gone, or the server is shutting down.
        grown.unwrap_or_else(|_| Growth { tail: self.now().tail, over: true })
    }

    /// Waits until no more will come.
    pub async fn over(&mut self) {
        while !self.grown(self.now().tail).await.over {}
    }
}
