//! Two engines as one: each call goes to the durable or to the transient one, as the durability says that every
//! id carries. So a transient task takes the same way as a durable one.

use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewire_core::port::{
    Append, AppendError, Appended, Clock, Cursor, EventLog, Expired, FeedEntry, FeedPosition, Filter, LeaseError,
    Leasing, Ledger, LogKeeping, LogState, Page, ReadError, Release, RemoveError, Renewal, Retention, Settlement,
    SubmitError, Submitted, TaskPage, TaskStore, TrimError, Unavailable, UpdateError, Watch,
};
use tidewire_core::task::Lease;
use tidewire_core::{
    Durability, Ending, Entry, Epoch, LogId, LogRef, Offset, Task, TaskId, TaskRef, TenantId, Timestamp,
};

/// How many settlements wait in memory for a durable engine that takes no changes: some 10 MB, and an hour of 18
/// transient tasks a second. Beyond it the end of a transient task says that it could not be settled.
const MAX_UNSETTLED: usize = 65_536;

/// Sends each call to the engine that keeps what it is about.
///
/// An idempotency key is one engine's: the same key on a durable and on a transient task makes two tasks, so the
/// submitter's body hash should not be alike for both.
pub struct ByDurability<D, T> {
    durable: Arc<D>,
    transient: Arc<T>,
    clock: Arc<dyn Clock>,
    /// Settlements of transient tasks that ended while the durable engine took no changes.
    unsettled: Mutex<Vec<Settlement>>,
}

impl<D, T> ByDurability<D, T> {
    /// From an engine for durable tasks and logs, and one for transient ones.
    pub fn new(durable: Arc<D>, transient: Arc<T>, clock: Arc<dyn Clock>) -> Self {
        Self { durable, transient, clock, unsettled: Mutex::default() }
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<Settlement>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Ledger, T> ByDurability<D, T> {
    /// Settles a transient task that has ended. Where that can't be done now, it is done later: its log has ended,
    /// and who follows it has seen that.
    async fn settle(&self, settlement: Settlement) -> Result<(), Unavailable> {
        let Err(unavailable) = self.durable.settle(settlement.clone()).await else { return Ok(()) };
        let mut unsettled = self.unsettled();
        if unsettled.len() == MAX_UNSETTLED {
            return Err(unavailable);
        }
        unsettled.push(settlement);
        Ok(())
    }

    /// Settles what could not be settled before.
    async fn catch_up(&self) {
        loop {
            let Some(settlement) = self.unsettled().pop() else { return };
            if self.durable.settle(settlement.clone()).await.is_err() {
                self.unsettled().push(settlement);
                return;
            }
        }
    }
}

impl<D: EventLog, T: EventLog> ByDurability<D, T> {
    fn logs(&self, log: LogRef) -> &dyn EventLog {
        match log.log.durability() {
            Durability::Durable => &*self.durable,
            Durability::Transient => &*self.transient,
        }
    }
}

impl<D: LogKeeping, T: LogKeeping> ByDurability<D, T> {
    fn keeping(&self, log: LogRef) -> &dyn LogKeeping {
        match log.log.durability() {
            Durability::Durable => &*self.durable,
            Durability::Transient => &*self.transient,
        }
    }
}

impl<D: TaskStore, T: TaskStore> ByDurability<D, T> {
    fn tasks(&self, task: TaskId) -> &dyn TaskStore {
        match task.durability() {
            Durability::Durable => &*self.durable,
            Durability::Transient => &*self.transient,
        }
    }
}

#[async_trait]
impl<D: EventLog + Ledger, T: EventLog> EventLog for ByDurability<D, T> {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.logs(log).create(log).await
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.logs(append.log).append(append).await
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        let (log, usage, deployment) = (append.log, ending.usage, ending.deployment.as_deref().map(Arc::from));
        let ended = self.logs(log).end(append, ending).await;
        if !matches!(ended, Ok(_) | Err(AppendError::Ended { .. })) {
            return ended;
        }
        // The log of a transient task goes with the process; what it cost does not. One that had ended before is
        // settled again, in case the first settlement failed: a task is settled once, whoever asks how often.
        if let (Durability::Transient, Some(task)) = (log.log.durability(), log.log.task()) {
            let settlement =
                Settlement { task: TaskRef { tenant: log.tenant, task }, at: self.clock.now(), usage, deployment };
            self.settle(settlement).await?;
        }
        ended
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        self.logs(log).read(log, cursor, max_bytes).await
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        self.logs(log).state(log).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        self.logs(log).watch(log).await
    }
}

#[async_trait]
impl<D: LogKeeping, T: LogKeeping> LogKeeping for ByDurability<D, T> {
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError> {
        self.keeping(log).trim(log, upto, snapshot).await
    }

    /// Each engine keeps as many bytes as `keep` says. The transient one goes first, for its memory is scarce,
    /// and a long line of durable logs must not hold it up.
    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable> {
        let transient = self.transient.expire(now, keep, limit).await?;
        let durable = self.durable.expire(now, keep, limit.saturating_sub(transient.logs)).await?;
        Ok(Expired { logs: transient.logs + durable.logs, bytes: transient.bytes + durable.bytes })
    }

    async fn erase(&self, log: LogRef) -> Result<(), TrimError> {
        self.keeping(log).erase(log).await
    }

    async fn remove(&self, log: LogRef) -> Result<(), RemoveError> {
        self.keeping(log).remove(log).await
    }

    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable> {
        let mut logs = self.durable.list(tenant, after, limit).await?;
        logs.extend(self.transient.list(tenant, after, limit).await?);
        logs.sort_unstable();
        logs.truncate(limit);
        Ok(logs)
    }

    /// Of durable logs only: a position must stay good over restarts.
    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable> {
        self.durable.feed(after, limit).await
    }
}

#[async_trait]
impl<D: TaskStore + Ledger, T: TaskStore> TaskStore for ByDurability<D, T> {
    async fn submit(&self, task: Task) -> Result<Submitted, SubmitError> {
        self.tasks(task.id).submit(task).await
    }

    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable> {
        self.tasks(task.task).get(task).await
    }

    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable> {
        let durable = self.durable.list(filter).await?;
        let transient = self.transient.list(filter).await?;
        Ok(merged(durable, transient, filter.limit))
    }

    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError> {
        self.tasks(task.task).request_stop(task).await
    }

    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError> {
        self.tasks(task.task).lease(task, leasing).await
    }

    /// Also the moment to catch up: workers renew several times a second.
    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable> {
        if !self.unsettled().is_empty() {
            self.catch_up().await;
        }
        let is_durable = |lease: &Lease| lease.task.task.durability() == Durability::Durable;
        let (of_durable, of_transient): (Vec<_>, Vec<_>) = leases.iter().cloned().partition(is_durable);
        if of_transient.is_empty() {
            return self.durable.renew(leases, until).await;
        }
        // A durable engine that takes no changes must not cost transient tasks their leases. Those that it keeps
        // itself are given to nobody else meanwhile.
        let kept = |_| vec![Renewal::Held { stop_requested: false }; of_durable.len()];
        let mut durable = self.durable.renew(&of_durable, until).await.unwrap_or_else(kept).into_iter();
        let mut transient = self.transient.renew(&of_transient, until).await?.into_iter();
        let answer = |lease| if is_durable(lease) { durable.next() } else { transient.next() };
        Ok(leases.iter().map(answer).map(|answer| answer.unwrap_or(Renewal::Lost)).collect())
    }

    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        self.tasks(lease.task.task).release(lease, release).await
    }

    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        self.tasks(task.task).finish(task, at, ending).await
    }
}

/// One page from a page of each, newest first.
fn merged(one: TaskPage, other: TaskPage, limit: usize) -> TaskPage {
    // A page that has a next one tells nothing of what is older than the place where that begins. The newer of
    // two such places is how far down the merged page may go.
    let told_to = one.next.max(other.next);
    let mut tasks = one.tasks;
    tasks.extend(other.tasks);
    tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.id));
    if let Some(told_to) = told_to {
        tasks.retain(|task| task.id >= told_to);
    }
    let cut = tasks.len() > limit;
    tasks.truncate(limit);
    let next = if cut { tasks.last().map(|last| last.id) } else { told_to };
    TaskPage { tasks, next }
}
