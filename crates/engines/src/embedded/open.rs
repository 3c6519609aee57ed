//! Opening the store: whose it is, whether this version can read it, and what the last run left in it.

use super::committer::Committer;
use super::condition::Failure;
use super::counts::Counts;
use super::desk::Desk;
use super::lock::Lock;
use super::record::Reader;
use super::store::{Store, Trouble, pair, parse_task};
use super::{Config, Engine, Opened, Shared, format, head, key, live, names, prepare, seal, stored_book};
use bytes::Bytes;
use fjall::{PersistMode, Readable, Snapshot};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Clock, Unavailable};
use tidewire_core::{Ending, Kind, State, Task, TaskRef, Timestamp};

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it. Stop that one, or choose another directory.
    #[error("the data directory {} is in use{}; stop that process or choose another directory", path.display(), held_by(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that has it, where that is known.
        pid: Option<u32>,
    },
    /// A newer version of tidewire wrote it. Use that version.
    #[error(
        "the store has format {found}, and this version of tidewire knows formats up to {known}; use the version that \
         wrote it or a newer one, or restore a backup that this version made into another directory"
    )]
    NewerFormat {
        /// The store's format.
        found: u32,
        /// The newest one that this version knows.
        known: u32,
    },
    /// A part of it without which nothing can be served is damaged. Restore it from a backup.
    #[error("the store is damaged: {what}; restore it from a backup")]
    Damaged {
        /// Which part.
        what: String,
    },
    /// A file or directory can't be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// The store can't be read or written.
    #[error("the store in {} can't be opened: {reason}", path.display())]
    Store {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn held_by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// What an open found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The store's format.
    pub format: u32,
    /// The format that it had before this open, where that was an older one.
    pub upgraded_from: Option<u32>,
    /// Logs that have not ended.
    pub logs_live: u64,
    /// Tasks that wait for a worker.
    pub tasks_queued: usize,
    /// Tasks whose worker went with the last run: their leases have lapsed.
    pub tasks_running: usize,
    /// Tasks whose log had ended while their record had not: finished now.
    pub tasks_finished: usize,
    /// Reservations of transient tasks that went with the last run, settled as estimates, and of durable ones that ended.
    pub reservations_settled: usize,
    /// Reservations of tasks that never came to be.
    pub reservations_released: usize,
    /// Records that fail their checksum, for people. They are not served.
    pub damaged: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// Opens the store, and makes it where there is none. Blocks while it reads the journal; call it before
    /// anything is served.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<(Self, Recovered), OpenError> {
        let began = clock.monotonic();
        let path = config.path.clone();
        std::fs::create_dir_all(&path).map_err(|error| OpenError::Io { path: path.clone(), error })?;
        let lock = Lock::acquire(&path)?;
        let Loaded { store, format, counts, found } = load(&path, config.cache_bytes)?;
        let troubled = |trouble: Trouble| OpenError::Store { path: path.clone(), reason: trouble.to_string() };
        let mut found_book = stored_book::find(&store, &store.snapshot()).map_err(troubled)?;
        let mut damaged = found.damaged;
        damaged.append(&mut found_book.damaged);
        let mut book = Desk::book();
        book.restore(found_book.accounts, found_book.held, found_book.balance);
        let mut recovered = Recovered { format: format::CURRENT, damaged, ..Recovered::default() };
        if let format::Found::Older(older) = format {
            recovered.upgraded_from = Some(older);
        }
        let store = Arc::new(store);
        let shared = Arc::new(Shared::new(store.clone(), Desk::new(book), lock, config, clock));
        shared.live.show(found.entries.into_iter());
        let (queue, ops) = Shared::queue();
        let opened = Arc::new(Opened { store, shared: shared.clone() });
        let mut committer = Committer::new(opened, ops, counts, Vec::new());
        let failed = |failure: Failure| {
            let Unavailable { reason } = failure.into();
            OpenError::Store { path: path.clone(), reason }
        };
        for ended in found.ended {
            committer.finish_ended(ended).map_err(failed)?;
            recovered.tasks_finished += 1;
        }
        let orphans = committer.settle_orphans().map_err(failed)?;
        (recovered.reservations_settled, recovered.reservations_released) = (orphans.settled, orphans.released);
        recovered.logs_live = counts.logs_live;
        (recovered.tasks_queued, recovered.tasks_running) = shared.live.count();
        let engine =
            Self::start(shared, committer, queue).map_err(|error| OpenError::Io { path: path.clone(), error })?;
        recovered.took = engine.shared.clock.monotonic().saturating_sub(began);
        Ok((engine, recovered))
    }
}

/// A task whose log has ended, and how.
pub(super) type EndedTask = (TaskRef, Timestamp, Ending);

/// A store that is open, and what is needed to go on with it.
pub(super) struct Loaded {
    pub(super) store: Store,
    pub(super) format: format::Found,
    pub(super) counts: Counts,
    pub(super) found: Found,
}

/// Opens the store in a data directory that this process has locked.
pub(super) fn load(path: &Path, cache_bytes: u64) -> Result<Loaded, OpenError> {
    let failed = |error: fjall::Error| OpenError::Store { path: path.to_owned(), reason: error.to_string() };
    prepare::prepare(path)?;
    let (db, meta) = Store::open_meta(path, cache_bytes).map_err(failed)?;
    let unsynced = |error| OpenError::Io { path: path.to_owned(), error };
    // Before the first commit too: a journal with commits of keyspaces that are gone is taken for damage.
    names::sync(path).map_err(unsynced)?;
    let format = format::settle(&db, &meta).map_err(|error| error.into_open_error(failed))?;
    // What a killed process had written and not synced is about to be shown to readers.
    db.persist(PersistMode::SyncAll).map_err(failed)?;
    let store = Store::open(db, meta).map_err(failed)?;
    names::sync(path).map_err(unsynced)?;
    let troubled = |trouble: Trouble| match trouble {
        Trouble::Damaged { what, .. } => OpenError::Damaged { what },
        Trouble::Disk(error) => failed(error),
    };
    let at = store.snapshot();
    let counts = Counts::read(&store, &at).map_err(troubled)?;
    let found = find_live(&store, &at).map_err(troubled)?;
    Ok(Loaded { store, format, counts, found })
}

/// What the last run left.
#[derive(Default)]
pub(super) struct Found {
    pub(super) entries: Vec<live::Entry>,
    pub(super) ended: Vec<EndedTask>,
    pub(super) damaged: Vec<String>,
}

/// Every task that has not ended, its lease void: the worker that held it went with the last run.
fn find_live(store: &Store, at: &Snapshot) -> Result<Found, Trouble> {
    let mut found = Found::default();
    for record in at.iter(&store.live) {
        let (key, value) = pair(record)?;
        let task = match parse_live(&key, &value) {
            Ok(task) => task,
            Err(damaged) => {
                found.damaged.push(damaged.to_string());
                continue;
            }
        };
        match revive(store, at, task) {
            Ok((entry, ending)) => {
                found.ended.extend(ending.map(|(at, ending)| (entry.task.at(), at, ending)));
                found.entries.push(entry);
            }
            Err(Trouble::Disk(error)) => return Err(error.into()),
            Err(damaged @ Trouble::Damaged { .. }) => found.damaged.push(damaged.to_string()),
        }
    }
    Ok(found)
}

fn parse_live(key: &[u8], value: &Bytes) -> Result<Task, Trouble> {
    let task = key::parse_task(key).ok_or_else(|| Trouble::damaged("the key of a task"))?;
    let damaged = |_| Trouble::damaged(format!("the record of {}", task.task));
    parse_task(&seal::open(key, value).map_err(damaged)?, task)
}

/// A live task as this run takes it up, and how its log ended, if it did.
fn revive(store: &Store, at: &Snapshot, mut task: Task) -> Result<(live::Entry, Option<(Timestamp, Ending)>), Trouble> {
    if task.state == State::Running {
        task.leased_until = None;
    }
    let mut ending = None;
    if let Some(stand) = head::stored(store, at, task.at().log())? {
        // The journal keeps a lease before an append that carries its fence. The greater of both holds even
        // if that should ever fail.
        task.fence = task.fence.max(stand.state.fence);
        if stand.state.ended {
            ending = Some(last_word(store, at, &task)?);
        }
    }
    Ok((live::Entry { task, input: None }, ending))
}

/// The `end` event of a task's log.
pub(super) fn last_word(store: &Store, at: &Snapshot, task: &Task) -> Result<(Timestamp, Ending), Trouble> {
    let log = task.at().log();
    let damaged = || Trouble::damaged(format!("the end event of {}", log.log));
    let last = at.range(&store.events, super::store::all_events(log)).next_back().ok_or_else(damaged)?;
    let (key, value) = pair(last)?;
    let from = key::parse_events_from(&key).ok_or_else(damaged)?;
    let mut record = Reader::checked(log, from, &value).map_err(|_| damaged())?;
    let mut last = None;
    while let Some(event) = record.next().map_err(|_| damaged())? {
        last = Some(event);
    }
    let event = last.filter(|event| event.kind == Kind::End).ok_or_else(damaged)?;
    Ok((event.at, serde_json::from_slice(&event.data).map_err(|_| damaged())?))
}
