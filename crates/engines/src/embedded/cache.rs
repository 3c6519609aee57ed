//! The port `Cache` on this machine's disk: a small database of its own beside the store.
//!
//! It shares nothing with the store but the disk: no commit waits for it, no sync is asked for, no backup holds it, and
//! where it can't be read it is made anew. What was written survives the end of the process; a loss of power may take it.

use super::space::Space;
use super::{seal, store};
use crate::shelf::{Entry, Shelf};
use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewire_core::Timestamp;
use tidewire_core::port::{self, CacheKey, CacheStats, Clock, Kept, Unavailable};
use tokio_util::task::TaskTracker;

/// Where it lies in the data directory.
const DIRECTORY: &str = "answers";
/// One thread flushes and compacts: nobody waits for either.
const WORKER_THREADS: usize = 1;
/// Blocks that were read lately, in memory: a thousand answers of 16 KB.
const BLOCK_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Half of what the store gives its smaller keyspaces, twice over for two of them.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// The least that the database takes.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// Answers on disk, and what is known of them in memory. Clones share it.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
    /// Reads and writes under way.
    tracker: TaskTracker,
}

struct Shared {
    path: PathBuf,
    bound_bytes: u64,
    clock: Arc<dyn Clock>,
    space: Space,
    shelf: Mutex<Shelf<()>>,
    /// Opened by whoever first needs it. Held over a write, so that two of one key do not cross.
    disk: Mutex<Option<Disk>>,
}

#[derive(Clone)]
struct Disk {
    db: Database,
    /// key → what is known of the answer.
    index: Keyspace,
    /// key → the answer.
    answers: Keyspace,
}

/// What is known of an answer, as it is stored: its route, when it was made and until when it is kept, and its bytes.
#[derive(Serialize, Deserialize)]
struct Known(Arc<str>, Timestamp, Timestamp, u64);

impl Cache {
    /// In a data directory that this process has locked. Nothing is made before something is asked for; an answer is
    /// kept only while the disk has `data_free_bytes` free.
    pub fn new(data: impl Into<PathBuf>, bound_bytes: u64, data_free_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        let data = data.into();
        let shared = Shared {
            path: data.join(DIRECTORY),
            bound_bytes,
            clock,
            space: Space::new(&data, data_free_bytes),
            shelf: Mutex::new(Shelf::new(bound_bytes)),
            disk: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), tracker: TaskTracker::new() }
    }

    /// Returns once nothing reads or writes any more.
    pub async fn shutdown(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        let closed = self.shared.clone();
        // Closing its files waits for the disk.
        let closing = self.tracker.spawn_blocking(move || drop(closed.locked().take()));
        // It can only fail where the runtime ends, and closes them itself.
        let _ = closing.await;
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let shared = self.shared.clone();
        let acting = self.tracker.spawn_blocking(move || act(&shared).map_err(Unavailable::new));
        acting.await.unwrap_or_else(|_| Err(Unavailable::new("a look at the cache was cut off")))
    }
}

/// The disk or the database failed.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf<()>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Option<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open database, for a read that goes on without the lock.
    fn opened(&self) -> Result<Disk, Trouble> {
        self.open_in(&mut self.locked())
    }

    fn open_in(&self, disk: &mut Option<Disk>) -> Result<Disk, Trouble> {
        if let Some(disk) = disk {
            return Ok(disk.clone());
        }
        let opened = Disk::open(self).or_else(|error| {
            tracing::warn!(%error, "the kept answers can't be read; they are thrown away");
            std::fs::remove_dir_all(&self.path)?;
            *self.shelf() = Shelf::new(self.bound_bytes);
            Disk::open(self)
        })?;
        *disk = Some(opened.clone());
        Ok(opened)
    }

    /// Takes answers from the disk that are gone from the shelf.
    fn forget(disk: &Disk, gone: &[CacheKey]) -> Result<(), Trouble> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut batch = disk.db.batch();
        for key in gone {
            batch.remove(&disk.index, key.0);
            batch.remove(&disk.answers, key.0);
        }
        Ok(batch.commit()?)
    }
}

impl Disk {
    /// Opens the database and puts all that it holds on the shelf.
    fn open(shared: &Shared) -> Result<Self, Trouble> {
        std::fs::create_dir_all(&shared.path)?;
        let db = Database::builder(&shared.path)
            .worker_threads(WORKER_THREADS)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let disk = Self { index: db.keyspace("index", small)?, answers: db.keyspace("answers", small)?, db };
        let (mut shelf, mut gone) = (shared.shelf(), Vec::new());
        for entry in disk.index.iter() {
            let (key, value) = store::pair(entry)?;
            let Ok(name) = <[u8; 32]>::try_from(&*key) else { continue };
            let known = seal::open(&key, &value).ok().and_then(|body| serde_json::from_slice(&body).ok());
            match known {
                Some(Known(route, made_at, keep_until, bytes)) => {
                    let entry = Entry::new(route, (made_at, keep_until), (), bytes);
                    gone.extend(shelf.put_in(CacheKey(name), entry).unwrap_or_else(|| vec![CacheKey(name)]));
                }
                None => gone.push(CacheKey(name)),
            }
        }
        drop(shelf);
        Shared::forget(&disk, &gone)?;
        Ok(disk)
    }

    fn answer(&self, key: CacheKey) -> Result<Option<Bytes>, Trouble> {
        let value = self.answers.get(key.0)?;
        Ok(value.and_then(|value| seal::open(&key.0, &value.into()).ok()))
    }
}

#[async_trait]
impl port::Cache for Cache {
    async fn get(&self, key: CacheKey, now: Timestamp) -> Result<Option<Kept>, Unavailable> {
        self.on_disk(move |shared| {
            let disk = shared.opened()?;
            let Some(entry) = shared.shelf().take_out(key, now).cloned() else { return Ok(None) };
            let Some(answer) = disk.answer(key)? else {
                shared.shelf().remove(key);
                return Ok(None);
            };
            let Entry { route, made_at, keep_until, .. } = entry;
            Ok(Some(Kept { route, made_at, keep_until, answer }))
        })
        .await
    }

    fn made_at(&self, key: CacheKey, now: Timestamp) -> Option<Timestamp> {
        self.shared.shelf().peek(key, now).map(|entry| entry.made_at)
    }

    async fn put(&self, key: CacheKey, kept: Kept) -> Result<(), Unavailable> {
        self.shared.space.check(self.shared.clock.monotonic())?;
        self.on_disk(move |shared| {
            let mut locked = shared.locked();
            let disk = shared.open_in(&mut locked)?;
            let Kept { route, made_at, keep_until, answer } = kept;
            let bytes = answer.len() as u64;
            let entry = Entry::new(route.clone(), (made_at, keep_until), (), bytes);
            let Some(gone) = shared.shelf().put_in(key, entry) else { return Shared::forget(&disk, &[key]) };
            let known = serde_json::to_vec(&Known(route, made_at, keep_until, bytes))?;
            let mut batch = disk.db.batch();
            batch.insert(&disk.index, key.0, seal::seal(&key.0, &[&known]));
            batch.insert(&disk.answers, key.0, seal::seal(&key.0, &[&answer]));
            if let Err(error) = batch.commit() {
                shared.shelf().remove(key);
                return Err(error.into());
            }
            Shared::forget(&disk, &gone)
        })
        .await
    }

    async fn remove(&self, key: CacheKey) -> Result<bool, Unavailable> {
        self.on_disk(move |shared| {
            let mut locked = shared.locked();
            let disk = shared.open_in(&mut locked)?;
            let was = shared.shelf().remove(key).is_some();
            Shared::forget(&disk, &[key])?;
            Ok(was)
        })
        .await
    }

    async fn purge(&self, route: Option<&str>) -> Result<u64, Unavailable> {
        let route = route.map(str::to_owned);
        self.on_disk(move |shared| {
            let mut locked = shared.locked();
            let disk = shared.open_in(&mut locked)?;
            let gone = shared.shelf().purge(route.as_deref());
            Shared::forget(&disk, &gone)?;
            Ok(gone.len() as u64)
        })
        .await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64, Unavailable> {
        self.on_disk(move |shared| {
            let mut locked = shared.locked();
            // A cache that nobody has used yet, and that keeps nothing from before, is not made for this.
            if locked.is_none() && !shared.path.exists() {
                return Ok(0);
            }
            let disk = shared.open_in(&mut locked)?;
            let gone = shared.shelf().sweep(now, limit);
            Shared::forget(&disk, &gone)?;
            Ok(gone.len() as u64)
        })
        .await
    }

    fn stats(&self) -> CacheStats {
        self.shared.shelf().stats()
    }
}
