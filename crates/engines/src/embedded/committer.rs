//! The committer: one thread that owns every change. It takes what is waiting, decides each change by the
//! rules of the core, writes all of them as one batch, syncs once, and only then shows and answers them.
//!
//! ```text
//!  callers ──▶ [ channel ] ──▶ decide ──▶ journal + one sync ──▶ show to readers ──▶ answer
//!                  ▲ what arrives during the sync is the next round
//! ```

use super::condition::Failure;
use super::op::Op;
use super::open::EndedTask;
use super::slots::Window;
use super::stats::CommitTiming;
use super::{Mode, Opened, Shared, counts::Counts};
use fjall::PersistMode;
use heads::Heads;
use round::Round;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TenantId;
use tidewire_core::ledger::Row;
use tidewire_core::port::{Shelf, Totals, Unavailable};
use tokio::sync::mpsc;

mod append;
mod book;
mod directory;
mod heads;
mod keep;
mod round;
mod seal_round;
mod task;
mod wait;

/// The most changes of one round: each waits for all others of its round to be decided, some 5 µs each.
const MAX_ROUND_CHANGES: usize = 4096;
/// A round that carries this much data is committed: some 10 ms of a disk that writes 400 MB/s.
pub(super) const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;

/// A change on its way to the committer.
pub(super) struct Queued {
    pub(super) op: Op,
    /// What it holds of the room for waiting changes.
    pub(super) bytes: usize,
}

/// The thread's state. Nothing in it is shared: what readers see is in [`Shared`], as of the last commit.
pub(super) struct Committer {
    shared: Arc<Opened>,
    ops: mpsc::Receiver<Queued>,
    /// Tasks whose log has ended while their record has not: finished before anything else.
    to_finish: Vec<EndedTask>,
    heads: Heads,
    window: Window,
    counts: Counts,
    totals: HashMap<TenantId, Totals>,
    /// Rows of usage that were added to since the open.
    rows: HashMap<Row, Totals>,
    /// How many records the shelves hold that were changed since the open.
    shelves: HashMap<(TenantId, Shelf), u64>,
    /// Something was written that waits for no sync of its own, and since when.
    unsynced: bool,
    unsynced_since: Duration,
    /// When the last round began, and how many changes it had.
    began: Duration,
    last: usize,
    timer: Option<tokio::runtime::Runtime>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Opened>,
        ops: mpsc::Receiver<Queued>,
        counts: Counts,
        to_finish: Vec<EndedTask>,
    ) -> Self {
        let (heads, window) = (Heads::default(), Window::new(shared.hot_bytes));
        Self {
            shared,
            ops,
            to_finish,
            heads,
            window,
            counts,
            totals: HashMap::new(),
            rows: HashMap::new(),
            shelves: HashMap::new(),
            unsynced: false,
            unsynced_since: Duration::ZERO,
            began: Duration::ZERO,
            last: 0,
            timer: wait::timer(),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared.shared
    }

    /// Serves until it is closed or the disk fails. What is waiting then is refused, by being dropped.
    pub(super) fn run(mut self) -> Ended {
        for ended in std::mem::take(&mut self.to_finish) {
            if let Err(failure) = self.finish_ended(ended) {
                return Ended::Failed(failure, self.ops);
            }
        }
        match self.serve_all() {
            Ok(()) => {}
            Err(failure) => return Ended::Failed(failure, self.ops),
        }
        if let Err(error) = self.sync_all() {
            self.shared.fail_for_good(Failure::of_sync(&error, &self.shared.path).into());
        }
        self.shared.room.close();
        self.shared.desk.close();
        Ended::Closed
    }

    fn serve_all(&mut self) -> Result<(), Failure> {
        // What was decided meanwhile, and what a failed round did not write.
        let mut round = self.begin();
        self.commit(&mut round)?;
        let mut waiting = Vec::new();
        while self.receive(&mut waiting)? {
            let room = waiting.iter().map(|queued| queued.bytes).sum();
            let served = self.serve(&mut waiting);
            self.shared.room.add_permits(room);
            served?;
            self.sync_in_time()?;
        }
        self.commit(&mut round)
    }

    /// Syncs everything, and says so in one more commit: without it nothing would tell damage to the last one.
    fn sync_all(&mut self) -> fjall::Result<()> {
        let store = &self.shared.store;
        store.db.persist(PersistMode::SyncAll)?;
        self.counts.synced = self.counts.commits;
        self.counts.commits += 1;
        let mut batch = store.db.batch();
        batch.insert(&store.meta, super::counts::KEY, self.counts.seal());
        batch.durability(Some(PersistMode::SyncAll)).commit()
    }

    fn serve(&mut self, waiting: &mut Vec<Queued>) -> Result<(), Failure> {
        let mut round = self.begin();
        for queued in waiting.drain(..) {
            match queued.op {
                Op::Close => self.ops.close(),
                Op::Keep(keep) => {
                    self.commit(&mut round)?;
                    self.keep(&mut round, keep);
                    self.commit(&mut round)?;
                }
                op => self.decide(&mut round, op),
            }
            if round.bytes >= MAX_ROUND_BYTES {
                self.commit(&mut round)?;
            }
        }
        self.commit(&mut round)
    }

    fn begin(&self) -> Round {
        Round::new(self.shared.store.db.batch(), self.shared.clock.monotonic())
    }

    fn decide(&mut self, round: &mut Round, op: Op) {
        round.changes += 1;
        match op {
            Op::Create(log, reply) => {
                let result = self.create(round, log).map_err(Unavailable::from);
                round.answer(reply, result);
            }
            Op::Append(append, ending, reply) => {
                let result = self.append(round, &append, ending);
                round.answer(reply, result);
            }
            Op::Submit(submit, reply) => {
                let result = self.submit(round, *submit);
                round.answer(reply, result);
            }
            Op::RequestStop(task, reply) => {
                let result = self.request_stop(round, task);
                round.answer(reply, result);
            }
            Op::Lease(task, leasing, reply) => self.lease(round, task, leasing, reply),
            Op::Renew(leases, until, reply) => self.renew(round, &leases, until, reply),
            Op::Release(lease, release, reply) => self.release(round, &lease, release, reply),
            Op::Finish(task, at, ending, reply) => {
                let result = self.finish(round, task, at, ending);
                round.answer(reply, result);
            }
            Op::Settle(settlement, reply) => {
                let result = self.settle(round, &settlement);
                round.answer(reply, result);
            }
            Op::PutRecord(name, value, expect, reply) => {
                let result = self.put_record(round, name, value, expect);
                round.answer(reply, result);
            }
            Op::RemoveRecord(name, expect, reply) => {
                let result = self.remove_record(round, name, expect);
                round.answer(reply, result);
            }
            Op::WriteBook(_) | Op::Keep(_) | Op::Close => {}
        }
    }

    /// Commits a round: first the disk, then the readers, then the answers. A fresh one takes its place.
    fn commit(&mut self, round: &mut Round) -> Result<(), Failure> {
        let mut round = std::mem::replace(round, self.begin());
        let shared = self.shared.clone();
        let written = match self.write(&mut round) {
            Ok(written) => written,
            Err(failure) => {
                // Nothing of the round was shown. What the disk holds of it is not known, so nothing more is
                // promised until the store is opened again. Noted before the answers are dropped: a caller
                // whose answer is dropped asks why.
                shared.condition.fail(failure.clone().into());
                shared.desk.fail(round.parcel);
                return Err(failure);
            }
        };
        let (began, changes, bytes) = (round.began, round.changes, round.bytes);
        self.show(round);
        if let Some(Written { disk, synced }) = written {
            let whole = shared.clock.monotonic().saturating_sub(began);
            let timing = CommitTiming { whole, disk, synced, changes, bytes };
            shared.stats.add(&timing, self.window.bytes());
            if let Some(told) = &shared.on_commit {
                told(timing);
            }
        }
        Ok(())
    }

    /// Writes what the round changed, if anything.
    fn write(&mut self, round: &mut Round) -> Result<Option<Written>, Failure> {
        self.seal(round)?;
        if round.batch.is_empty() {
            return Ok(None);
        }
        let shared = self.shared.clone();
        let batch = std::mem::replace(&mut round.batch, shared.store.db.batch());
        // What needs no promise stays in the store's own buffer, and gets to the disk before all that comes after.
        let persist = (round.durable || round.parcel.is_some()).then_some(PersistMode::Buffer);
        let synced = round.durable && shared.mode == Mode::Fsync;
        let before = shared.clock.monotonic();
        if let Some(hook) = &shared.before_commit {
            hook().map_err(|error| Failure::of_write(&error, &shared.path))?;
        }
        // The write and the sync are two calls, because they fail in two ways. In between the store itself has
        // the batch, and readers have not: see `Store::snapshot`.
        let written = batch.durability(persist).commit();
        written.map_err(|error| Failure::of_batch(&error, &shared.condition, &shared.path))?;
        if let Some(parcel) = round.parcel.as_ref().filter(|_| synced) {
            // Who waits for the system need not wait for the disk.
            shared.desk.wrote(parcel.changes);
        }
        if synced {
            if let Some(hook) = &shared.before_sync {
                hook().map_err(|error| Failure::of_sync(&error, &shared.path))?;
            }
            shared.store.db.persist(PersistMode::SyncData).map_err(|error| self.of_sync(&error))?;
        }
        shared.store.let_flush().map_err(|error| Failure::of_batch(&error, &shared.condition, &shared.path))?;
        shared.store.show();
        if let Some(parcel) = &round.parcel {
            shared.desk.shown(parcel.changes);
        }
        let disk = shared.clock.monotonic().saturating_sub(before);
        self.note_written(synced, persist.is_some());
        Ok(Some(Written { disk, synced }))
    }

    /// A sync that did not succeed: the store did not get to it where its own thread had failed before.
    fn of_sync(&self, error: &fjall::Error) -> Failure {
        let shared = &self.shared;
        match error {
            fjall::Error::Poisoned => Failure::of_batch(error, &shared.condition, &shared.path),
            other => Failure::of_sync(other, &shared.path),
        }
    }
}

/// How a run of the committer ended.
pub(super) enum Ended {
    /// It was closed.
    Closed,
    /// A commit failed. What callers send is still to be refused.
    Failed(Failure, mpsc::Receiver<Queued>),
}

/// How a round was written.
struct Written {
    disk: Duration,
    synced: bool,
}
