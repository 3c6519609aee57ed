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

mod cold;
mod committer;
mod counts;
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
mod seal;
mod slots;
mod stats;
mod store;
mod task_list;
mod task_store;
mod varint;

pub use open::{OpenError, Recovered};
pub use stats::{CommitTiming, Stats};

use committer::{Committer, Queued};
use op::{Op, Reply};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use tidewire_core::port::{Clock, Unavailable};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// How many changes may wait for the committer: two rounds of it.
const MAX_WAITING: usize = 8192;
/// How much data they may carry together.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// What every change takes of it, whatever it carries.
const CHANGE_BYTES: usize = 256;

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
/// Called before each commit; an error makes that commit fail, as a failing disk does.
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
    /// Lets a test make commits fail.
    pub before_commit: Option<BeforeCommit>,
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
            before_commit: None,
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

/// What the committer and the readers share.
struct Shared {
    slots: slots::Slots,
    live: live::Live,
    stats: Stats,
    clock: Arc<dyn Clock>,
    mode: Mode,
    feed_entries: u64,
    on_commit: Option<OnCommit>,
    before_commit: Option<BeforeCommit>,
    /// Room for the data of waiting changes; closed once none is taken any more.
    room: Semaphore,
    failure: OnceLock<Unavailable>,
    store: store::Store,
}

impl Shared {
    fn new(store: store::Store, config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            slots: slots::Slots::new(),
            live: live::Live::default(),
            stats: Stats::default(),
            clock,
            mode: config.mode,
            feed_entries: config.feed_entries,
            on_commit: config.on_commit,
            before_commit: config.before_commit,
            room: Semaphore::new(MAX_WAITING_BYTES),
            failure: OnceLock::new(),
            store,
        }
    }

    fn queue() -> (mpsc::Sender<Queued>, mpsc::Receiver<Queued>) {
        mpsc::channel(MAX_WAITING)
    }

    fn health(&self) -> Result<(), Unavailable> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// After a failed commit nothing is promised any more: what the disk holds is not known until the store
    /// is opened again.
    fn refuse_from_now_on(&self, failure: Unavailable) {
        tracing::error!(reason = failure.reason, "the store takes no more changes until it is opened again");
        // The first failure is the cause; later ones follow from it.
        let _ = self.failure.set(failure);
        self.room.close();
    }

    /// Why a change was not taken.
    fn refusal(&self) -> Unavailable {
        self.health().err().unwrap_or_else(|| Unavailable::new("it is shut down"))
    }
}

impl Engine {
    fn start(shared: Arc<Shared>, committer: Committer, queue: mpsc::Sender<Queued>) -> std::io::Result<Self> {
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("tidewire-commit".to_owned()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                of_thread.refuse_from_now_on(Unavailable::new("the committer panicked"));
            }
        })?;
        Ok(Self { shared, queue, committer: Arc::new(Mutex::new(Some(thread))), reads: TaskTracker::new() })
    }

    /// Whether changes are taken. After a failed commit they are not, until the store is opened again; what
    /// was committed can still be read.
    pub fn health(&self) -> Result<(), Unavailable> {
        self.shared.health()
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
        let refused = || E::from(self.shared.refusal());
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
    async fn on_disk<T, E>(&self, read: impl FnOnce(&Arc<Shared>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let shared = self.shared.clone();
        let reading = self.reads.spawn_blocking(move || read(&shared));
        reading.await.unwrap_or_else(|_| Err(Unavailable::new("a read from disk was cut off").into()))
    }
}
