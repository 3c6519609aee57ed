//! The memory engine keeps the promises of its ports, and its own bounds.
#![cfg(feature = "memory")]

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Append, AppendError, Clock, Cursor, Directory, EventLog, Expect, LogKeeping, PutError, ReadError, RecordName,
    Retention, Shelf, TaskStore, Writer,
};
use tidewire_core::task::Idempotency;
use tidewire_core::{
    Durability, Ending, Entry, Fence, Kind, LogId, LogRef, Offset, OnDisconnect, Outcome, Spec, Task, TaskRef,
    TenantId, Usage,
};
use tidewire_engines::memory::{Bounds, Bus, Dispatch, Engine};
use tidewire_testkit::clock::HandClock;
use tidewire_testkit::{Harness, bus, commit_point, directory, dispatch, event_log, ledger, log_keeping, task_store};

struct Memory(Durability);

impl Harness for Memory {
    type Engine = Engine;

    async fn open(&self) -> Engine {
        Engine::new(Bounds::default(), Arc::new(HandClock::new(1)))
    }

    fn durability(&self) -> Durability {
        self.0
    }
}

struct MemoryDispatch;

impl Harness for MemoryDispatch {
    type Engine = Dispatch;

    async fn open(&self) -> Dispatch {
        Dispatch::new()
    }
}

struct MemoryBus;

impl Harness for MemoryBus {
    type Engine = Bus;

    async fn open(&self) -> Bus {
        Bus::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_what_event_log_promises() {
    event_log::check(&Memory(Durability::Transient)).await;
    event_log::check(&Memory(Durability::Durable)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_what_log_keeping_promises() {
    log_keeping::check(&Memory(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_what_task_store_promises() {
    task_store::check(&Memory(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_what_directory_promises() {
    directory::check(&Memory(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_what_ledger_promises() {
    ledger::check(&Memory(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_is_its_commit_point() {
    commit_point::check(&Memory(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn its_dispatch_keeps_what_dispatch_promises() {
    dispatch::check(&MemoryDispatch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn its_bus_keeps_what_bus_promises() {
    bus::check(&MemoryBus).await;
}

const EVERYTHING: Retention = Retention { age: Duration::from_secs(1), bytes: u64::MAX };

fn engine(bytes: usize) -> (Engine, Arc<HandClock>) {
    let clock = Arc::new(HandClock::new(1));
    (Engine::new(Bounds { bytes }, clock.clone()), clock)
}

fn task(clock: &HandClock, key: Option<&str>) -> Task {
    let spec = Spec {
        model: "small".to_owned(),
        capability: Arc::from("gpu"),
        input: vec![b' '; 1000].into(),
        on_disconnect: OnDisconnect::Stop,
        deadline: clock.now().plus(Duration::from_mins(1)),
        max_attempts: 1,
        ..Spec::default()
    };
    let mut task = Task::new(clock.task_id(Durability::Transient), TenantId::DEFAULT, spec, clock.now());
    task.idempotency = key.map(|key| Idempotency { key: key.to_owned(), body_hash: 1 });
    task
}

fn append(log: LogRef, expect: u64, data: &str) -> Append {
    let entries = vec![Entry::new(tidewire_core::Timestamp::default(), Kind::Text, data.to_owned())];
    Append { log, writer: Writer::Leased { fence: Fence(1), expect: Offset(expect) }, entries }
}

fn done() -> Ending {
    Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: Usage::default(),
        deployment: None,
        attempts: 1,
        cache: None,
    }
}

#[tokio::test]
async fn an_expired_log_takes_its_task_and_its_memory_along() {
    let (engine, clock) = engine(1 << 20);
    let mut tasks: Vec<TaskRef> = Vec::new();
    for number in 0..20 {
        let task = engine.submit(task(&clock, Some(&format!("key {number}")))).await.unwrap().task.at();
        engine.create(task.log()).await.unwrap();
        for place in 0..10 {
            engine.append(append(task.log(), place, "a piece of text")).await.unwrap();
        }
        engine.end(append(task.log(), 10, "and the last"), done()).await.unwrap();
        tasks.push(task);
    }
    assert!(engine.used_bytes() > 20 * 1000);
    clock.advance(Duration::from_secs(2));
    assert_eq!(engine.expire(clock.now(), EVERYTHING, 100).await.unwrap().logs, 20);
    assert_eq!(engine.used_bytes(), 0, "all that was charged is given back");
    for gone in tasks {
        assert_eq!(TaskStore::get(&engine, gone).await.unwrap(), None);
        assert_eq!(engine.state(gone.log()).await, Err(ReadError::Unknown));
    }
    assert!(engine.submit(task(&clock, Some("key 3"))).await.unwrap().fresh, "its key is free again");
}

#[tokio::test]
async fn calls_without_end_do_not_fill_the_memory_with_what_has_ended() {
    let bound = 100_000;
    let (engine, clock) = engine(bound);
    let mut last = None;
    for _ in 0..1000 {
        let task = engine.submit(task(&clock, None)).await.unwrap().task.at();
        engine.create(task.log()).await.unwrap();
        engine.end(append(task.log(), 0, "a short answer"), done()).await.unwrap();
        last = Some(task);
    }
    assert!(engine.used_bytes() <= bound / 2 + 4096, "{} bytes", engine.used_bytes());
    assert!(engine.state(last.unwrap().log()).await.unwrap().ended, "the newest is still there");
}

#[tokio::test]
async fn a_task_whose_log_is_elsewhere_goes_too() {
    let (engine, clock) = engine(1 << 20);
    let task = engine.submit(task(&clock, None)).await.unwrap().task.at();
    engine.finish(task, clock.now(), done()).await.unwrap();
    clock.advance(Duration::from_secs(2));
    engine.expire(clock.now(), EVERYTHING, 100).await.unwrap();
    assert_eq!(TaskStore::get(&engine, task).await.unwrap(), None);
    assert_eq!(engine.used_bytes(), 0);
}

#[tokio::test]
async fn a_full_engine_refuses_and_takes_again_what_was_freed() {
    let (engine, clock) = engine(10_000);
    let kept = engine.submit(task(&clock, None)).await.unwrap().task.at();
    engine.create(kept.log()).await.unwrap();
    let mut tail = 0;
    let refused = loop {
        match engine.append(append(kept.log(), tail, &"x".repeat(500))).await {
            Ok(appended) => tail = appended.to.0,
            Err(refused) => break refused,
        }
        assert!(engine.used_bytes() <= engine.bound_bytes());
    };
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    assert!(engine.submit(task(&clock, None)).await.is_err());
    assert_eq!(engine.state(kept.log()).await.unwrap().tail, Offset(tail), "a refused append adds nothing");
    let end = Append { entries: Vec::new(), ..append(kept.log(), tail, "") };
    engine.end(end, done()).await.expect("a task can always end");
    clock.advance(Duration::from_secs(2));
    engine.expire(clock.now(), EVERYTHING, 100).await.unwrap();
    engine.submit(task(&clock, None)).await.expect("there is room again");
}

#[tokio::test]
async fn records_take_room_and_removed_ones_give_it_back() {
    let (engine, _) = engine(10_000);
    let name =
        |number: usize| RecordName { tenant: TenantId::DEFAULT, shelf: Shelf::Files, name: format!("file {number}") };
    let mut count = 0;
    let refused = loop {
        match engine.put(name(count), vec![b'x'; 500].into(), Expect::Absent).await {
            Ok(_) => count += 1,
            Err(refused) => break refused,
        }
        assert!(engine.used_bytes() <= engine.bound_bytes());
    };
    assert!(matches!(refused, PutError::Unavailable(_)), "{refused}");
    assert!(count > 5);
    for number in 0..count {
        engine.put(name(number), Bytes::new(), Expect::Anything).await.expect("a smaller value fits");
        assert_eq!(Directory::remove(&engine, &name(number), Expect::Anything).await, Ok(true));
    }
    assert_eq!(engine.used_bytes(), 0, "all that was charged is given back");
}

#[tokio::test]
async fn a_removed_log_gives_its_memory_back() {
    let (engine, clock) = engine(1 << 20);
    let log = LogRef {
        tenant: TenantId::DEFAULT,
        log: LogId::shared(clock.now(), u128::from(clock.random()), Durability::Transient),
    };
    for ended in [false, true] {
        engine.create(log).await.unwrap();
        let entries = vec![Entry::new(clock.now(), Kind::Data, "x".repeat(500))];
        let append = Append { log, writer: Writer::Open { rank: None }, entries };
        engine.append(append.clone()).await.unwrap();
        if ended {
            engine.end(append, done()).await.unwrap();
        }
        assert!(engine.used_bytes() > 500);
        LogKeeping::remove(&engine, log).await.unwrap();
        assert_eq!(engine.used_bytes(), 0);
    }
}

#[tokio::test]
async fn trimming_and_erasing_give_memory_back() {
    let (engine, clock) = engine(1 << 20);
    let log = LogRef { tenant: TenantId::DEFAULT, log: clock.task_id(Durability::Transient).log() };
    engine.create(log).await.unwrap();
    let empty = engine.used_bytes();
    for place in 0..100 {
        engine.append(append(log, place, &"x".repeat(200))).await.unwrap();
    }
    let full = engine.used_bytes();
    engine.trim(log, Offset(60), Entry::new(clock.now(), Kind::Snapshot, "{}")).await.unwrap();
    let trimmed = engine.used_bytes();
    assert!(trimmed <= full - 59 * 200, "{trimmed} of {full} bytes are left");
    engine.end(append(log, 100, "last"), done()).await.unwrap();
    let ended = engine.used_bytes();
    engine.erase(log).await.unwrap();
    assert!(engine.used_bytes() <= ended - 40 * 200);
    clock.advance(Duration::from_secs(2));
    assert_eq!(engine.expire(clock.now(), EVERYTHING, 1).await.unwrap().logs, 1);
    assert!(empty > 0 && engine.used_bytes() == 0);
}

#[tokio::test]
async fn logs_have_epochs_of_their_own_and_never_zero() {
    let (engine, clock) = engine(1 << 20);
    let mut epochs = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let id = LogId::shared(clock.now(), u128::from(clock.random()), Durability::Transient);
        let epoch = engine.create(LogRef { tenant: TenantId::DEFAULT, log: id }).await.unwrap();
        assert_ne!(epoch.0, 0);
        epochs.insert(epoch);
    }
    assert!(epochs.len() > 90);
}

#[tokio::test]
async fn an_event_keeps_no_larger_buffer_alive() {
    let (engine, clock) = engine(1 << 20);
    let log = LogRef { tenant: TenantId::DEFAULT, log: clock.task_id(Durability::Transient).log() };
    let epoch = engine.create(log).await.unwrap();
    let arrived = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
    let mut first = append(log, 0, "");
    first.entries[0].data = arrived.slice(10..15);
    engine.append(first).await.unwrap();
    assert!(arrived.is_unique(), "five bytes hold 64 KiB");
    let page = engine.read(log, Cursor { epoch, next: Offset(0) }, 100).await.unwrap();
    assert_eq!(page.events[0].data, "xxxxx");
}
