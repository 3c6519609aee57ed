//! Stores that earlier versions wrote: opened with all they had, and from then on of this version's format.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;
#[path = "embedded/picture.rs"]
mod picture;

use given::{close, open};
use made::{NOW, USAGE, task};
use picture::{lacks, picture};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tidewire_core::port::{Append, Appended, EventLog, Ledger, Settlement, SubmitError, TaskStore, Writer};
use tidewire_core::task::Idempotency;
use tidewire_core::{LogRef, Offset, TaskRef, TenantId};
use tidewire_engines::embedded::Engine;

/// The formats of which a store is kept here.
const KEPT: [u64; 1] = [1];

/// A store as a version of that time left it, and what it holds.
fn kept(format: u64) -> (tempfile::TempDir, Value) {
    let fixtures = Path::new("tests/fixtures");
    let directory = given::bare();
    let archive = fixtures.join(format!("format-{format}.tar.gz"));
    let unpacked = Command::new("tar")
        .args(["--strip-components=1", "-xzf"])
        .arg(archive)
        .arg("-C")
        .arg(directory.path())
        .status();
    assert!(unpacked.unwrap().success(), "the fixture can be unpacked");
    let holds = std::fs::read(fixtures.join(format!("format-{format}.json"))).unwrap();
    (directory, serde_json::from_slice(&holds).unwrap())
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The same append again is answered with its place: the producer's place is known.
async fn demand_producers(engine: &Engine, holds: &Value) {
    for known in holds["producers"].as_array().unwrap() {
        let log = LogRef { tenant: made::TENANT, log: read(&known["log"]) };
        let writer = Writer::Producer {
            producer: known["producer"].as_str().unwrap().into(),
            epoch: read(&known["epoch"]),
            sequence: read(&known["sequence"]),
            rank: None,
        };
        let again = engine.append(Append { log, writer, entries: vec![made::text("again")] }).await.unwrap();
        let (from, to) = (Offset(read(&known["from"])), Offset(read(&known["to"])));
        assert_eq!(again, Appended { from, to, repeats: Some(read(&known["sequence"])) }, "{known}");
    }
}

/// A key with its own body gives its task, with another body is refused, and is free where its task expired.
async fn demand_keys(engine: &Engine, holds: &Value) {
    for (number, known) in holds["keys"].as_array().unwrap().iter().enumerate() {
        let key = known["key"].as_str().unwrap().to_owned();
        let asked = |body_hash| {
            let mut asked = task(1000 + number as u64);
            asked.idempotency = Some(Idempotency { key: key.clone(), body_hash });
            asked
        };
        if known["task"].is_null() {
            assert!(engine.submit(asked(42)).await.unwrap().fresh, "{known}");
            continue;
        }
        let submitted = engine.submit(asked(42)).await.unwrap();
        assert_eq!((submitted.fresh, submitted.task.id), (false, read(&known["task"])), "{known}");
        assert!(matches!(engine.submit(asked(43)).await, Err(SubmitError::KeyConflict { .. })), "{known}");
    }
}

#[tokio::test]
async fn a_store_of_the_previous_format_opens_with_all_it_had() {
    for format in KEPT {
        let (directory, holds) = kept(format);
        let (engine, recovered) = open(&directory);
        assert_eq!(recovered.upgraded_from.map(u64::from), Some(format));
        assert_eq!((recovered.damaged.len(), recovered.tasks_finished), (0, 0), "{recovered:?}");
        let found = serde_json::json!({
            "logs_live": recovered.logs_live,
            "tasks_queued": recovered.tasks_queued,
            "tasks_running": recovered.tasks_running,
        });
        assert_eq!(found, holds["recovered"]);
        let found = picture(&engine, &[TenantId(1), made::TENANT]).await;
        assert_eq!(lacks(&found, &holds["picture"], "picture"), None);
        demand_producers(&engine, &holds).await;
        demand_keys(&engine, &holds).await;
        for task in holds["settled"].as_array().unwrap() {
            let task: TaskRef = read(task);
            let again = engine.settle(Settlement { task, at: NOW, usage: USAGE, deployment: None }).await.unwrap();
            assert!(!again, "{task:?} is settled a second time");
        }
        close(engine).await;

        let (engine, recovered) = open(&directory);
        assert_eq!(recovered.upgraded_from, None, "it was upgraded once");
        close(engine).await;
    }
}

#[tokio::test]
async fn a_store_from_before_there_were_reservations_opens_with_an_empty_book() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    engine.end(made::leased(task(1).at().log(), 1, 0, Vec::new()), made::ending()).await.unwrap();
    close(engine).await;
    // Format 2 had all but these, and said so.
    let db = fjall::Database::builder(directory.path().join("store")).open().unwrap();
    let keyspace = |name| db.keyspace(name, fjall::KeyspaceCreateOptions::default).unwrap();
    for name in ["reservations", "accounts", "usage"] {
        db.delete_keyspace(keyspace(name)).unwrap();
    }
    let meta = keyspace("meta");
    meta.remove("balance").unwrap();
    let sum = crc32fast::hash(&[&b"format"[..], &[1], &2u32.to_le_bytes()].concat());
    meta.insert("format", [&[1][..], &sum.to_le_bytes(), &2u32.to_le_bytes()].concat()).unwrap();
    drop((meta, db));
    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.upgraded_from, recovered.damaged.len()), (Some(2), 0));
    assert_eq!(engine.balance(), tidewire_core::port::Balance::default());
    assert_eq!(engine.totals(made::TENANT).await.unwrap().tasks, 1, "what was used is known");
    close(engine).await;
}
