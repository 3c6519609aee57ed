//! Two engines as one keep the promises of each, and mix nothing up.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Append, Clock, EventLog, Filter, Leasing, Ledger, LogKeeping, Release, Renewal, Retention, TaskStore, Writer,
};
use tidewire_core::{
    Durability, Ending, Fence, LogId, LogRef, Offset, OnDisconnect, Outcome, Spec, Task, TaskId, TenantId, Timestamp,
    Usage, WorkerId,
};
use tidewire_engines::by_durability::ByDurability;
use tidewire_engines::memory::{Bounds, Engine};
use tidewire_testkit::clock::HandClock;
use tidewire_testkit::{Harness, event_log, log_keeping, task_store};

type Both = ByDurability<Engine, Engine>;

/// Two memory engines as one, and the clock of both.
fn both() -> (Both, Arc<HandClock>) {
    let clock = Arc::new(HandClock::new(1));
    let engine = || Arc::new(Engine::new(Bounds::default(), clock.clone()));
    (ByDurability::new(engine(), engine(), clock.clone()), clock)
}

struct Two(Durability);

impl Harness for Two {
    type Engine = Both;

    async fn open(&self) -> Both {
        both().0
    }

    fn durability(&self) -> Durability {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_keep_what_event_log_promises() {
    event_log::check(&Two(Durability::Durable)).await;
    event_log::check(&Two(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_keep_what_task_store_promises() {
    task_store::check(&Two(Durability::Durable)).await;
    task_store::check(&Two(Durability::Transient)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_durable_one_keeps_what_log_keeping_promises() {
    log_keeping::check(&Two(Durability::Durable)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_transient_one_keeps_it_too_but_is_not_in_the_feed() {
    let failed = log_keeping::failures(&Two(Durability::Transient)).await;
    assert!(!failed.is_empty());
    let other: Vec<_> = failed.iter().filter(|failure| !failure.check.contains("feed")).collect();
    assert!(other.is_empty(), "{other:?}");
}

/// Tasks that are durable and transient by turns, or in runs, the newest last.
async fn submitted(engine: &Both, clock: &HandClock, durabilities: &[Durability]) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for durability in durabilities {
        clock.advance(Duration::from_millis(1));
        let spec = Spec {
            model: "small".to_owned(),
            capability: Arc::from("gpu"),
            input: bytes::Bytes::new(),
            on_disconnect: OnDisconnect::Stop,
            deadline: clock.now(),
            max_attempts: 1,
            ..Spec::default()
        };
        let task = Task::new(clock.task_id(*durability), TenantId::DEFAULT, spec, clock.now());
        ids.push(engine.submit(task).await.unwrap().task.id);
    }
    ids
}

fn done(usage: Usage) -> Ending {
    Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage,
        deployment: None,
        attempts: 0,
        cache: None,
    }
}

fn mixed(pattern: &str) -> Vec<Durability> {
    let durability = |letter| if letter == 'd' { Durability::Durable } else { Durability::Transient };
    pattern.chars().map(durability).collect()
}

#[tokio::test]
async fn a_list_of_both_skips_nothing_and_tells_nothing_twice() {
    for pattern in ["", "d", "t", "dtdtdtdt", "ddddtttt", "ttttdddd", "dddddddt", "tddddttddt"] {
        let (engine, clock) = both();
        let mut expected = submitted(&engine, &clock, &mixed(pattern)).await;
        expected.reverse();
        for limit in [1, 2, 3, 5, 100] {
            let mut found: Vec<TaskId> = Vec::new();
            let mut filter = Filter { limit, ..Filter::default() };
            loop {
                let page = TaskStore::list(&engine, &filter).await.unwrap();
                assert!(page.tasks.len() <= limit);
                found.extend(page.tasks.iter().map(|task| task.id));
                match page.next {
                    Some(next) => filter.before = Some(next),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{pattern} in pages of {limit}");
        }
    }
}

#[tokio::test]
async fn renewals_of_both_are_answered_in_turn() {
    let (engine, clock) = both();
    let mut leases = Vec::new();
    let mut expected = Vec::new();
    let until = clock.now().plus(Duration::from_secs(9));
    for (number, id) in submitted(&engine, &clock, &mixed("dtdtttddt")).await.into_iter().enumerate() {
        let task = tidewire_core::TaskRef { tenant: TenantId::DEFAULT, task: id };
        let leasing = Leasing { worker: WorkerId(Arc::from("worker")), now: clock.now(), until, seize: false };
        let (_, lease) = engine.lease(task, leasing).await.unwrap();
        if number % 3 == 0 {
            engine.release(&lease, Release::HandBack).await.unwrap();
            expected.push(Renewal::Lost);
        } else {
            expected.push(Renewal::Held { stop_requested: false });
        }
        leases.push(lease);
    }
    assert_eq!(engine.renew(&leases, until).await.unwrap(), expected);
}

#[tokio::test]
async fn logs_of_both_are_listed_together_and_expire_within_one_limit() {
    let (engine, clock) = both();
    let mut all: Vec<LogId> = Vec::new();
    for durability in mixed("dtdttddt") {
        clock.advance(Duration::from_millis(1));
        let log = clock.task_id(durability).log();
        let at = LogRef { tenant: TenantId::DEFAULT, log };
        engine.create(at).await.unwrap();
        let writer = Writer::Leased { fence: Fence(1), expect: Offset(0) };
        let append = Append { log: at, writer, entries: Vec::new() };
        engine.end(append, done(Usage::default())).await.unwrap();
        all.push(log);
    }
    let mut found: Vec<LogId> = Vec::new();
    loop {
        let page = LogKeeping::list(&engine, TenantId::DEFAULT, found.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, all);
    let keep = Retention { age: Duration::from_secs(1), bytes: u64::MAX };
    let later = clock.now().plus(Duration::from_mins(1));
    assert_eq!(engine.expire(Timestamp::default(), keep, 100).await.unwrap().logs, 0);
    for expected in [5, 3, 0] {
        assert_eq!(engine.expire(later, keep, 5).await.unwrap().logs, expected);
    }
}

#[tokio::test]
async fn what_a_transient_task_used_is_settled_by_the_durable_engine() {
    let clock = Arc::new(HandClock::new(1));
    let engine = || Arc::new(Engine::new(Bounds::default(), clock.clone()));
    let (durable, transient) = (engine(), engine());
    let both = ByDurability::new(durable.clone(), transient, clock.clone());
    let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
    for durability in mixed("td") {
        let log = LogRef { tenant: TenantId::DEFAULT, log: clock.task_id(durability).log() };
        both.create(log).await.unwrap();
        let writer = Writer::Leased { fence: Fence(1), expect: Offset(0) };
        both.end(Append { log, writer, entries: Vec::new() }, done(usage)).await.unwrap();
    }
    let totals = durable.totals(TenantId::DEFAULT).await.unwrap();
    assert_eq!((totals.tasks, totals.usage), (2, usage.plus(usage)));
}
