//! The ports: what the core asks of the world. An engine takes only those that it can truly keep, and
//! `testkit` holds one conformance suite for each.

mod backend;
mod bus;
mod cache;
mod checker;
mod clock;
mod directory;
mod dispatch;
mod event_log;
mod ledger;
mod log_keeping;
mod meter;
mod task_store;

pub use backend::{
    Backend, BackendError, Begins, Chunk, Chunks, Counted, EmbedInput, EmbedRequest, Embedded, Embedder, Fault, Model,
    Reason, Request, Run, Timeouts, UpstreamLimit,
};
pub use bus::{Bus, Signal, Subscription};
pub use cache::{Cache, CacheKey, CacheStats, Kept};
pub use checker::{CheckError, Checker, Opinion, Question, Stage};
pub use clock::Clock;
pub use directory::{
    Directory, Expect, MAX_NAME_BYTES, MAX_RECORD_BYTES, PutError, Record, RecordName, RemoveRecordError, Shelf,
};
pub use dispatch::{Claim, Dispatch};
pub use event_log::{
    Append, AppendError, Appended, Cursor, EventLog, Growth, Head, LogState, MAX_APPEND_BYTES, MAX_PRODUCERS, Page,
    Produced, ReadError, Watch, Writer,
};
pub use ledger::{
    Account, Allowance, Amounts, Balance, Ledger, Left, Limited, Limits, Over, Reservation, ReserveError, Settlement,
    Totals, UsageQuery, UsageRow,
};
pub use log_keeping::{Expired, FeedEntry, FeedPosition, LogKeeping, RemoveError, Retention, TrimError};
pub use meter::{Asked, Measurement, Meter, NoMeter, Operation, Subject};
pub use task_store::{
    FamilyError, Filter, LeaseError, Leasing, Release, Renewal, SubmitError, Submitted, TaskPage, TaskStore,
    UpdateError,
};

/// An engine can't answer or can't keep its promise now: its disk failed, its server is away. Nothing was
/// acknowledged; the caller may try again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine is unavailable: {reason}")]
pub struct Unavailable {
    /// What is wrong, for the operator.
    pub reason: String,
}

impl Unavailable {
    /// With this reason.
    #[allow(clippy::needless_pass_by_value)] // Reads better at the call: an error, not a borrow of one.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}
