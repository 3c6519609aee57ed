//! Makes a small data directory that has something of everything, and a list of what it holds. One is kept in
//! `tests/fixtures` for every format that a release wrote, made by that release: the upgrade test opens it.
//!
//! ```text
//! cargo run -p tidewire-engines --example fixture -- [directory]
//! tar --sparse -C [directory] -czf format-N.tar.gz data
//! cp [directory]/holds.json format-N.json
//! ```
#![allow(clippy::unwrap_used, reason = "run by hand: it fails by panicking")]

#[path = "../tests/embedded/made.rs"]
mod made;
#[path = "../tests/embedded/picture.rs"]
mod picture;

use made::{NOW, TENANT, ending, leased, leasing, task, task_of, text};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Append, EventLog, LogKeeping, Release, Retention, TaskStore, Writer};
use tidewire_core::task::Idempotency;
use tidewire_core::{
    Durability, Ending, Entry, Failure, Kind, LogId, LogRef, Offset, Outcome, Task, TenantId, Timestamp,
};
use tidewire_engines::embedded::{Config, Engine};
use tidewire_testkit::clock::HandClock;

const OTHER: TenantId = TenantId(1);

fn event(kind: Kind, data: &str) -> Entry {
    Entry::new(NOW, kind, data.to_owned())
}

fn with_key(task: Task, key: &str) -> Task {
    Task { idempotency: Some(Idempotency { key: key.to_owned(), body_hash: 42 }), ..task }
}

fn failed() -> Ending {
    let failure = Failure::new("upstream_broken", "the answer broke off");
    Ending { state: Outcome::Failed, error: Some(failure), ..ending() }
}

fn shared_log(number: u64) -> LogRef {
    LogRef { tenant: TENANT, log: LogId::shared(NOW, u128::from(number), Durability::Durable) }
}

fn produced(log: LogRef, producer: &str, epoch: u64, sequence: u64, data: &str) -> Append {
    let writer = Writer::Producer { producer: producer.into(), epoch, sequence, rank: None };
    Append { log, writer, entries: vec![event(Kind::Data, data)] }
}

/// Tasks that have ended in each way, and one that expired with its key.
async fn ended_tasks(engine: &Engine, clock: &HandClock) {
    engine.submit(with_key(task(90), "free again")).await.unwrap();
    engine.end(leased(task(90).at().log(), 1, 0, vec![]), ending()).await.unwrap();
    clock.advance(Duration::from_hours(1));
    let keep = Retention { age: Duration::from_mins(1), bytes: u64::MAX };
    let now = Timestamp::from_millis(NOW.as_millis() + 3_600_000);
    assert_eq!(engine.expire(now, keep, 10).await.unwrap().logs, 1);

    engine.submit(with_key(task(1), "of a done task")).await.unwrap();
    engine.lease(task(1).at(), leasing()).await.unwrap();
    let log = task(1).at().log();
    let said = vec![
        event(Kind::Started, r#"{"attempt":1,"worker":"w","model":"m"}"#),
        event(Kind::Reasoning, "hm"),
        text("The sea"),
        event(Kind::ToolCall, r#"[{"index":0}]"#),
        event(Kind::Logprobs, "[]"),
        event(Kind::Retry, r#"{"attempt":1,"code":"upstream_broken","message":"","after_ms":500}"#),
        event(Kind::Rewind, r#"{"to":1}"#),
        event(Kind::Delayed, r#"{"place":12,"wait_ms":9000}"#),
    ];
    engine.append(leased(log, 1, 0, said)).await.unwrap();
    engine.end(leased(log, 2, 8, vec![text("salty 漢🙂")]), ending()).await.unwrap();

    engine.submit(task_of(OTHER, 2)).await.unwrap();
    engine.end(leased(task_of(OTHER, 2).at().log(), 1, 0, vec![text("half")]), failed()).await.unwrap();

    engine.submit(task(3)).await.unwrap();
    engine.request_stop(task(3).at()).await.unwrap();
    let stopped = Ending { state: Outcome::Stopped, ..ending() };
    engine.end(leased(task(3).at().log(), 1, 0, vec![]), stopped).await.unwrap();

    // Erased after its end, input and all.
    engine.submit(task(4)).await.unwrap();
    let log = task(4).at().log();
    engine.append(leased(log, 1, 0, vec![text("my name"), text(" is ...")])).await.unwrap();
    engine.end(leased(log, 1, 2, vec![]), ending()).await.unwrap();
    engine.erase(log).await.unwrap();
}

/// Tasks that wait, run, wait between attempts, or are asked to stop.
async fn live_tasks(engine: &Engine) {
    let mut queued = with_key(task(11), "of a queued task");
    queued.spec.metadata = Some(r#"{"page":"home"}"#.to_owned());
    engine.submit(queued).await.unwrap();
    let mut large = task(12);
    large.spec.input = "a large prompt ".repeat(5000).into();
    engine.submit(large).await.unwrap();
    engine.submit(task_of(OTHER, 13)).await.unwrap();
    engine.request_stop(task_of(OTHER, 13).at()).await.unwrap();

    engine.submit(task(14)).await.unwrap();
    engine.lease(task(14).at(), leasing()).await.unwrap();
    let log = task(14).at().log();
    engine.append(leased(log, 1, 0, vec![event(Kind::Started, "{}"), text("in the")])).await.unwrap();
    engine.append(leased(log, 1, 2, vec![text(" middle of")])).await.unwrap();

    engine.submit(task(15)).await.unwrap();
    let (_, lease) = engine.lease(task(15).at(), leasing()).await.unwrap();
    engine.append(leased(task(15).at().log(), 1, 0, vec![text("first try")])).await.unwrap();
    let not_before = Timestamp::from_millis(NOW.as_millis() + 7_200_000);
    engine.release(&lease, Release::Retry { not_before }).await.unwrap();
}

/// Logs with many writers: one that goes on, one that was trimmed, one that has ended.
async fn shared_logs(engine: &Engine) {
    let (open, trimmed, over) = (shared_log(1), shared_log(2), shared_log(3));
    for log in [open, trimmed, over] {
        engine.create(log).await.unwrap();
    }
    for sequence in 0..3 {
        engine.append(produced(open, "phone", 1, sequence, "from the phone")).await.unwrap();
        engine.append(produced(open, "laptop", 5, sequence, "from the laptop")).await.unwrap();
    }
    engine.append(produced(open, "phone", 2, 0, "a new phone")).await.unwrap();
    for sequence in 0..6 {
        engine.append(produced(trimmed, "p", 1, sequence, &format!("number {sequence}"))).await.unwrap();
    }
    engine.trim(trimmed, Offset(4), event(Kind::Snapshot, r#"{"text":"0 to 3"}"#)).await.unwrap();
    engine.append(produced(over, "p", 1, 0, "all there is")).await.unwrap();
    engine.end(produced(over, "p", 1, 1, "and the last"), ending()).await.unwrap();
}

/// Flushes all of a closed store to tables, so that the fixture has some, and not a journal alone.
fn flush(data: &Path) {
    let db = fjall::Database::builder(data.join("store")).open().unwrap();
    for name in db.list_keyspace_names() {
        let keyspace = db.keyspace(&name, fjall::KeyspaceCreateOptions::default).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
    }
}

#[tokio::main]
async fn main() {
    let directory = std::env::args().nth(1).unwrap();
    let data = Path::new(&directory).join("data");
    let clock = Arc::new(HandClock::new(1));
    let (engine, _) = Engine::open(Config::new(&data), clock.clone()).unwrap();
    ended_tasks(&engine, &clock).await;
    engine.shutdown().await;
    drop(engine);
    flush(&data);

    let (engine, _) = Engine::open(Config::new(&data), clock.clone()).unwrap();
    live_tasks(&engine).await;
    shared_logs(&engine).await;
    engine.shutdown().await;
    drop(engine);

    // Listed as the next start finds it: leases are void then.
    let (engine, recovered) = Engine::open(Config::new(&data), clock).unwrap();
    let picture = picture::picture(&engine, &[OTHER, TENANT]).await;
    let keys = json!([
        { "tenant": TENANT.0, "key": "of a done task", "task": task(1).id },
        { "tenant": TENANT.0, "key": "of a queued task", "task": task(11).id },
        { "tenant": TENANT.0, "key": "free again", "task": null },
    ]);
    let last = |log: LogRef, producer: &str, epoch: u32, sequence: u64, from: u64, to: u64| json!({ "log": log.log, "producer": producer, "epoch": epoch, "sequence": sequence, "from": from, "to": to });
    let producers = json!([
        last(shared_log(1), "phone", 2, 0, 6, 7),
        last(shared_log(1), "laptop", 5, 2, 5, 6),
        last(shared_log(2), "p", 1, 5, 5, 6),
        last(shared_log(3), "p", 1, 1, 1, 3),
    ]);
    let settled = [task(1), task_of(OTHER, 2), task(3), task(4)].map(|task| task.at());
    let holds = json!({
        "format": recovered.format,
        "recovered": {
            "logs_live": recovered.logs_live,
            "tasks_queued": recovered.tasks_queued,
            "tasks_running": recovered.tasks_running,
        },
        "picture": picture,
        "keys": keys,
        "producers": producers,
        "settled": settled,
    });
    engine.shutdown().await;
    drop(engine);
    std::fs::remove_file(data.join("LOCK")).unwrap();
    std::fs::write(Path::new(&directory).join("holds.json"), serde_json::to_vec_pretty(&holds).unwrap()).unwrap();
}
