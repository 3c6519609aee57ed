//! What the embedded engine does when the disk refuses a write, does not confirm one, or is nearly full.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use given::{close, open, open_with};
use made::{NOW, TENANT, ending, leased, leasing, read_all, task, text};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tidewire_core::port::{
    Append, AppendError, Directory, EventLog, Expect, Ledger, PutError, RecordName, Renewal, Shelf, SubmitError,
    TaskStore, Writer,
};
use tidewire_core::{Durability, Fence, LogId, LogRef, Offset, State};
use tidewire_engines::embedded::{BeforeCommit, Config, Engine, Mode};

/// Tells stuck from slow; no test waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

/// A disk that can be told to fail.
#[derive(Clone, Default)]
struct Disk(Arc<AtomicU8>);

impl Disk {
    const WELL: u8 = 0;
    const FULL: u8 = 1;
    const BROKEN: u8 = 2;

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn hook(&self) -> BeforeCommit {
        let disk = self.clone();
        Arc::new(move || match disk.0.load(Ordering::SeqCst) {
            Self::FULL => Err(Error::from(ErrorKind::StorageFull)),
            Self::BROKEN => Err(Error::other("Input/output error")),
            _ => Ok(()),
        })
    }
}

/// Waits until changes are taken again.
async fn recovered(engine: &Engine) {
    let well = async {
        while engine.health().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, well).await.unwrap();
}

#[tokio::test]
async fn after_a_full_disk_the_engine_goes_on_by_itself_with_all_that_was_acknowledged() {
    let directory = given::empty();
    let disk = Disk::default();
    let config = Config { before_commit: Some(disk.hook()), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    let log = task(1).at().log();
    engine.submit(task(1)).await.unwrap();
    let (_, lease) = engine.lease(task(1).at(), leasing()).await.unwrap();
    engine.append(leased(log, 1, 0, vec![text("kept")])).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();

    disk.set(Disk::FULL);
    let append = engine.append(leased(log, 1, 1, vec![text("refused")]));
    let (appended, submitted) = tokio::join!(append, engine.submit(task(2)));
    assert!(appended.is_err() && submitted.is_err());
    let reason = engine.health().unwrap_err().reason;
    assert!(reason.contains("free some space") && reason.contains("by itself"), "{reason}");
    assert!(engine.submit(task(3)).await.is_err(), "all later ones are refused too");
    assert_eq!(read_all(&engine, log, 100).await.len(), 1, "what is there can be read");
    assert_eq!(watch.now().tail, Offset(1), "nobody is shown what was refused");

    disk.set(Disk::WELL);
    recovered(&engine).await;
    assert_eq!(engine.failures_and_recoveries(), (1, 1));
    assert_eq!(read_all(&engine, log, 100).await.len(), 1);
    assert!(!watch.now().over, "who follows goes on following");
    // The worker lost its lease with the store, as after a restart, and no lease has its fence again.
    let held = TaskStore::get(&engine, task(1).at()).await.unwrap().unwrap();
    assert_eq!((held.state, held.leased_until, held.attempts), (State::Running, None, 1));
    let (_, again) = engine.lease(task(1).at(), leasing()).await.unwrap();
    assert_eq!((again.fence, again.attempt), (Fence(2), 2));
    let renewals = engine.renew(&[lease, again], NOW).await.unwrap();
    assert_eq!(renewals, [Renewal::Lost, Renewal::Held { stop_requested: false }]);
    engine.append(leased(log, 2, 1, vec![text("on")])).await.unwrap();
    assert_eq!(watch.grown(Offset(1)).await.tail, Offset(2));
    engine.end(leased(log, 2, 2, vec![]), ending()).await.unwrap();
    assert_eq!(engine.totals(TENANT).await.unwrap().tasks, 1);
    engine.submit(task(4)).await.unwrap();
    close(engine).await;

    let (engine, found) = open(&directory);
    assert_eq!((found.tasks_queued, found.tasks_running, found.damaged.len()), (1, 0, 0));
    assert_eq!(read_all(&engine, log, 100).await.len(), 3);
}

#[tokio::test]
async fn a_lease_that_had_not_reached_the_disk_gives_its_fence_to_nobody_else() {
    let directory = given::empty();
    let disk = Disk::default();
    let (engine, _) = open_with(Config { before_commit: Some(disk.hook()), ..Config::new(directory.path()) });
    engine.submit(task(1)).await.unwrap();
    disk.set(Disk::FULL);
    // A lease is given before its record is written.
    let (_, lease) = engine.lease(task(1).at(), leasing()).await.unwrap();
    let failed = async {
        while engine.failures_and_recoveries().0 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.unwrap();
    disk.set(Disk::WELL);
    recovered(&engine).await;
    let (_, other) = engine.lease(task(1).at(), leasing()).await.unwrap();
    assert!(other.fence > lease.fence, "{lease:?}, {other:?}");
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_taken_until_the_process_is_started_again() {
    let directory = given::empty();
    let disk = Disk::default();
    let config = Config { before_sync: Some(disk.hook()), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    let log = task(1).at().log();
    engine.submit(task(1)).await.unwrap();
    for (state, number) in [(Disk::FULL, 2), (Disk::WELL, 3)] {
        // Even where the sync says that the disk is full: the kernel may have dropped what it could not write.
        disk.set(state);
        assert!(engine.submit(task(number)).await.is_err());
        assert!(engine.append(leased(log, 1, 0, vec![text("x")])).await.is_err());
        let reason = engine.health().unwrap_err().reason;
        assert!(reason.contains("look at the disk, then start the server again"), "{reason}");
    }
    // It is in the store by now, and must not be seen: the disk has not confirmed it.
    assert_eq!(TaskStore::get(&engine, task(2).at()).await.unwrap(), None);
    assert!(engine.state(task(2).at().log()).await.is_err());
    assert_eq!(engine.failures_and_recoveries(), (1, 0));
    close(engine).await;
    let (engine, found) = open(&directory);
    assert!(found.tasks_queued >= 1);
    close(engine).await;
}

#[tokio::test]
async fn a_disk_that_stays_full_is_tried_on_and_a_shutdown_is_not_held_up() {
    let directory = given::empty();
    let disk = Disk::default();
    let (engine, _) = open_with(Config { before_commit: Some(disk.hook()), ..Config::new(directory.path()) });
    disk.set(Disk::FULL);
    assert!(engine.submit(task(1)).await.is_err());
    // The store is open again at once, and the next commit meets the same disk.
    let tried_on = async {
        while engine.failures_and_recoveries().1 < 3 {
            let _ = engine.submit(task(1)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried_on).await.unwrap();
    let _ = engine.submit(task(1)).await;
    tokio::time::timeout(PATIENCE, engine.shutdown()).await.unwrap();
    drop(engine);
    assert_eq!(open(&directory).1.tasks_queued, 0);
}

#[tokio::test]
async fn twenty_reopenings_in_a_row_lose_nothing_and_leave_no_thread_behind() {
    let directory = given::empty();
    let disk = Disk::default();
    let config = Config { mode: Mode::Write, before_commit: Some(disk.hook()), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    let log = task(1).at().log();
    engine.submit(task(1)).await.unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..20 {
        disk.set(Disk::FULL);
        assert!(engine.append(leased(log, 1, round, vec![text("refused")])).await.is_err());
        disk.set(Disk::WELL);
        recovered(&engine).await;
        engine.append(leased(log, 1, round, vec![text("kept")])).await.unwrap();
        assert_eq!(engine.failures_and_recoveries(), (round + 1, round + 1));
        if round == 5 {
            before = threads();
        }
    }
    assert!(threads() <= before + 3, "{before} threads after six reopenings, {} after twenty", threads());
    assert_eq!(read_all(&engine, log, 100).await.len(), 20);
    close(engine).await;
    assert_eq!(read_all(&open(&directory).0, log, 100).await.len(), 20);
}

#[tokio::test]
async fn new_tasks_are_refused_while_the_disk_has_less_free_than_it_should() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    let mut known = task(1);
    known.idempotency = Some(tidewire_core::task::Idempotency { key: "k".to_owned(), body_hash: 1 });
    engine.submit(known.clone()).await.unwrap();
    close(engine).await;

    let (engine, _) = open_with(Config { data_free_bytes: u64::MAX, ..Config::new(directory.path()) });
    let reason = engine.health().unwrap_err().reason;
    assert!(reason.contains("data_free_bytes"), "{reason}");
    let mut large = task(2);
    large.spec.input = vec![b'x'; 100_000].into();
    for refused in [large, task(3)] {
        assert!(matches!(engine.submit(refused).await, Err(SubmitError::Unavailable(_))));
    }
    let shared = LogRef { log: LogId::shared(NOW, 1, Durability::Durable), ..log };
    engine.create(shared).await.unwrap();
    let said = Append { log: shared, writer: Writer::Open { rank: None }, entries: vec![text("x")] };
    assert!(matches!(engine.append(said).await, Err(AppendError::Unavailable(_))), "a shared log waits");
    let name = RecordName { tenant: log.tenant, shelf: Shelf::Files, name: "new".to_owned() };
    let put = engine.put(name, vec![1].into(), Expect::Absent).await;
    assert!(matches!(put, Err(PutError::Unavailable(_))), "a new record waits");
    assert!(!engine.submit(known).await.unwrap().fresh, "a task that is known is answered for");
    engine.lease(task(1).at(), leasing()).await.unwrap();
    engine.append(leased(log, 1, 0, vec![text("running tasks go on")])).await.unwrap();
    engine.end(leased(log, 1, 1, vec![]), ending()).await.unwrap();
    assert_eq!(engine.failures_and_recoveries(), (0, 0));
    close(engine).await;
    assert_eq!(given::count(&directory, "inputs"), 1, "nothing is stored of what is refused");
}
