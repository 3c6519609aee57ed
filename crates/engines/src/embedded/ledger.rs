//! The port `Ledger`.

use super::Engine;
use super::op::Op;
use async_trait::async_trait;
use tidewire_core::port::{
    Amounts, Balance, Ledger, Left, Reservation, ReserveError, Settlement, Totals, Unavailable, UsageQuery, UsageRow,
};
use tidewire_core::{TaskRef, TenantId, Timestamp};

#[async_trait]
impl Ledger for Engine {
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        self.ask(0, |reply| Op::Settle(settlement, reply)).await
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.on_disk(move |shared| Ok(shared.store.totals(&shared.store.snapshot(), tenant)?)).await
    }

    async fn reserve(&self, _: Reservation) -> Result<Left, ReserveError> {
        Ok(Left::default())
    }

    async fn secure(&self, _: TaskRef) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn top_up(&self, _: TaskRef, _: Amounts, _: Timestamp) -> Result<(), ReserveError> {
        Ok(())
    }

    async fn give_back(&self, _: TaskRef) -> Result<bool, Unavailable> {
        Ok(false)
    }

    async fn usage(&self, _: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        Ok(Vec::new())
    }

    fn balance(&self) -> Balance {
        Balance::default()
    }
}
