//! One round: the changes that share a commit, and what they come to.

use crate::embedded::desk::Parcel;
use crate::embedded::live;
use crate::embedded::op::{Answer, Reply};
use crate::embedded::record::{Builder, Record as EventRecord};
use fjall::OwnedWriteBatch;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::ledger::{Row, Settled};
use tidewire_core::port::{Record, RecordName, Shelf, Totals};
use tidewire_core::{LogRef, Offset, TaskId, TaskRef, TenantId};

use super::heads::Writing;

/// A log that the round changes.
pub(super) struct Touched {
    pub(super) log: LogRef,
    /// Where its tail was before.
    pub(super) from: Offset,
    /// What is being added.
    pub(super) builder: Builder,
    /// Records that are full.
    pub(super) records: Vec<EventRecord>,
    /// Something other than the tail changed: the head is written too.
    pub(super) head_changed: bool,
    /// The log ends in this round.
    pub(super) ends: bool,
}

impl Touched {
    /// Closes the record in the making, if there is anything in it, and begins the next.
    pub(super) fn close_record(&mut self, writing: &mut Writing) {
        if self.builder.is_empty() {
            return;
        }
        writing.bytes += self.builder.data_bytes() as u64;
        self.records.push(self.builder.seal(self.log, writing.bytes));
        self.builder = Builder::new(self.builder.to());
    }
}

/// The changes of one commit.
pub(super) struct Round {
    pub(super) began: Duration,
    pub(super) batch: OwnedWriteBatch,
    /// Something in it was promised to survive: it waits for the disk.
    pub(super) durable: bool,
    pub(super) changes: usize,
    pub(super) bytes: usize,
    pub(super) touched: Vec<Touched>,
    /// Producers whose place moved.
    pub(super) produced: HashSet<(LogRef, Arc<str>)>,
    /// Logs that took a rank.
    pub(super) ranked: HashSet<LogRef>,
    /// Named records as they will be once the round is committed; `None` where one is removed.
    pub(super) records: HashMap<RecordName, Option<Record>>,
    /// Shelves whose number of records changed.
    pub(super) shelves: BTreeSet<(TenantId, Shelf)>,
    /// Tasks as they will be once the round is committed.
    pub(super) tasks: HashMap<TaskRef, live::Entry>,
    /// Tasks that are in memory as they should be, and are only to be written.
    pub(super) to_write: HashSet<TaskRef>,
    /// Idempotency keys that the round gives out.
    pub(super) keys: HashMap<(TenantId, String), (TaskId, u64)>,
    pub(super) settled: HashSet<TaskRef>,
    /// What each of them held.
    pub(super) settled_here: Vec<(TaskRef, Option<Settled>)>,
    /// Rows of what they used.
    pub(super) rows: HashMap<Row, Totals>,
    /// What it writes of the account book.
    pub(super) parcel: Option<Parcel>,
    /// Tenants whose totals changed.
    pub(super) totals: BTreeSet<TenantId>,
    /// Logs that are deleted.
    pub(super) gone: Vec<LogRef>,
    /// Logs whose stored records changed, so that those in memory no longer count.
    pub(super) rewritten: Vec<LogRef>,
    pub(super) counts_changed: bool,
    pub(super) answers: Vec<Box<dyn Answer>>,
}

impl Round {
    pub(super) fn new(batch: OwnedWriteBatch, began: Duration) -> Self {
        Self {
            began,
            batch,
            durable: false,
            changes: 0,
            bytes: 0,
            touched: Vec::new(),
            produced: HashSet::new(),
            ranked: HashSet::new(),
            records: HashMap::new(),
            shelves: BTreeSet::new(),
            tasks: HashMap::new(),
            to_write: HashSet::new(),
            keys: HashMap::new(),
            settled: HashSet::new(),
            settled_here: Vec::new(),
            rows: HashMap::new(),
            parcel: None,
            totals: BTreeSet::new(),
            gone: Vec::new(),
            rewritten: Vec::new(),
            counts_changed: false,
            answers: Vec::new(),
        }
    }

    /// The log's place in this round.
    pub(super) fn touch<'a>(&'a mut self, log: LogRef, writing: &mut Writing, tail: Offset) -> &'a mut Touched {
        let place = *writing.touched.get_or_insert_with(|| {
            self.touched.push(Touched {
                log,
                from: tail,
                builder: Builder::new(tail),
                records: Vec::new(),
                head_changed: false,
                ends: false,
            });
            self.touched.len() - 1
        });
        &mut self.touched[place]
    }

    /// Answers once the round is committed.
    pub(super) fn answer<T: Send + 'static, E: Send + 'static>(&mut self, reply: Reply<T, E>, result: Result<T, E>) {
        self.answers.push(reply.later(result));
    }
}
