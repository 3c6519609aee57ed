//! The `embedded` engine: logs, tasks and the ledger in one [`fjall`] store on this machine's disk.
//!
//! ```text
//!  writers ──▶ committer (one thread) ──▶ store: one batch, one sync ─┐
//!                                                                     ▼
//!  readers ◀──────── newest records in memory ◀──────────── shown after the sync
//!     ▲
//!     └── older ones ◀── store
//! ```
//!
//! A task's last events, its finished record and its settlement are one commit. What mode survives what is
//! said at [`Mode`]. `Dispatch` and `Bus` are not here: within one process the memory engine keeps them.

mod archive;
mod backup;
mod cache;
mod check;
mod cold;
mod committer;
mod condition;
mod counts;
mod desk;
mod directory;
mod event_log;
mod feed;
mod format;
mod head;
mod key;
mod ledger;
mod live;
mod lock;
mod log_keeping;
mod names;
mod op;
mod open;
mod prepare;
mod record;
mod reopen;
mod restore;
mod seal;
mod slots;
mod space;
mod stats;
mod store;
mod stored_book;
mod task_list;
mod task_store;
mod varint;

pub use archive::{ArchiveError, Contents, Manifest};
pub use backup::Backup;
pub use cache::Cache;
pub use check::{Finding, Progress, Report, Severity, check, info};
pub use open::{OpenError, Recovered};
pub use restore::{RestoreError, restore, verify};
pub use stats::{CommitTiming, Stats};

use committer::{Committer, Queued};
use condition::Condition;
use op::{Op, Reply};
use space::Space;
use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tidewire_core::port::{Clock, Unavailable};
use tidewire_core::{Money, TenantId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

/// How many changes may wait for the committer: two rounds of it.
const MAX_WAITING: usize = 8192;
/// How much data they may carry together.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// What every change takes of it, whatever it carries.
const CHANGE_BYTES: usize = 256;

/// How long a read waits for a store that is being opened again: that takes about a second per 200 MB of journal.
const REOPENING: Duration = Duration::from_secs(5);

/// What an acknowledged change survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Loss of power: the disk has confirmed it.
    #[default]
    Fsync,
    /// The end of this process, also by `kill -9`; not that of the machine.
    Write,
}

/// Called with the timing of each commit, on the committer's thread: it must be quick.
pub type OnCommit = Arc<dyn Fn(CommitTiming) + Send + Sync>;
/// Called before each commit, or before its sync; an error makes it fail, as a failing disk does.
pub type BeforeCommit = Arc<dyn Fn() -> std::io::Result<()> + Send + Sync>;

/// How to open the engine.
#[derive(Clone)]
pub struct Config {
    /// The data directory. One process at a time may have it.
    pub path: PathBuf,
    /// What an acknowledged change survives.
    pub mode: Mode,
    /// How many bytes of events are kept in memory for readers, over all logs.
    pub hot_bytes: usize,
    /// How many bytes of blocks read from disk are kept in memory.
    pub cache_bytes: u64,
    /// How many entries the feed keeps; its oldest ones go.
    pub feed_entries: u64,
    /// Hears how long each commit took.
    pub on_commit: Option<OnCommit>,
    /// New tasks are refused while the disk has fewer bytes free than this; 0 takes them as long as it lasts.
    pub data_free_bytes: u64,
    /// Lets a test make commits fail before anything of them is written. An error that says that the disk is full
    /// or read-only is met as the disk's own is.
    pub before_commit: Option<BeforeCommit>,
    /// Lets a test make syncs fail.
    pub before_sync: Option<BeforeCommit>,
}

impl Config {
    /// The defaults: `fsync`; 256 MiB of events hold the last minute at 25,000 tokens/s with room to spare;
    /// 64 MiB of blocks; 4 million feed entries are about 120 MB on disk.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: Mode::default(),
            hot_bytes: 256 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            feed_entries: 4_000_000,
            on_commit: None,
            data_free_bytes: 0,
            before_commit: None,
            before_sync: None,
        }
    }
}

/// The engine. Clones share it.
///
/// To close the store, call [`Engine::shutdown`] and then drop every clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
    committer: Arc<Mutex<Option<JoinHandle<()>>>>,
    reads: TaskTracker,
}

/// What the committer and the readers share, whichever store is open.
struct Shared {
    slots: slots::Slots,
    live: live::Live,
    desk: desk::Desk,
    stats: Stats,
    clock: Arc<dyn Clock>,
    mode: Mode,
    path: PathBuf,
    hot_bytes: usize,
    cache_bytes: u64,
    feed_entries: u64,
    on_commit: Option<OnCommit>,
    before_commit: Option<BeforeCommit>,
    before_sync: Option<BeforeCommit>,
    /// Room for the data of waiting changes; closed once none is taken any more.
    room: Semaphore,
    /// Places for backups that are being made.
    backups: Arc<Semaphore>,
    condition: Condition,
    space: Space,
    /// The store that is open; `None` for the moment in which it is opened again.
    store: watch::Sender<Option<Arc<store::Store>>>,
    // Last, so that it is let go of after the database has closed its files.
    _lock: lock::Lock,
}

/// The engine with a store that is open. Whoever holds it holds the store: for a read or a step, not for long.
struct Opened {
    store: Arc<store::Store>,
    shared: Arc<Shared>,
}

impl Deref for Opened {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn new(
        store: Arc<store::Store>,
        desk: desk::Desk,
        lock: lock::Lock,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            slots: slots::Slots::new(),
            live: live::Live::default(),
            desk,
            stats: Stats::default(),
            clock,
            mode: config.mode,
            space: Space::new(&config.path, config.data_free_bytes),
            path: config.path,
            hot_bytes: config.hot_bytes,
            cache_bytes: config.cache_bytes,
            feed_entries: config.feed_entries,
            on_commit: config.on_commit,
            before_commit: config.before_commit,
            before_sync: config.before_sync,
            room: Semaphore::new(MAX_WAITING_BYTES),
            backups: Arc::new(Semaphore::new(backup::BACKUPS_AT_ONCE)),
            condition: Condition::well(),
            store: watch::Sender::new(Some(store)),
            _lock: lock,
        }
    }

    fn queue() -> (mpsc::Sender<Queued>, mpsc::Receiver<Queued>) {
        mpsc::channel(MAX_WAITING)
    }

    /// What the disk holds is not known: nothing is promised any more until the process is started again.
    fn fail_for_good(&self, failure: Unavailable) {
        tracing::error!(reason = failure.reason, "no changes are taken until the server is started again");
        self.condition.fail(failure);
        self.room.close();
        self.desk.close();
    }

    /// Whether the disk has room for new work.
    fn room_for_work(&self) -> Result<(), Unavailable> {
        self.space.check(self.clock.monotonic())
    }
}

impl Engine {
    fn start(shared: Arc<Shared>, committer: Committer, queue: mpsc::Sender<Queued>) -> std::io::Result<Self> {
        let keep_committing = move || reopen::keep_committing(committer);
        let thread = std::thread::Builder::new().name("tidewire-commit".to_owned()).spawn(keep_committing)?;
        Ok(Self { shared, queue, committer: Arc::new(Mutex::new(Some(thread))), reads: TaskTracker::new() })
    }

    /// Whether new work is taken, and if not: why, and what to do. What was committed can be read all the same.
    /// Where the disk refused a write the engine goes on by itself once it can; after a failed sync it does not.
    pub fn health(&self) -> Result<(), Unavailable> {
        self.shared.condition.health()?;
        self.shared.room_for_work()
    }

    /// How much the disk of the data directory has free; `None` where that can't be found out.
    pub fn free_bytes(&self) -> Option<u64> {
        self.shared.space.free_bytes()
    }

    /// Money that tasks hold now, by tenant.
    pub fn reserved(&self) -> HashMap<TenantId, Money> {
        self.shared.desk.reserved()
    }

    /// How often changes were no longer taken because the disk failed, and how often they were again.
    pub fn failures_and_recoveries(&self) -> (u64, u64) {
        (self.shared.condition.failures(), self.shared.condition.recoveries())
    }

    /// What was committed since the open.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Takes no more changes, commits and syncs those that were sent, and returns once the committer's thread
    /// and all reads have ended. Watches end.
    pub async fn shutdown(&self) {
        // Fails only where the committer has ended already.
        let _ = self.queue.send(Queued { op: Op::Close, bytes: 0 }).await;
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread has been noted as the engine's failure.
            let _ = self.reads.spawn_blocking(move || thread.join()).await;
        }
        self.shared.slots.clear();
        self.reads.close();
        self.reads.wait().await;
    }

    /// Sends a change to the committer and waits for its answer.
    async fn ask<T, E: From<Unavailable>>(&self, bytes: usize, op: impl FnOnce(Reply<T, E>) -> Op) -> Result<T, E> {
        let refused = || E::from(self.shared.condition.refusal());
        let bytes = (bytes + CHANGE_BYTES).min(MAX_WAITING_BYTES);
        let place = self.queue.reserve().await.map_err(|_| refused())?;
        let room = self.shared.room.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await;
        // The committer gives the room back, once it has dealt with the change.
        room.map_err(|_| refused())?.forget();
        let (reply, answer) = oneshot::channel();
        place.send(Queued { op: op(Reply(reply)), bytes });
        answer.await.unwrap_or_else(|_| Err(refused()))
    }

    /// Reads from disk, on a thread that may wait for it.
    async fn on_disk<T, E>(&self, read: impl FnOnce(&Opened) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let opened = self.opened().await?;
        let reading = self.reads.spawn_blocking(move || read(&opened));
        reading.await.unwrap_or_else(|_| Err(Unavailable::new("a read from disk was cut off").into()))
    }

    /// The store that is open. Waits for one that is being opened again.
    async fn opened(&self) -> Result<Opened, Unavailable> {
        let opened = |store| Opened { store, shared: self.shared.clone() };
        let now = self.shared.store.borrow().clone();
        if let Some(store) = now {
            return Ok(opened(store));
        }
        let mut stores = self.shared.store.subscribe();
        tokio::select! {
            biased;
            store = stores.wait_for(Option::is_some) => store.ok().and_then(|store| store.clone()).map(opened),
            () = self.shared.clock.sleep(REOPENING) => None,
        }
        .ok_or_else(|| Unavailable::new("the store is being opened again; try again in a moment"))
    }
}
