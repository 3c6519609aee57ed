//! An engine whose process can die at any change: from then on it answers to nothing.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidewire_core::port::{
    Append, AppendError, Appended, Cursor, Directory, EventLog, Expect, Expired, FeedEntry, FeedPosition, LogKeeping,
    LogState, Page, PutError, ReadError, Record, RecordName, RemoveError, RemoveRecordError, Retention, Shelf,
    TrimError, Unavailable, Watch,
};
use tidewire_core::{Ending, Entry, Epoch, LogId, LogRef, Offset, TenantId, Timestamp};
use tidewire_engines::memory::Engine;
use tokio::sync::Semaphore;

/// When the process dies: before its last change is made, or after it is and before anybody hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    BeforeTheChange,
    AfterTheChange,
}

/// The engine of a process.
pub(crate) struct Mortal {
    engine: Arc<Engine>,
    /// How many changes it lives to make.
    left: AtomicUsize,
    dies_after_the_change: AtomicBool,
    is_dead: AtomicBool,
    holds_creates: AtomicBool,
    held: Semaphore,
    released: Semaphore,
}

fn dead() -> Unavailable {
    Unavailable::new("the process has died")
}

impl Mortal {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            left: AtomicUsize::new(usize::MAX),
            dies_after_the_change: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
            holds_creates: AtomicBool::new(false),
            held: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }

    pub(crate) fn dies_after(&self, changes: usize, death: Death) {
        self.left.store(changes, Ordering::SeqCst);
        self.dies_after_the_change.store(death == Death::AfterTheChange, Ordering::SeqCst);
    }

    /// Makes whoever creates a log wait.
    pub(crate) fn hold_creates(&self) {
        self.holds_creates.store(true, Ordering::SeqCst);
    }

    pub(crate) fn let_creates_pass(&self) {
        self.holds_creates.store(false, Ordering::SeqCst);
    }

    pub(crate) async fn create_is_held(&self) {
        self.held.acquire().await.unwrap().forget();
    }

    pub(crate) fn release_held(&self) {
        self.released.add_permits(1);
    }

    fn alive(&self) -> Result<(), Unavailable> {
        if self.is_dead.load(Ordering::SeqCst) { Err(dead()) } else { Ok(()) }
    }

    async fn change<T, E: From<Unavailable>>(&self, making: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.alive()?;
        let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if !dies {
            return making.await;
        }
        self.is_dead.store(true, Ordering::SeqCst);
        if self.dies_after_the_change.load(Ordering::SeqCst) {
            drop(making.await);
        }
        Err(dead().into())
    }
}

#[async_trait]
impl EventLog for Mortal {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        if self.holds_creates.load(Ordering::SeqCst) {
            self.held.add_permits(1);
            self.released.acquire().await.unwrap().forget();
        }
        self.change(self.engine.create(log)).await
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.change(self.engine.append(append)).await
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        self.change(self.engine.end(append, ending)).await
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        self.alive()?;
        self.engine.read(log, cursor, max_bytes).await
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        self.alive()?;
        self.engine.state(log).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        self.alive()?;
        self.engine.watch(log).await
    }
}

#[async_trait]
impl LogKeeping for Mortal {
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError> {
        self.change(self.engine.trim(log, upto, snapshot)).await
    }

    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable> {
        self.change(self.engine.expire(now, keep, limit)).await
    }

    async fn remove(&self, log: LogRef) -> Result<(), RemoveError> {
        self.change(LogKeeping::remove(&*self.engine, log)).await
    }

    async fn erase(&self, log: LogRef) -> Result<(), TrimError> {
        self.change(self.engine.erase(log)).await
    }

    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable> {
        self.alive()?;
        LogKeeping::list(&*self.engine, tenant, after, limit).await
    }

    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable> {
        self.alive()?;
        self.engine.feed(after, limit).await
    }
}

#[async_trait]
impl Directory for Mortal {
    async fn get(&self, name: &RecordName) -> Result<Option<Record>, Unavailable> {
        self.alive()?;
        Directory::get(&*self.engine, name).await
    }

    async fn put(&self, name: RecordName, value: Bytes, expect: Expect) -> Result<u64, PutError> {
        self.change(self.engine.put(name, value, expect)).await
    }

    async fn remove(&self, name: &RecordName, expect: Expect) -> Result<bool, RemoveRecordError> {
        self.change(Directory::remove(&*self.engine, name, expect)).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        shelf: Shelf,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Unavailable> {
        self.alive()?;
        Directory::list(&*self.engine, tenant, shelf, after, limit).await
    }

    async fn count(&self, tenant: TenantId, shelf: Shelf) -> Result<u64, Unavailable> {
        self.alive()?;
        self.engine.count(tenant, shelf).await
    }
}
