//! An engine as if it lay on a disk: each call takes its time, some take longer than a lease, some are refused.
//!
//! What was sent is committed, whoever still waits for it, as in the embedded engine; only the end of the process
//! takes it back.

use crate::dice::Dice;
use crate::plan::{DiskPlan, Plant};
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::port::{
    Amounts, Append, AppendError, Appended, Balance, Cursor, EventLog, Filter, LeaseError, Leasing, Ledger, Left,
    LogState, Page, ReadError, Release, Renewal, Reservation, ReserveError, Settlement, SubmitError, Submitted,
    TaskPage, TaskStore, Totals, Unavailable, UpdateError, UsageQuery, UsageRow, Watch, Writer,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Epoch, LogRef, Task, TaskRef, TenantId, Timestamp};
use tidewire_engines::memory::Engine;
use tokio_util::task::TaskTracker;

/// Longer than the simulation's leases.
const STALL_MS: (u64, u64) = (500, 5_000);

pub(crate) struct Disk {
    engine: Arc<Engine>,
    plan: DiskPlan,
    dice: Mutex<Dice>,
    tracker: TaskTracker,
}

impl Disk {
    pub(crate) fn new(engine: Arc<Engine>, plan: DiskPlan, dice: Dice, tracker: TaskTracker) -> Self {
        Self { engine, plan, dice: Mutex::new(dice), tracker }
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut Dice, DiskPlan) -> T) -> T {
        roll(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner), self.plan)
    }

    /// Commits a change in its own time.
    async fn commit<T, E, F>(&self, change: impl FnOnce(Arc<Engine>) -> F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (before, after, refused) = self.roll(|dice, plan| {
            let mut wait = || {
                let stalls = dice.per_mille(plan.stalls);
                let long = Duration::from_millis(dice.between(STALL_MS.0, STALL_MS.1));
                let usual = Duration::from_micros(dice.between(0, plan.commit_us));
                if stalls { long } else { usual }
            };
            let (before, after) = (wait(), wait());
            (before, after, dice.per_mille(plan.refusals).then(|| dice.per_mille(500)))
        });
        let refusal = || E::from(Unavailable::new("the plan says so"));
        if refused == Some(false) {
            tokio::time::sleep(before).await;
            return Err(refusal());
        }
        let changing = change(self.engine.clone());
        let committing = self.tracker.spawn(async move {
            tokio::time::sleep(before).await;
            let answer = changing.await;
            tokio::time::sleep(after).await;
            answer
        });
        let answer = committing.await.map_err(|_| refusal())?;
        if refused == Some(true) { Err(refusal()) } else { answer }
    }

    /// A planted fault: the append comes by the newest right, and fits whatever stands there.
    async fn forget_fences(&self, append: &mut Append) {
        if self.plan.plant == Some(Plant::ForgetsFences)
            && let Writer::Leased { fence, expect } = &mut append.writer
            && let Ok(state) = self.engine.state(append.log).await
        {
            (*fence, *expect) = (state.fence.max(*fence), state.tail);
        }
    }

    async fn read_time(&self) {
        let wait = self.roll(|dice, plan| dice.between(0, plan.read_us));
        if wait > 0 {
            tokio::time::sleep(Duration::from_micros(wait)).await;
        }
    }
}

#[async_trait]
impl EventLog for Disk {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.commit(|engine| async move { engine.create(log).await }).await
    }

    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        self.forget_fences(&mut append).await;
        self.commit(|engine| async move { engine.append(append).await }).await
    }

    async fn end(&self, mut append: Append, ending: Ending) -> Result<Appended, AppendError> {
        self.forget_fences(&mut append).await;
        self.commit(|engine| async move { engine.end(append, ending).await }).await
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        self.read_time().await;
        let mut page = self.engine.read(log, cursor, max_bytes).await?;
        if self.plan.plant == Some(Plant::SkipsAnEvent) && self.roll(|dice, _| dice.per_mille(10)) {
            page.events.truncate(page.events.len().saturating_sub(1));
            page.events.iter_mut().for_each(|event| event.offset = event.offset.plus(1));
        }
        self.read_time().await;
        Ok(page)
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        self.read_time().await;
        self.engine.state(log).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        let watch = self.engine.watch(log).await;
        self.read_time().await;
        watch
    }
}

#[async_trait]
impl TaskStore for Disk {
    async fn submit(&self, task: Task) -> Result<Submitted, SubmitError> {
        if self.plan.plant == Some(Plant::AcksEarly) {
            let (engine, late) = (self.engine.clone(), task.clone());
            let wait = Duration::from_millis(self.roll(|dice, _| dice.between(0, 500)));
            self.tracker.spawn(async move {
                tokio::time::sleep(wait).await;
                engine.submit(late).await
            });
            return Ok(Submitted { task, fresh: true });
        }
        self.commit(|engine| async move { engine.submit(task).await }).await
    }

    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable> {
        self.read_time().await;
        self.engine.get(task).await
    }

    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable> {
        self.read_time().await;
        TaskStore::list(&*self.engine, filter).await
    }

    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError> {
        self.commit(|engine| async move { engine.request_stop(task).await }).await
    }

    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError> {
        self.commit(|engine| async move { engine.lease(task, leasing).await }).await
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable> {
        let leases = leases.to_vec();
        self.commit(|engine| async move { engine.renew(&leases, until).await }).await
    }

    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        let lease = lease.clone();
        self.commit(|engine| async move { engine.release(&lease, release).await }).await
    }

    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        self.commit(|engine| async move { engine.finish(task, at, ending).await }).await
    }
}

#[async_trait]
impl Ledger for Disk {
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        self.commit(|engine| async move { engine.settle(settlement).await }).await
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.read_time().await;
        self.engine.totals(tenant).await
    }

    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        self.engine.reserve(reservation).await
    }

    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable> {
        self.engine.secure(task).await
    }

    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        self.engine.top_up(task, more, at).await
    }

    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable> {
        self.engine.give_back(task).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        self.engine.usage(query).await
    }

    fn balance(&self) -> Balance {
        self.engine.balance()
    }
}
