//! `check` finds what is planted, names it, and finds nothing in a store that is well.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use given::{behind, close, copied, damage, open};
use made::{NOW, TENANT, ending, leased, leasing, task, text};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tidewire_core::port::{
    Account, Amounts, Append, Directory, EventLog, Expect, Ledger, Limits, LogKeeping, RecordName, Reservation,
    Retention, Shelf, TaskStore, Writer,
};
use tidewire_core::task::Idempotency;
use tidewire_core::{Durability, Entry, Kind, LogId, LogRef, Money, Offset, Payer, Timestamp};
use tidewire_engines::embedded::{OpenError, Report, Severity, check, info};

/// A store with something of everything: 1 and 2 have ended, 3 waits, 4 runs; a shared log, trimmed; named records.
async fn full() -> TempDir {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    for number in 1..=5 {
        let accounts = [(Account::Tenant(TENANT), Limits { cost_per_day: Some(Money(1_000)), ..Limits::default() })];
        let reservation = Reservation {
            task: task(number).at(),
            at: NOW,
            payer: Payer::default(),
            route: "small".into(),
            amounts: Amounts { requests: 1, input_tokens: 20, output_tokens: 20, cost: Money(100) },
            accounts: accounts.into(),
        };
        engine.reserve(reservation).await.unwrap();
        let mut asked = task(number);
        asked.idempotency = Some(Idempotency { key: format!("key {number}"), body_hash: number });
        engine.submit(asked).await.unwrap();
    }
    for number in [1, 2, 5] {
        let log = task(number).at().log();
        engine.append(leased(log, 1, 0, vec![text("one"), text("two")])).await.unwrap();
        engine.append(leased(log, 1, 2, vec![text("three")])).await.unwrap();
        engine.end(leased(log, 1, 3, vec![text("four")]), ending()).await.unwrap();
    }
    engine.erase(task(2).at().log()).await.unwrap();
    // The fifth expires: with its record, input, key and settlement, but not out of the sums.
    engine.lease(task(4).at(), leasing()).await.unwrap();
    engine.append(leased(task(4).at().log(), 1, 0, vec![text("half")])).await.unwrap();
    let shared = LogRef { tenant: TENANT, log: LogId::shared(NOW, 9, Durability::Durable) };
    engine.create(shared).await.unwrap();
    for sequence in 0..5 {
        let writer = Writer::Producer { producer: "p".into(), epoch: 1, sequence, rank: None };
        let entries = vec![Entry::new(NOW, Kind::Data, format!("number {sequence}"))];
        engine.append(Append { log: shared, writer, entries }).await.unwrap();
    }
    engine.trim(shared, Offset(3), Entry::new(NOW, Kind::Snapshot, "{}")).await.unwrap();
    for name in ["a", "b"] {
        let name = RecordName { tenant: TENANT, shelf: Shelf::Streams, name: name.to_owned() };
        engine.put(name, "value".into(), Expect::Absent).await.unwrap();
    }
    close(engine).await;
    directory
}

fn checked(directory: &TempDir) -> Report {
    check(directory.path(), &mut |_| ()).unwrap()
}

fn codes(report: &Report) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn a_store_that_is_well_has_no_findings_and_is_counted() {
    let directory = full().await;
    let report = checked(&directory);
    assert_eq!(report.findings, []);
    assert_eq!((report.tasks["done"], report.tasks["queued"], report.tasks["running"]), (3, 1, 1));
    assert_eq!((report.logs_live, report.logs_ended, report.events), (3, 3, 3 * 5 + 1 + 3));
    assert_eq!((report.values["settlements"], report.values["inputs"]), (3, 5));
    let (engine, _) = open(&directory);
    let keep = Retention { age: Duration::ZERO, bytes: 0 };
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    assert_eq!(engine.expire(later, keep, 2).await.unwrap().logs, 2);
    let refused = check(directory.path(), &mut |_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
    close(engine).await;
    assert_eq!(checked(&directory).findings, [], "what has expired is gone as a whole");
    let counted = info(directory.path(), &mut |_| ()).unwrap();
    assert_eq!((counted.tasks["done"], counted.values["totals"], counted.findings.len()), (1, 1, 0));
    close(open(&directory).0).await;
}

#[test]
fn a_store_of_an_older_format_is_checked_as_it_is() {
    let archive = Path::new("tests/fixtures/format-1.tar.gz");
    let directory = given::bare();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).args(["--strip-components=1", "-C"]).arg(directory.path());
    assert!(tar.status().unwrap().success());
    let report = checked(&directory);
    assert_eq!((report.format, report.findings), (1, vec![]));
    assert_eq!(open(&directory).1.upgraded_from, Some(1), "looking at it did not upgrade it");
}

/// Removes a value.
fn remove(directory: &TempDir, keyspace: &str, place: usize) {
    behind(directory, keyspace, |keyspace| {
        let key = keyspace.iter().nth(place).unwrap().key().unwrap();
        keyspace.remove(key).unwrap();
    });
}

/// Puts another body under a key, with the right checksum.
fn put(directory: &TempDir, keyspace: &str, key: &[u8], body: &[u8]) {
    behind(directory, keyspace, |keyspace| {
        let sum = crc32fast::hash(&[key, &[1], body].concat());
        keyspace.insert(key, [&[1][..], &sum.to_le_bytes(), body].concat()).unwrap();
    });
}

fn key_of(directory: &TempDir, keyspace: &str, place: usize) -> Vec<u8> {
    behind(directory, keyspace, |keyspace| keyspace.iter().nth(place).unwrap().key().unwrap().to_vec())
}

/// Two reservations, and nothing that was ever reserved.
const NO_BALANCE: &[u8] = br#"{"reserved":{},"overage":{},"settled":{},"released":{},
    "outstanding":{"requests":2,"input_tokens":40,"output_tokens":40,"cost_nanousd":200},"reservations":2}"#;

type Plant = (&'static str, &'static [&'static str], fn(&TempDir));

/// What is planted, and by which codes it is found: exactly these.
const PLANTS: &[Plant] = &[
    ("a flipped bit in an event", &["checksum"], |store| damage(store, "events", 1)),
    ("a flipped bit in a head", &["checksum"], |store| damage(store, "logs", 0)),
    ("a flipped bit in the sums", &["checksum"], |store| damage(store, "totals", 0)),
    ("a flipped bit in an input", &["checksum"], |store| damage(store, "inputs", 1)),
    ("a record of events is gone", &["gap"], |store| remove(store, "events", 1)),
    ("the first record of events is gone", &["gap"], |store| remove(store, "events", 0)),
    ("a log's last record is gone", &["end", "tail", "size"], |store| remove(store, "events", 2)),
    ("a live task's log is gone", &["log", "counts"], |store| remove(store, "logs", 2)),
    ("an ended task's log is gone", &["half_expired"], |store| remove(store, "logs", 0)),
    ("a settlement is gone", &["settlement"], |store| remove(store, "settlements", 0)),
    ("a settlement of a live task", &["settlement", "totals"], |store| {
        let key = key_of(store, "live", 0);
        put(store, "settlements", &key, br#"[0,{"input_tokens":0,"output_tokens":0}]"#);
    }),
    ("a settlement for something else", &["settlement"], |store| {
        let key = key_of(store, "settlements", 0);
        put(store, "settlements", &key, br#"[0,{"input_tokens":1,"output_tokens":1}]"#);
    }),
    ("sums that are too low", &["totals"], |store| {
        put(store, "totals", &TENANT.0.to_be_bytes(), br#"[3,{"input_tokens":1,"output_tokens":1}]"#);
    }),
    ("an input is gone", &["input"], |store| remove(store, "inputs", 2)),
    ("an input without a task", &["orphan_input"], |store| {
        let mut key = key_of(store, "inputs", 0);
        key[10] ^= 1;
        put(store, "inputs", &key, b"prompt");
    }),
    ("an idempotency key is gone", &["idempotency"], |store| remove(store, "idempotency", 2)),
    ("an ended task is gone", &["orphan_input", "orphan_key", "orphan_settlement"], |store| {
        remove(store, "tasks", 0);
    }),
    ("a task is kept twice", &["record", "settlement", "unfinished"], |store| {
        let (key, value) = behind(store, "tasks", |tasks| tasks.iter().next().unwrap().into_inner().unwrap());
        behind(store, "live", |live| live.insert(key, value).unwrap());
    }),
    ("a task's record is nonsense", &["record"], |store| {
        let key = key_of(store, "live", 0);
        put(store, "live", &key, b"{}");
    }),
    ("a producer of a log that is gone", &["orphan_events", "orphan_producer", "counts"], |store| {
        // The shared log sorts after those of tasks, or before them.
        let key = key_of(store, "producers", 0);
        behind(store, "logs", |logs| logs.remove(&key[..21]).unwrap());
    }),
    ("a record of the feed is gone", &["feed"], |store| remove(store, "feed", 2)),
    ("an ended log is not in the index", &["ended_index", "counts"], |store| remove(store, "ended", 0)),
    ("a named record is gone", &["directory"], |store| remove(store, "directory", 1)),
    ("a reservation is gone", &["balance"], |store| remove(store, "reservations", 0)),
    ("a reservation of a task that is not there", &["orphan_reservation", "balance"], |store| {
        let (mut key, value) = behind(store, "reservations", |held| held.iter().next().unwrap().into_inner().unwrap());
        let body = value[5..].to_vec();
        key = {
            let mut key = key.to_vec();
            key[10] ^= 1;
            key.into()
        };
        put(store, "reservations", &key, &body);
    }),
    ("a balance that does not add up", &["balance"], |store| put(store, "meta", b"balance", NO_BALANCE)),
    ("an account is nonsense", &["account"], |store| put(store, "accounts", br#"{"tenant":9}"#, b"[]")),
    ("a row of usage is too high", &["totals"], |store| {
        let key = key_of(store, "usage", 0);
        put(store, "usage", &key, br#"[90,{"input_tokens":1,"output_tokens":1}]"#);
    }),
    ("a count is wrong", &["counts"], |store| put(store, "meta", b"counts", &[9, 0, 1, 1, 0, 0, 0])),
];

#[tokio::test]
async fn what_is_planted_is_found_and_named() {
    let well = full().await;
    let mut wrong = Vec::new();
    for (what, expected, plant) in PLANTS {
        let store = copied(well.path());
        plant(&store);
        let report = checked(&store);
        let damaged = report.findings.iter().any(|finding| finding.severity == Severity::Damage);
        let loose = expected
            .iter()
            .all(|code| code.starts_with("orphan") || ["counts", "ended_index", "half_expired"].contains(code));
        let told = report.findings.iter().all(|finding| !finding.advice.is_empty() && !finding.place.is_empty());
        let again = checked(&store).findings == report.findings;
        if codes(&report) != expected.iter().copied().collect() || damaged == loose || !told || !again {
            wrong.push(format!("{what}: expected {expected:?}, found {:#?}", report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
