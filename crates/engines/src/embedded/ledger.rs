//! The port `Ledger`: decided in memory, written by the committer.

use super::desk::{Closed, Haste, Written};
use super::op::Op;
use super::{Engine, Queued, stored_book};
use async_trait::async_trait;
use tidewire_core::port::{
    Amounts, Balance, Ledger, Left, Reservation, ReserveError, Settlement, Totals, Unavailable, UsageQuery, UsageRow,
};
use tidewire_core::{Durability, TaskRef, TenantId, Timestamp};
use tokio::sync::mpsc::error::TrySendError;

#[async_trait]
impl Ledger for Engine {
    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        self.shared.condition.health()?;
        stored_book::admit(&reservation)?;
        // No round is asked for: either somebody waits for it, or the task's submit brings one.
        self.shared.desk.reserve(reservation)
    }

    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable> {
        let held = self.shared.desk.change_of(task);
        let change = held.ok_or_else(|| Unavailable::new("the task holds no reservation"))?;
        self.round(|written| written.changes >= change).await
    }

    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        self.shared.condition.health()?;
        self.shared.desk.top_up(task, more, at)?;
        self.ask_for_round(Haste::Soon)?;
        Ok(())
    }

    /// A durable task's settlement is committed when this returns. A transient one's is decided, and written with the
    /// round that comes next: until then its reservation is what survives, and a crash settles it as an estimate.
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        if settlement.task.task.durability() == Durability::Transient {
            self.shared.condition.health()?;
            if let Some(first) = self.shared.desk.settle_held(&settlement) {
                // Settled it is, whatever becomes of the round: see `Desk`.
                let _ = self.ask_for_round(Haste::Soon);
                return Ok(first);
            }
        }
        self.ask(0, |reply| Op::Settle(settlement, reply)).await
    }

    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable> {
        let given = self.shared.desk.give_back(task);
        if given {
            let _ = self.ask_for_round(Haste::Soon);
        }
        Ok(given)
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.write_all().await;
        self.on_disk(move |shared| Ok(shared.store.totals(&shared.store.snapshot(), tenant)?)).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        self.write_all().await;
        self.on_disk(move |shared| Ok(stored_book::rows(&shared.store, &shared.store.snapshot(), &query)?)).await
    }

    fn balance(&self) -> Balance {
        self.shared.desk.balance()
    }
}

impl Engine {
    /// Has written what was decided so far, so that a read of the store finds it. A disk that takes no writes is still
    /// read: what is missing then is what it could not be told.
    async fn write_all(&self) {
        let changes = self.shared.desk.changes();
        let _ = self.round(|written| written.shown >= changes).await;
    }

    /// Waits for the round after which the book is written so far.
    async fn round(&self, is_far_enough: impl Fn(&Written) -> bool) -> Result<(), Unavailable> {
        let mut written = self.shared.desk.written();
        let failures = {
            let now = written.borrow();
            if is_far_enough(&now) {
                return Ok(());
            }
            now.failures
        };
        // After the look at the failures: one that comes between the two ends the wait.
        self.shared.condition.health()?;
        self.ask_for_round(Haste::Now)?;
        let done = written.wait_for(|now| is_far_enough(now) || now.failures != failures).await;
        match done {
            Ok(now) if is_far_enough(&now) => Ok(()),
            _ => Err(self.shared.condition.refusal()),
        }
    }

    /// Tells the committer that the book is to be written, unless it has been told.
    fn ask_for_round(&self, haste: Haste) -> Result<(), Unavailable> {
        if !self.shared.desk.ask(haste).map_err(|Closed| self.shared.condition.refusal())? {
            return Ok(());
        }
        match self.queue.try_send(Queued { op: Op::WriteBook(haste), bytes: 0 }) {
            // Where the queue is full a round comes without being asked for.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(self.shared.condition.refusal()),
        }
    }
}
