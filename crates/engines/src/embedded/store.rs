//! The store on disk: its keyspaces, and every stored value read with its checksum checked.

use super::{key, seal, varint};
use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, config};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tidewire_core::port::{ReadError, Totals, Unavailable};
use tidewire_core::{LogRef, Offset, Task, TaskId, TaskRef, TenantId, Timestamp, Usage};

/// Where the store lies in the data directory.
pub(super) const DIRECTORY: &str = "store";
/// With more than one, the first of them spins while the others compact, so that it is free for a flush
/// (fjall 3.1, `worker_tick`): that took 11 % of all CPU time in a run of `examples/commits`.
const WORKER_THREADS: usize = 1;
/// Journals hold what is not flushed yet. Beyond this, keyspaces that seldom grow are flushed to free them:
/// it bounds the disk that they take and how long an open replays them (about 1 s per 200 MB).
const MAX_JOURNAL_BYTES: u64 = 256 * 1024 * 1024;
/// Events are flushed in files of this size; half of fjall's default, so that two fit the cache of a small machine.
const EVENTS_MEMTABLE_BYTES: u64 = 32 * 1024 * 1024;
/// For all other keyspaces: their values are small.
const SMALL_MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// Catching up reads many events in a row: larger blocks mean fewer reads.
const EVENTS_BLOCK_BYTES: u32 = 16 * 1024;

/// Memory for what is not flushed yet: all memtables in use at their full size, and as much again on the way.
/// The store itself sets no bound, because it asks the thread that compacts to close a full memtable.
const MAX_UNFLUSHED_BYTES: u64 = 256 * 1024 * 1024;
const FLUSH_POLL: Duration = Duration::from_millis(1);

/// What is stored can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// A value fails its checksum.
    #[error("{what} fails its checksum: it was damaged on disk")]
    Damaged {
        /// Which value.
        what: String,
        /// The first event that it holds, where it holds events.
        offset: Offset,
    },
    /// The disk or the store failed.
    #[error("the store failed: {0}")]
    Disk(#[from] fjall::Error),
}

impl Trouble {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), offset: Offset(0) }
    }
}

impl From<Trouble> for Unavailable {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble)
    }
}

impl From<Trouble> for ReadError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged { offset, .. } => Self::Damaged { offset },
            Trouble::Disk(_) => Self::Unavailable(trouble.into()),
        }
    }
}

/// The database and its keyspaces.
pub(super) struct Store {
    pub(super) db: Database,
    /// (log, first offset) → a record of events.
    pub(super) events: Keyspace,
    /// log → its head, as it was when something other than the tail changed.
    pub(super) logs: Keyspace,
    /// (log, producer) → its last append; (log, a byte that no name has) → the log's last rank.
    pub(super) producers: Keyspace,
    /// (tenant, shelf, name) → a named record; (tenant, shelf) → how many there are.
    pub(super) directory: Keyspace,
    /// task → the record of one that has not ended.
    pub(super) live: Keyspace,
    /// task → the record of one that has.
    pub(super) tasks: Keyspace,
    /// task → its input.
    pub(super) inputs: Keyspace,
    /// (tenant, key) → the task that has the key.
    pub(super) idempotency: Keyspace,
    /// task → what it used.
    pub(super) settlements: Keyspace,
    /// tenant → the sum of its settlements.
    pub(super) totals: Keyspace,
    /// task → what it holds.
    pub(super) reservations: Keyspace,
    /// account → how it stands.
    pub(super) accounts: Keyspace,
    /// (day, tenant, payer, route, deployment) → the sum of what was used.
    pub(super) usage: Keyspace,
    /// (when, log) → how many bytes of data an ended log of a task holds, or one that is being removed.
    pub(super) ended: Keyspace,
    /// first position → which logs grew in a commit.
    pub(super) feed: Keyspace,
    /// The format, counts, and the ledger's balance.
    pub(super) meta: Keyspace,
    /// What readers see: the store as of the last commit that was confirmed as it had to be.
    shown: RwLock<Snapshot>,
}

impl Store {
    /// Opens the database and only the keyspace that says which format the others have.
    pub(super) fn open_meta(directory: &Path, cache_bytes: u64) -> fjall::Result<(Database, Keyspace)> {
        let db = Database::builder(directory.join(DIRECTORY))
            .worker_threads(WORKER_THREADS)
            .cache_size(cache_bytes)
            .max_journaling_size(MAX_JOURNAL_BYTES)
            // Only the committer says when to sync.
            .manual_journal_persist(true)
            .open()?;
        let meta = db.keyspace("meta", small)?;
        Ok((db, meta))
    }

    pub(super) fn open(db: Database, meta: Keyspace) -> fjall::Result<Self> {
        Ok(Self {
            shown: RwLock::new(db.snapshot()),
            events: db.keyspace("events", events)?,
            logs: db.keyspace("logs", small)?,
            producers: db.keyspace("producers", small)?,
            directory: db.keyspace("directory", small)?,
            live: db.keyspace("live", small)?,
            tasks: db.keyspace("tasks", small)?,
            inputs: db.keyspace("inputs", small)?,
            idempotency: db.keyspace("idempotency", small)?,
            settlements: db.keyspace("settlements", small)?,
            totals: db.keyspace("totals", small)?,
            reservations: db.keyspace("reservations", small)?,
            accounts: db.keyspace("accounts", small)?,
            usage: db.keyspace("usage", small)?,
            ended: db.keyspace("ended", small)?,
            feed: db.keyspace("feed", small)?,
            meta,
            db,
        })
    }

    /// Every keyspace, by its name: what a backup and a check go through.
    pub(super) fn keyspaces(&self) -> [(&'static str, &Keyspace); 16] {
        [
            ("events", &self.events),
            ("logs", &self.logs),
            ("producers", &self.producers),
            ("live", &self.live),
            ("tasks", &self.tasks),
            ("inputs", &self.inputs),
            ("idempotency", &self.idempotency),
            ("settlements", &self.settlements),
            ("totals", &self.totals),
            ("reservations", &self.reservations),
            ("accounts", &self.accounts),
            ("usage", &self.usage),
            ("ended", &self.ended),
            ("feed", &self.feed),
            ("directory", &self.directory),
            ("meta", &self.meta),
        ]
    }

    /// The store as readers may see it. The database's own snapshot can be ahead of it, by a commit that waits
    /// for its sync.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows to readers all that is committed.
    pub(super) fn show(&self) {
        let now = self.db.snapshot();
        let before = std::mem::replace(&mut *self.shown.write().unwrap_or_else(PoisonError::into_inner), now);
        drop(before);
    }

    /// Waits while too much is not flushed: then the disk takes less than the writers bring.
    pub(super) fn let_flush(&self) -> fjall::Result<()> {
        while self.db.write_buffer_size() > MAX_UNFLUSHED_BYTES {
            for keyspace in [&self.events, &self.inputs] {
                if keyspace.sealed_memtable_count() == 0 {
                    keyspace.rotate_memtable()?;
                }
            }
            // Says whether the threads that flush still live.
            self.db.persist(PersistMode::Buffer)?;
            // On the machine's clock, not the engine's: it waits for the disk.
            std::thread::sleep(FLUSH_POLL);
        }
        Ok(())
    }

    /// The body of a value, `what` being its name for people.
    pub(super) fn body(
        at: &Snapshot,
        keyspace: &Keyspace,
        key: &[u8],
        what: impl FnOnce() -> String,
    ) -> Result<Option<Bytes>, Trouble> {
        match at.get(keyspace, key)? {
            None => Ok(None),
            Some(value) => match seal::open(key, &value.into()) {
                Ok(body) => Ok(Some(body)),
                Err(seal::Damaged) => Err(Trouble::damaged(what())),
            },
        }
    }

    /// A task's record, without its input.
    pub(super) fn task(&self, at: &Snapshot, task: TaskRef) -> Result<Option<Task>, Trouble> {
        let key = key::task(task);
        for keyspace in [&self.tasks, &self.live] {
            let what = || format!("the record of {}", task.task);
            if let Some(body) = Self::body(at, keyspace, &key, what)? {
                return parse_task(&body, task).map(Some);
            }
        }
        Ok(None)
    }

    /// A task's input; empty where there is none.
    pub(super) fn input(&self, at: &Snapshot, task: TaskRef) -> Result<Bytes, Trouble> {
        let what = || format!("the input of {}", task.task);
        Ok(Self::body(at, &self.inputs, &key::task(task), what)?.unwrap_or_default())
    }

    /// Which task has an idempotency key, and the hash of its body.
    pub(super) fn holder(&self, tenant: TenantId, key: &str) -> Result<Option<(TaskId, u64)>, Trouble> {
        let what = || format!("the idempotency key {key:?}");
        let stored_key = key::idempotency(tenant, key);
        let Some(body) = Self::body(&self.db.snapshot(), &self.idempotency, &stored_key, what)? else {
            return Ok(None);
        };
        let parts = body.split_first_chunk::<16>().and_then(|(id, hash)| Some((*id, hash.try_into().ok()?)));
        let (id, hash) = parts.ok_or_else(|| Trouble::damaged(what()))?;
        Ok(Some((TaskId::from_bytes(id), u64::from_le_bytes(hash))))
    }

    pub(super) fn totals(&self, at: &Snapshot, tenant: TenantId) -> Result<Totals, Trouble> {
        let what = || format!("the totals of tenant {}", tenant.0);
        let Some(body) = Self::body(at, &self.totals, &key::tenant(tenant), what)? else {
            return Ok(Totals::default());
        };
        let (tasks, usage): (u64, Usage) = serde_json::from_slice(&body).map_err(|_| Trouble::damaged(what()))?;
        Ok(Totals { tasks, usage })
    }

    /// The entry of the index of ended logs under `key`.
    pub(super) fn ended_bytes(key: &[u8], value: &Bytes) -> Result<u64, Trouble> {
        let body = seal::open(key, value).ok();
        body.and_then(|body| varint::take(&mut &body[..]))
            .ok_or_else(|| Trouble::damaged("an entry of the index `ended`"))
    }
}

/// A task's record from its stored body.
pub(super) fn parse_task(body: &[u8], task: TaskRef) -> Result<Task, Trouble> {
    serde_json::from_slice(body).map_err(|error| Trouble::damaged(format!("the record of {} ({error})", task.task)))
}

/// A task's record as it is stored.
pub(super) fn seal_task(task: &Task) -> Result<Bytes, Unavailable> {
    let body = serde_json::to_vec(task).map_err(Unavailable::new)?;
    Ok(seal::seal(&key::task(task.at()), &[&body]))
}

/// A settlement as it is stored.
pub(super) fn seal_settlement(task: TaskRef, at: Timestamp, usage: Usage) -> Result<Bytes, Unavailable> {
    let body = serde_json::to_vec(&(at, usage)).map_err(Unavailable::new)?;
    Ok(seal::seal(&key::task(task), &[&body]))
}

/// A key and its value, the value unchecked.
pub(super) fn pair(guard: Guard) -> Result<(Bytes, Bytes), Trouble> {
    let (key, value) = guard.into_inner()?;
    Ok((key.into(), value.into()))
}

/// The keys of all records of a log.
pub(super) fn all_events(log: LogRef) -> std::ops::RangeInclusive<[u8; key::EVENTS_BYTES]> {
    key::events(log, Offset(0))..=key::events(log, Offset(u64::MAX))
}

fn small() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(SMALL_MEMTABLE_BYTES).manual_journal_persist(true)
}

fn events() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(EVENTS_MEMTABLE_BYTES)
        .manual_journal_persist(true)
        .data_block_size_policy(config::BlockSizePolicy::all(EVENTS_BLOCK_BYTES))
        // Events are only read by range, and a Bloom filter serves single keys.
        .filter_policy(config::FilterPolicy::disabled())
}
