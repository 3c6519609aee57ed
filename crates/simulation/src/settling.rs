//! Logs from one engine, settlements to another: what `ByDurability` asks of one engine, where they are apart.

use crate::disk::Disk;
use async_trait::async_trait;
use std::sync::Arc;
use tidewire_core::port::{
    Amounts, Append, AppendError, Appended, Balance, Cursor, EventLog, Ledger, Left, LogState, Page, ReadError,
    Reservation, ReserveError, Settlement, Totals, Unavailable, UsageQuery, UsageRow, Watch,
};
use tidewire_core::{Ending, Epoch, LogRef, TaskRef, TenantId, Timestamp};

pub(crate) struct Settling {
    pub(crate) logs: Disk,
    pub(crate) ledger: Arc<Disk>,
}

#[async_trait]
impl EventLog for Settling {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.logs.create(log).await
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.logs.append(append).await
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        self.logs.end(append, ending).await
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        self.logs.read(log, cursor, max_bytes).await
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        self.logs.state(log).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        self.logs.watch(log).await
    }
}

#[async_trait]
impl Ledger for Settling {
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        self.ledger.settle(settlement).await
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.ledger.totals(tenant).await
    }

    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        self.ledger.reserve(reservation).await
    }

    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable> {
        self.ledger.secure(task).await
    }

    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        self.ledger.top_up(task, more, at).await
    }

    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable> {
        self.ledger.give_back(task).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        self.ledger.usage(query).await
    }

    fn balance(&self) -> Balance {
        self.ledger.balance()
    }
}
