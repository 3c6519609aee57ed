//! What the embedded engine does with much: many writers, long logs, large inputs, little memory, and logs
//! that expire.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use futures_util::future::join_all;
use given::{close, count, open, open_with};
use made::{NOW, TENANT, ending, leased, read_all, task, task_of, text};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewire_core::port::{EventLog, FeedPosition, Filter, LogKeeping, ReadError, Retention, TaskStore, UpdateError};
use tidewire_core::task::Idempotency;
use tidewire_core::{Kind, Offset, State, TaskId, TenantId, Timestamp};
use tidewire_engines::embedded::{Config, Mode};

const A_DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_arrive_together_share_a_commit() {
    let directory = given::empty();
    let timings = Arc::new(Mutex::new(Vec::new()));
    let heard = timings.clone();
    let on_commit = Arc::new(move |timing| heard.lock().unwrap().push(timing));
    let config = Config { mode: Mode::Fsync, on_commit: Some(on_commit), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    let submits = (0..500).map(|number| engine.submit(task(number)));
    for submitted in join_all(submits).await {
        assert!(submitted.unwrap().fresh);
    }
    // The last commit is counted after its answers are out.
    engine.shutdown().await;
    let stats = engine.stats();
    assert_eq!(stats.changes(), 500);
    assert!(stats.commits() < 50 && stats.syncs() == stats.commits(), "{stats:?}");
    let told: usize =
        timings.lock().unwrap().iter().map(|timing: &tidewire_engines::embedded::CommitTiming| timing.changes).sum();
    assert_eq!(told, 500);
}

#[tokio::test]
async fn appends_of_one_log_that_share_a_commit_become_one_record_and_stay_in_order() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    engine.create(log).await.unwrap();
    // Up to 30 futures are polled in order, so the appends are sent in order.
    let append = |number| engine.append(leased(log, 1, number, vec![text(number.to_string())]));
    let thirty = |first| join_all((first..first + 30).map(append));
    for appended in join_all((0..10).map(|tens| thirty(tens * 30))).await.concat() {
        appended.unwrap();
    }
    let said: Vec<_> = read_all(&engine, log, 100).await.into_iter().map(|event| event.data).collect();
    assert!(said.iter().enumerate().all(|(number, data)| data == number.to_string().as_bytes()));
    close(engine).await;
    assert!(count(&directory, "events") < 30);
}

#[tokio::test]
async fn with_little_memory_every_event_is_still_read() {
    let directory = given::empty();
    let hot_bytes = 20_000;
    let (engine, _) = open_with(Config { mode: Mode::Write, hot_bytes, ..Config::new(directory.path()) });
    let logs: Vec<_> = (0..20).map(|number| task(number).at().log()).collect();
    for &log in &logs {
        engine.create(log).await.unwrap();
        for number in 0..10 {
            engine.append(leased(log, 1, number, vec![text(vec![b'x'; 1000])])).await.unwrap();
        }
    }
    assert!(engine.stats().hot_bytes() <= hot_bytes as u64, "{:?}", engine.stats());
    for &log in &logs {
        for page_bytes in [0, 2500, usize::MAX] {
            assert_eq!(read_all(&engine, log, page_bytes).await.len(), 10);
        }
    }
}

#[tokio::test]
async fn an_append_of_many_or_large_events_is_cut_into_records_and_read_whole() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    engine.create(log).await.unwrap();
    let many: Vec<_> = (0..10_000).map(|number| text(number.to_string())).collect();
    engine.append(leased(log, 1, 0, many)).await.unwrap();
    engine.append(leased(log, 1, 10_000, vec![text(vec![b'x'; 200_000]); 5])).await.unwrap();
    let hot = read_all(&engine, log, 1000).await;
    assert_eq!(hot.len(), 10_005);
    close(engine).await;
    assert!(count(&directory, "events") >= 5);
    let (engine, _) = open(&directory);
    assert_eq!(read_all(&engine, log, 1000).await, hot, "from disk as from memory");
}

#[tokio::test]
async fn long_logs_are_erased_trimmed_and_expired_in_steps() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let log = task(1).at().log();
    engine.submit(task(1)).await.unwrap();
    let length = 20_000;
    for number in 0..length {
        engine.append(leased(log, 1, number, vec![text("a secret")])).await.unwrap();
    }
    engine.erase(log).await.unwrap();
    let events = read_all(&engine, log, 4096).await;
    assert_eq!(events.len() as u64, length);
    assert!(events.iter().all(|event| event.kind == Kind::Erased && event.data.is_empty()));
    assert!(engine.get(task(1).at()).await.unwrap().unwrap().spec.input.is_empty());

    engine.trim(log, Offset(length - 1), text("what it amounted to")).await.unwrap();
    assert_eq!(read_all(&engine, log, 4096).await.len(), 2);
    engine.append(leased(log, 1, length, vec![text("x"); 3])).await.unwrap();
    for number in length + 3..length * 2 {
        engine.append(leased(log, 1, number, vec![text("x")])).await.unwrap();
    }
    engine.end(leased(log, 1, length * 2, vec![]), ending()).await.unwrap();
    let later = NOW.plus(A_DAY * 2);
    let expired = engine.expire(later, Retention { age: A_DAY, bytes: u64::MAX }, 10).await.unwrap();
    assert_eq!(expired.logs, 1);
    assert_eq!(engine.state(log).await, Err(ReadError::Unknown));
    close(engine).await;
    for keyspace in ["events", "logs", "live", "tasks", "inputs", "settlements", "ended"] {
        assert_eq!(count(&directory, keyspace), 0, "{keyspace} still holds something of it");
    }
    assert_eq!(count(&directory, "totals"), 1, "the ledger forgets no usage");
}

#[tokio::test]
async fn the_oldest_ended_logs_go_when_all_hold_too_much() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let mut end_bytes = 0;
    for number in 0..5 {
        let mut with_key = task(number);
        with_key.idempotency = Some(Idempotency { key: format!("key {number}"), body_hash: number });
        engine.submit(with_key).await.unwrap();
        let log = task(number).at().log();
        engine.end(leased(log, 1, 0, vec![text(vec![b'x'; 1000])]), ending()).await.unwrap();
        end_bytes = ending().to_json().len() as u64;
    }
    engine.submit(task(9)).await.unwrap();
    let keep = Retention { age: A_DAY, bytes: 3 * (1000 + end_bytes) };
    let one = engine.expire(NOW, keep, 1).await.unwrap();
    assert_eq!((one.logs, one.bytes), (1, 1000 + end_bytes));
    let rest = engine.expire(NOW, keep, 100).await.unwrap();
    assert_eq!(rest.logs, 1);
    assert_eq!(engine.expire(NOW, keep, 100).await.unwrap().logs, 0);
    let left = LogKeeping::list(&engine, TENANT, None, 100).await.unwrap();
    assert_eq!(left, [2, 3, 4, 9].map(|number| task(number).id.log()));
    // Its key is free again with the task.
    let mut again = task(20);
    again.idempotency = Some(Idempotency { key: "key 0".to_owned(), body_hash: 77 });
    assert!(engine.submit(again).await.unwrap().fresh);
    assert_eq!(engine.request_stop(task(0).at()).await.unwrap_err(), UpdateError::Unknown);
}

#[tokio::test]
async fn a_large_input_survives_and_is_not_kept_twice_for_one_key() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let large = |number: u64| {
        let mut task = task(number);
        task.spec.input = vec![b'x'; 200_000].into();
        task.idempotency = Some(Idempotency { key: "one".to_owned(), body_hash: 1 });
        task
    };
    assert!(engine.submit(large(1)).await.unwrap().fresh);
    let again = engine.submit(large(2)).await.unwrap();
    assert_eq!((again.fresh, again.task), (false, large(1)));
    close(engine).await;
    assert_eq!(count(&directory, "inputs"), 1);
    let (engine, _) = open(&directory);
    assert_eq!(engine.get(task(1).at()).await.unwrap(), Some(large(1)));
}

#[tokio::test]
async fn the_feed_keeps_its_newest_entries() {
    let directory = given::empty();
    let feed_entries = 1500;
    let (engine, _) = open_with(Config { mode: Mode::Write, feed_entries, ..Config::new(directory.path()) });
    let log = task(1).at().log();
    engine.create(log).await.unwrap();
    for number in 0..5000 {
        engine.append(leased(log, 1, number, vec![text("x")])).await.unwrap();
    }
    let left = engine.feed(FeedPosition(0), usize::MAX).await.unwrap();
    assert!((1500..3000).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().to, Offset(5000));
    assert!(left.is_sorted_by(|one, next| one.position < next.position && one.to == next.from));
    close(engine).await;
    let (engine, _) = open(&directory);
    engine.append(leased(log, 1, 5000, vec![text("x")])).await.unwrap();
    let new = engine.feed(left.last().unwrap().position, 10).await.unwrap();
    assert_eq!(new.len(), 1, "positions go on after a restart");
}

#[tokio::test]
async fn a_list_merges_live_and_ended_tasks_of_all_tenants_newest_first() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let tenant = |number: u64| TenantId(u32::try_from(number % 3).unwrap());
    for number in 0..60 {
        let task = task_of(tenant(number), number);
        let log = task.at().log();
        engine.submit(task).await.unwrap();
        if number % 2 == 0 {
            engine.end(leased(log, 1, 0, vec![]), ending()).await.unwrap();
        }
    }
    let all_pages = async |filter: Filter| {
        let (mut ids, mut filter) = (Vec::<TaskId>::new(), filter);
        loop {
            let page = TaskStore::list(&engine, &filter).await.unwrap();
            ids.extend(page.tasks.iter().map(|task| task.id));
            match page.next {
                Some(next) => filter.before = Some(next),
                None => return ids,
            }
        }
    };
    let expected = |wanted: fn(u64) -> bool| -> Vec<TaskId> {
        (0..60).rev().filter(|&number| wanted(number)).map(|number| task_of(tenant(number), number).id).collect()
    };
    let filter = Filter { limit: 7, ..Filter::default() };
    assert_eq!(all_pages(filter.clone()).await, expected(|_| true));
    assert_eq!(
        all_pages(Filter { tenant: Some(TenantId(1)), ..filter.clone() }).await,
        expected(|number| number % 3 == 1)
    );
    let ended = Filter { states: vec![State::Done], ..filter.clone() };
    assert_eq!(all_pages(ended).await, expected(|number| number % 2 == 0));
    let queued = Filter { states: vec![State::Queued], ..filter.clone() };
    assert_eq!(all_pages(queued).await, expected(|number| number % 2 == 1));
    let lapsed = Filter { lapsed_before: Some(Timestamp::from_millis(u64::MAX)), ..filter };
    assert!(all_pages(lapsed).await.is_empty());
}
