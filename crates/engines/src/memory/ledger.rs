//! The engine as a `Ledger`.

use super::{Engine, lock};
use async_trait::async_trait;
use std::collections::HashMap;
use tidewire_core::ledger::{Book, Bounds, Remembered, Row, Sheet};
use tidewire_core::port::{
    Amounts, Balance, Ledger, Left, Reservation, ReserveError, Settlement, Totals, Unavailable, UsageQuery, UsageRow,
};
use tidewire_core::{Money, TaskRef, TenantId, Timestamp};

/// The account book: who may use how much, who used how much, and which tasks are in that.
pub(super) struct Accounts {
    book: Book,
    sheet: Sheet,
    totals: HashMap<TenantId, Totals>,
    settled: Remembered,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            book: Book::new(Bounds::default()),
            sheet: Sheet::default(),
            totals: HashMap::new(),
            settled: Remembered::default(),
        }
    }
}

impl Accounts {
    pub(super) fn reserved(&self) -> HashMap<TenantId, Money> {
        self.book.reserved().clone()
    }

    /// Says whether this was the first time.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> bool {
        let Settlement { task, at, usage, .. } = *settlement;
        if !self.settled.insert(task) {
            return false;
        }
        let settled = self.book.settle(task, Amounts::of(&usage), at);
        let sum = self.totals.entry(task.tenant).or_default();
        *sum = sum.plus(Totals::of(usage));
        self.sheet.add(Row::of(settlement, settled.as_ref().map(|settled| &settled.held)), Totals::of(usage));
        true
    }
}

#[async_trait]
impl Ledger for Engine {
    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        let mut accounts = lock(&self.accounts);
        if accounts.settled.contains(reservation.task) {
            return Err(Unavailable::new("the task is settled already").into());
        }
        accounts.book.reserve(reservation)
    }

    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable> {
        let held = lock(&self.accounts).book.held(task).is_some();
        if held { Ok(()) } else { Err(Unavailable::new("the task holds no reservation")) }
    }

    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        lock(&self.accounts).book.top_up(task, more, at)
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        Ok(lock(&self.accounts).settle(&settlement))
    }

    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable> {
        Ok(lock(&self.accounts).book.give_back(task))
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        Ok(lock(&self.accounts).totals.get(&tenant).copied().unwrap_or_default())
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        Ok(lock(&self.accounts).sheet.find(&query))
    }

    fn balance(&self) -> Balance {
        lock(&self.accounts).book.balance()
    }
}
