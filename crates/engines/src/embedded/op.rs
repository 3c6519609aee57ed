//! What callers ask of the committer, and how it answers.

use super::desk::Haste;
use bytes::Bytes;
use tidewire_core::port::{
    Append, AppendError, Appended, Expect, LeaseError, Leasing, PutError, RecordName, Release, RemoveRecordError,
    Renewal, Settlement, SubmitError, TrimError, Unavailable, UpdateError,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Entry, Epoch, LogRef, Offset, Task, TaskRef, Timestamp};
use tokio::sync::oneshot;

/// A change, and where its answer goes. One that is dropped is a refusal: the caller then asks why.
pub(super) enum Op {
    Create(LogRef, Reply<Epoch, Unavailable>),
    Append(Append, Option<Ending>, Reply<Appended, AppendError>),
    Submit(Box<Submit>, Reply<Taken, SubmitError>),
    RequestStop(TaskRef, Reply<Taken, UpdateError>),
    Lease(TaskRef, Leasing, Reply<(Taken, Lease), LeaseError>),
    Renew(Vec<Lease>, Timestamp, Reply<Vec<Renewal>, Unavailable>),
    Release(Lease, Release, Reply<(), UpdateError>),
    Finish(TaskRef, Timestamp, Ending, Reply<(), UpdateError>),
    Settle(Settlement, Reply<bool, Unavailable>),
    /// The account book is to be written, if another round has not done so meanwhile.
    WriteBook(Haste),
    PutRecord(RecordName, Bytes, Expect, Reply<u64, PutError>),
    RemoveRecord(RecordName, Expect, Reply<bool, RemoveRecordError>),
    Keep(Keep),
    /// The last one: what has been sent before is still done, then the committer ends.
    Close,
}

/// What is done to whole logs. Each is a commit of its own, because it reads what earlier ones wrote, and a
/// bounded step: the caller sends the next one from the place that the answer names.
pub(super) enum Keep {
    /// Replaces what is before an offset by a snapshot.
    Trim(LogRef, Offset, Entry, Reply<(), TrimError>),
    /// Deletes records before the first event that can be read, from this offset on.
    Sweep(LogRef, Offset, Reply<Option<Offset>, TrimError>),
    /// Blanks the events from this offset on.
    Erase(LogRef, Offset, Reply<Option<Offset>, TrimError>),
    /// Makes a log unknown, and notes that the rest of it is to be deleted; `None` where there is no such log.
    Remove(LogRef, Reply<Option<Expiring>, Unavailable>),
    /// Deletes ended and removed logs.
    Expire(Vec<Expiring>, Reply<Vec<Gone>, Unavailable>),
}

/// A log that is to be deleted: one that ended, and retention no longer keeps it, or one that was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiring {
    pub(super) ended_at: Timestamp,
    pub(super) log: LogRef,
}

/// An ended log that is gone as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) bytes: u64,
}

/// A task that is to be kept.
pub(super) struct Submit {
    /// Its record, the input left out.
    pub(super) task: Task,
    /// Its input as it is stored.
    pub(super) input: Bytes,
    /// The caller has put the input into the store already, so that the commit stays small.
    pub(super) input_is_stored: bool,
}

/// A task as the committer knows it.
pub(super) struct Taken {
    /// Its record, the input left out.
    pub(super) task: Task,
    /// Its input, if it is in memory.
    pub(super) input: Option<Bytes>,
    /// It was submitted just now.
    pub(super) fresh: bool,
}

/// Where an answer goes.
pub(super) struct Reply<T, E>(pub(super) oneshot::Sender<Result<T, E>>);

impl<T, E> Reply<T, E> {
    /// Answers at once: the answer says nothing that a crash can take back.
    pub(super) fn now(self, result: Result<T, E>) {
        // Who no longer listens has dropped its future; the change stays.
        let _ = self.0.send(result);
    }

    /// The answer, to be told once what it says is committed.
    pub(super) fn later(self, result: Result<T, E>) -> Box<dyn Answer>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        Box::new(Later { reply: self, result })
    }
}

/// An answer that waits for its commit.
pub(super) trait Answer: Send {
    /// Tells it.
    fn tell(self: Box<Self>);
}

struct Later<T, E> {
    reply: Reply<T, E>,
    result: Result<T, E>,
}

impl<T: Send, E: Send> Answer for Later<T, E> {
    fn tell(self: Box<Self>) {
        self.reply.now(self.result);
    }
}
