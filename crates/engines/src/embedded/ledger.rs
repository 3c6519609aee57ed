//! The port `Ledger`.

use super::Engine;
use super::op::Op;
use async_trait::async_trait;
use tidewire_core::TenantId;
use tidewire_core::port::{Ledger, Settlement, Totals, Unavailable};

#[async_trait]
impl Ledger for Engine {
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        self.ask(0, |reply| Op::Settle(settlement, reply)).await
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.on_disk(move |shared| Ok(shared.store.totals(&shared.store.snapshot(), tenant)?)).await
    }
}
