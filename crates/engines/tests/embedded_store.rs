//! What the embedded engine does with its directory: who may open it, what it finds there, and what it does
//! when a commit fails or a value is damaged.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use given::{behind, close, damage, open, open_with};
use made::{NOW, TENANT, USAGE, ending, leased, leasing, read_all, task, text};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidewire_core::port::{AppendError, Cursor, EventLog, LeaseError, Ledger, ReadError, TaskStore, Unavailable};
use tidewire_core::{Fence, Offset, Outcome, State, Timestamp};
use tidewire_engines::embedded::{Config, Engine, Mode, OpenError};
use tidewire_testkit::clock::HandClock;

fn why_not(directory: &tempfile::TempDir) -> OpenError {
    Engine::open(Config::new(directory.path()), Arc::new(HandClock::new(1))).map(drop).unwrap_err()
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_the_pid_of_its_holder() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let refused = why_not(&directory);
    assert!(matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    close(engine).await;
    close(open(&directory).0).await;
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_with_both_numbers() {
    let directory = given::empty();
    behind(&directory, "meta", |meta| {
        let body = 4u32.to_le_bytes();
        let sum = crc32fast::hash(&[&b"format"[..], &[1], &body].concat());
        meta.insert("format", [&[1][..], &sum.to_le_bytes(), &body].concat()).unwrap();
    });
    let refused = why_not(&directory);
    assert!(matches!(refused, OpenError::NewerFormat { found: 4, known: 3 }), "{refused}");
}

#[tokio::test]
async fn a_damaged_event_is_told_and_what_is_before_it_is_served() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    let epoch = engine.create(log).await.unwrap();
    for number in 0..4 {
        let data = format!("a text long enough that its middle is data: {number}");
        engine.append(leased(log, 1, number, vec![text(data)])).await.unwrap();
    }
    close(engine).await;
    damage(&directory, "events", 2);

    let (engine, _) = open(&directory);
    let page = engine.read(log, Cursor { epoch, next: Offset(0) }, usize::MAX).await.unwrap();
    assert_eq!(page.events.len(), 2, "what is whole is served");
    let damaged = engine.read(log, Cursor { epoch, next: Offset(2) }, usize::MAX).await.unwrap_err();
    assert_eq!(damaged, ReadError::Damaged { offset: Offset(2) });
    let page = engine.read(log, Cursor { epoch, next: Offset(3) }, usize::MAX).await.unwrap();
    assert_eq!(page.events.len(), 1, "what is behind the damage is whole too");
    close(engine).await;
    damage(&directory, "events", 3);

    // Where the last record is damaged the tail is not known, so nothing can be added.
    let (engine, _) = open(&directory);
    let refused = engine.append(leased(log, 1, 4, vec![text("more")])).await.unwrap_err();
    let AppendError::Unavailable(Unavailable { reason }) = refused else { panic!("{refused}") };
    assert!(reason.contains("checksum"), "{reason}");
    assert_eq!(engine.state(log).await, Err(ReadError::Damaged { offset: Offset(3) }));
    let page = engine.read(log, Cursor { epoch, next: Offset(0) }, usize::MAX).await.unwrap();
    assert_eq!(page.events.len(), 2);
}

#[tokio::test]
async fn a_missing_record_is_damage_and_not_a_gap() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    let epoch = engine.create(log).await.unwrap();
    for number in 0..3 {
        engine.append(leased(log, 1, number, vec![text("x")])).await.unwrap();
    }
    close(engine).await;
    behind(&directory, "events", |events| {
        let key = events.iter().nth(1).unwrap().key().unwrap();
        events.remove(key).unwrap();
    });
    let (engine, _) = open(&directory);
    let page = engine.read(log, Cursor { epoch, next: Offset(0) }, usize::MAX).await.unwrap();
    assert_eq!(page.events.len(), 1);
    let damaged = engine.read(log, Cursor { epoch, next: Offset(1) }, usize::MAX).await.unwrap_err();
    assert_eq!(damaged, ReadError::Damaged { offset: Offset(1) });
}

#[tokio::test]
async fn a_damaged_task_is_named_at_the_open_and_never_served() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    engine.submit(task(2)).await.unwrap();
    close(engine).await;
    damage(&directory, "live", 0);
    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.tasks_queued, recovered.damaged.len()), (1, 1), "{recovered:?}");
    assert!(recovered.damaged[0].contains(&task(1).id.to_string()), "{recovered:?}");
    let refused = engine.get(task(1).at()).await.unwrap_err();
    assert!(refused.reason.contains("checksum"), "{refused}");
    assert!(matches!(engine.lease(task(1).at(), leasing()).await, Err(LeaseError::Unavailable(_))));
    assert_eq!(engine.get(task(2).at()).await.unwrap(), Some(task(2)));
}

#[tokio::test]
async fn a_damaged_input_is_told() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    close(engine).await;
    damage(&directory, "inputs", 0);
    let (engine, _) = open(&directory);
    let refused = engine.get(task(1).at()).await.unwrap_err();
    assert!(refused.reason.contains("checksum"), "{refused}");
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_acknowledged_and_nothing_of_it_is_seen() {
    let directory = given::empty();
    let fails = Arc::new(AtomicBool::new(false));
    let hook = fails.clone();
    let (engine, _) = open_with(Config {
        before_commit: Some(Arc::new(move || {
            if hook.load(Ordering::Relaxed) { Err(io::Error::other("no space left on device")) } else { Ok(()) }
        })),
        ..Config::new(directory.path())
    });
    let log = task(1).at().log();
    engine.submit(task(1)).await.unwrap();
    engine.append(leased(log, 1, 0, vec![text("kept")])).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();

    fails.store(true, Ordering::Relaxed);
    let append = engine.append(leased(log, 1, 1, vec![text("lost")]));
    let (appended, submitted) = tokio::join!(append, engine.submit(task(2)));
    let Err(AppendError::Unavailable(Unavailable { reason })) = appended else { panic!("{appended:?}") };
    assert!(reason.contains("no space left"), "{reason}");
    assert!(submitted.is_err());
    // A disk that works again does not help: what it holds is not known.
    fails.store(false, Ordering::Relaxed);
    assert!(engine.append(leased(log, 1, 1, vec![text("lost")])).await.is_err());
    assert!(engine.create(log).await.is_err());
    assert!(engine.request_stop(task(1).at()).await.is_err());
    assert!(engine.health().unwrap_err().reason.contains("no space left"));

    assert_eq!(read_all(&engine, log, 100).await.len(), 1, "what was committed can still be read");
    assert_eq!(engine.get(task(2).at()).await.unwrap(), None);
    assert_eq!(watch.now().tail, Offset(1), "nobody was woken for what was lost");
    engine.shutdown().await;
    assert!(watch.grown(Offset(1)).await.over);
    drop(engine);

    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.tasks_queued, recovered.damaged.len()), (1, 0));
    engine.append(leased(log, 1, 1, vec![text("again")])).await.unwrap();
    assert_eq!(read_all(&engine, log, 100).await.len(), 2);
}

#[tokio::test]
async fn leases_of_the_last_run_are_void_and_their_fences_are_not_given_again() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    engine.submit(task(2)).await.unwrap();
    let (_, lease) = engine.lease(task(1).at(), leasing()).await.unwrap();
    // As if the record of a later lease had got lost, but not its append.
    engine.append(leased(task(1).at().log(), 5, 0, vec![text("x")])).await.unwrap();
    close(engine).await;

    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.tasks_queued, recovered.tasks_running, recovered.logs_live), (1, 1, 2));
    let (held, again) = engine.lease(task(1).at(), leasing()).await.unwrap();
    assert!(again.fence > Fence(5) && again.fence > lease.fence, "{again:?}");
    assert_eq!((again.attempt, held.spec.input), (2, task(1).spec.input));
}

#[tokio::test]
async fn a_task_whose_log_has_ended_is_finished_and_settled_at_the_open() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    close(engine).await;
    let unfinished = behind(&directory, "live", |live| live.iter().next().unwrap().into_inner().unwrap());
    let (engine, _) = open(&directory);
    engine.end(leased(task(1).at().log(), 1, 0, vec![]), ending()).await.unwrap();
    close(engine).await;
    // As an engine leaves it whose logs and tasks lie in different stores.
    let (key, value) = unfinished;
    behind(&directory, "live", |live| live.insert(key.clone(), value).unwrap());
    behind(&directory, "tasks", |tasks| tasks.remove(key.clone()).unwrap());
    behind(&directory, "settlements", |settlements| settlements.remove(key.clone()).unwrap());
    behind(&directory, "totals", |totals| totals.remove(TENANT.0.to_be_bytes()).unwrap());

    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.tasks_finished, recovered.tasks_queued), (1, 0));
    let found = engine.get(task(1).at()).await.unwrap().unwrap();
    assert_eq!((found.state, found.ended), (State::Done, Some((NOW, ending()))));
    let totals = engine.totals(TENANT).await.unwrap();
    assert_eq!((totals.tasks, totals.usage), (1, USAGE));
    engine.finish(task(1).at(), Timestamp::default(), made::ending()).await.unwrap();
    assert_eq!(ending().state, Outcome::Done);
}

#[tokio::test]
async fn what_was_sent_before_a_shutdown_is_kept_and_what_comes_after_is_refused() {
    let directory = given::empty();
    let (engine, _) = open_with(Config { mode: Mode::Fsync, ..Config::new(directory.path()) });
    let log = task(1).at().log();
    engine.create(log).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();
    let append = engine.append(leased(log, 1, 0, vec![text("x")]));
    let (appended, ()) = tokio::join!(append, engine.shutdown());
    appended.unwrap();
    assert!(watch.grown(Offset(9)).await.over);
    let refused = engine.append(leased(log, 1, 1, vec![text("y")])).await.unwrap_err();
    assert!(refused.to_string().contains("shut down"), "{refused}");
    assert_eq!(engine.health(), Ok(()));
    drop(engine);
    assert_eq!(read_all(&open(&directory).0, log, 100).await.len(), 1);
}
