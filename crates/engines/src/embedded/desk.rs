//! The account book of a running engine. Callers decide by it in their own threads, in memory and at once; the committer
//! writes down what was decided, with each of its rounds.
//!
//! ```text
//!  reserve, settle ──▶ book ──▶ changed since the last round ──▶ round ──▶ written to the system ──▶ secure
//!                       ▲                                          │
//!                       └───────── named again, where it failed ◀──┘
//! ```
//!
//! The book in memory is what counts while the process lives, also over a disk that fails: what a failed round did not
//! write is written by the next one that succeeds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidewire_core::ledger::{Book, Bounds, Changed, Held, Remembered, Row, Settled, Sheet};
use tidewire_core::port::{Amounts, Balance, Left, Reservation, ReserveError, Settlement, Totals, Unavailable};
use tidewire_core::{Money, TaskRef, TenantId, Timestamp};
use tokio::sync::watch;

/// The book, and what of it is still to be written.
pub(super) struct Desk {
    inner: Mutex<Inner>,
    written: watch::Sender<Written>,
}

struct Inner {
    book: Book,
    /// Rows of what callers settled since the last round.
    sheet: Sheet,
    settled: Remembered,
    /// For what a round has been asked.
    asked: Option<Haste>,
    /// What the round held whose writing failed.
    failed: Option<Parcel>,
    closed: bool,
}

/// How soon a round is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// With the next one that somebody waits for, or a moment later.
    Soon,
    /// Somebody waits for it.
    Now,
}

/// No round will come any more.
pub(super) struct Closed;

/// How far the book is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// So many changes, the first ones, survive the end of the process.
    pub(super) changes: u64,
    /// So many can be read from the store.
    pub(super) shown: u64,
    /// How often a round failed, or no more will come.
    pub(super) failures: u64,
}

/// What a round writes of the book.
pub(super) struct Parcel {
    /// The commit that writes it.
    pub(super) commit: u64,
    /// How many changes there had been.
    pub(super) changes: u64,
    pub(super) changed: Changed,
    /// Rows of what callers settled.
    pub(super) rows: HashMap<Row, Totals>,
    /// What the committer settled itself, and will again where this fails.
    pub(super) own: Vec<(TaskRef, Option<Settled>)>,
}

impl Parcel {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.rows.is_empty() && self.own.is_empty()
    }
}

impl Desk {
    pub(super) fn new(book: Book) -> Self {
        let inner = Inner {
            book,
            sheet: Sheet::default(),
            settled: Remembered::default(),
            asked: None,
            failed: None,
            closed: false,
        };
        Self { inner: Mutex::new(inner), written: watch::Sender::default() }
    }

    /// An empty book that is to be written down.
    pub(super) fn book() -> Book {
        Book::new(Bounds::default()).writes_down()
    }

    /// A panic under the lock leaves one task half counted at worst; the balance tells.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        let mut inner = self.lock();
        if inner.settled.contains(reservation.task) {
            return Err(Unavailable::new("the task is settled already").into());
        }
        inner.book.reserve(reservation)
    }

    pub(super) fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        self.lock().book.top_up(task, more, at)
    }

    pub(super) fn give_back(&self, task: TaskRef) -> bool {
        self.lock().book.give_back(task)
    }

    pub(super) fn reserved(&self) -> HashMap<TenantId, Money> {
        self.lock().book.reserved().clone()
    }

    pub(super) fn balance(&self) -> Balance {
        self.lock().book.balance()
    }

    /// Settles a task that holds something, for a caller. Says whether this was the first time; `None` where it holds
    /// nothing and was not settled lately either.
    pub(super) fn settle_held(&self, settlement: &Settlement) -> Option<bool> {
        let Settlement { task, at, usage, .. } = *settlement;
        let mut inner = self.lock();
        if inner.settled.contains(task) {
            return Some(false);
        }
        let settled = inner.book.settle(task, Amounts::of(&usage), at)?;
        inner.settled.insert(task);
        inner.sheet.add(Row::of(settlement, Some(&settled.held)), Totals::of(usage));
        Some(true)
    }

    /// Settles a task for the committer, which counts it in the row itself.
    pub(super) fn settle(&self, settlement: &Settlement) -> (Row, Option<Settled>) {
        let mut inner = self.lock();
        inner.settled.insert(settlement.task);
        let settled = inner.book.settle(settlement.task, Amounts::of(&settlement.usage), settlement.at);
        (Row::of(settlement, settled.as_ref().map(|settled| &settled.held)), settled)
    }

    /// After how many changes the task's reservation stood as it does; `None` where it has none.
    pub(super) fn change_of(&self, task: TaskRef) -> Option<u64> {
        self.lock().book.held(task).map(|held| held.change)
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> u64 {
        self.lock().book.changes()
    }

    /// The tasks that hold something, and what.
    pub(super) fn holders(&self) -> Vec<(TaskRef, Held)> {
        self.lock().book.holders().map(|(task, held)| (task, held.clone())).collect()
    }

    /// How far it is written, for somebody who waits.
    pub(super) fn written(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    /// Notes that a round is wanted. `true` where the committer has to be told so.
    pub(super) fn ask(&self, haste: Haste) -> Result<bool, Closed> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Closed);
        }
        let is_new = inner.asked < Some(haste);
        inner.asked = inner.asked.max(Some(haste));
        Ok(is_new)
    }

    /// What is to be written now.
    pub(super) fn take(&self) -> Parcel {
        let mut inner = self.lock();
        inner.asked = None;
        let (changes, changed, rows) = (inner.book.changes(), inner.book.take_changed(), inner.sheet.take());
        Parcel { commit: 0, changes, changed, rows, own: Vec::new() }
    }

    /// The system has it.
    pub(super) fn wrote(&self, changes: u64) {
        self.written.send_modify(|written| written.changes = written.changes.max(changes));
    }

    /// Readers see it.
    pub(super) fn shown(&self, changes: u64) {
        self.written.send_modify(|written| {
            written.changes = written.changes.max(changes);
            written.shown = written.shown.max(changes);
        });
    }

    /// A round failed: nobody need wait for it.
    pub(super) fn fail(&self, parcel: Option<Parcel>) {
        if let Some(parcel) = parcel {
            self.lock().failed = Some(parcel);
        }
        self.written.send_modify(|written| written.failures += 1);
    }

    /// No round will come any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.fail(None);
    }

    /// Brings the book in line with a store that was opened again, whose last commit is this: the failed round has got
    /// into it as a whole, or nothing of it has.
    pub(super) fn take_up(&self, last_commit: u64) {
        let mut inner = self.lock();
        // Who asked for a round before was refused.
        inner.asked = None;
        let Some(parcel) = inner.failed.take() else { return };
        if parcel.commit <= last_commit {
            drop(inner);
            return self.shown(parcel.changes);
        }
        for (task, settled) in parcel.own {
            inner.settled.forget(task);
            if let Some(settled) = settled {
                inner.book.unsettle(task, settled);
            }
        }
        for (row, totals) in parcel.rows {
            inner.sheet.add(row, totals);
        }
        inner.book.note_again(parcel.changed);
    }
}
