//! The suite for the port `Directory`.

use crate::Harness;
use crate::given::{STRANGER, TENANT};
use bytes::Bytes;
use std::sync::Arc;
use tidewire_core::TenantId;
use tidewire_core::port::{
    Directory, Expect, MAX_NAME_BYTES, MAX_RECORD_BYTES, PutError, RecordName, RemoveRecordError, Shelf,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

crate::suite::suite!(
    "Directory",
    [Directory],
    [
        what_was_put_is_found,
        a_name_that_was_never_put_is_absent,
        a_put_replaces_the_value_and_raises_the_version,
        a_put_that_expects_something_else_is_refused,
        of_puts_at_once_that_expect_the_same_one_wins,
        a_counter_by_compare_and_set_loses_nothing,
        a_removed_record_is_absent,
        a_removal_that_expects_something_else_is_refused,
        a_version_never_comes_again,
        names_and_values_are_bounded,
        tenants_and_shelves_are_apart,
        a_list_is_in_the_order_of_names_and_pages_to_its_end,
        a_shelf_counts_its_records,
        records_survive_a_crash,
        a_removal_survives_a_crash,
        a_version_never_comes_again_after_a_crash,
    ]
);

fn name(name: &str) -> RecordName {
    RecordName { tenant: TENANT, shelf: Shelf::Streams, name: name.to_owned() }
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The value and the version under a name.
async fn found(engine: &impl Directory, of: &str) -> Option<(String, u64)> {
    let record = engine.get(&name(of)).await.unwrap();
    record.map(|record| (String::from_utf8_lossy(&record.value).into_owned(), record.version))
}

async fn what_was_put_is_found<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let bytes = Bytes::from_static(&[0, 255, 10, 0]);
    let version = engine.put(name("a/b"), bytes.clone(), Expect::Absent).await.unwrap();
    let record = engine.get(&name("a/b")).await.unwrap().unwrap();
    assert_eq!((record.value, record.version), (bytes, version));
    engine.put(name("empty"), Bytes::new(), Expect::Anything).await.unwrap();
    assert_eq!(engine.get(&name("empty")).await.unwrap().unwrap().value, Bytes::new());
}

async fn a_name_that_was_never_put_is_absent<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    engine.put(name("ab"), value("1"), Expect::Anything).await.unwrap();
    for other in ["a", "abc", "b"] {
        assert_eq!(found(&engine, other).await, None, "{other}");
    }
    assert_eq!(engine.remove(&name("a"), Expect::Anything).await, Ok(false));
}

async fn a_put_replaces_the_value_and_raises_the_version<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let mut last = 0;
    for round in 0..5 {
        let expect = if round % 2 == 0 { Expect::Anything } else { Expect::Version(last) };
        let version = engine.put(name("a"), value(&round.to_string()), expect).await.unwrap();
        assert!(version > last, "{version} after {last}");
        assert_eq!(found(&engine, "a").await, Some((round.to_string(), version)));
        last = version;
    }
}

async fn a_put_that_expects_something_else_is_refused<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let refused = engine.put(name("a"), value("x"), Expect::Version(1)).await;
    assert_eq!(refused, Err(PutError::Conflict { found: None }));
    let first = engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    let refused = engine.put(name("a"), value("x"), Expect::Absent).await;
    assert_eq!(refused, Err(PutError::Conflict { found: Some(first) }));
    let second = engine.put(name("a"), value("2"), Expect::Version(first)).await.unwrap();
    let refused = engine.put(name("a"), value("x"), Expect::Version(first)).await;
    assert_eq!(refused, Err(PutError::Conflict { found: Some(second) }));
    assert_eq!(found(&engine, "a").await, Some(("2".to_owned(), second)));
}

async fn of_puts_at_once_that_expect_the_same_one_wins<H: Harness<Engine: Directory>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let mut putting = JoinSet::new();
    for number in 0..20 {
        let engine = engine.clone();
        putting.spawn(async move {
            let put = engine.put(name("a"), value(&number.to_string()), Expect::Absent).await;
            put.ok().map(|version| (number.to_string(), version))
        });
    }
    let won: Vec<_> = putting.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(found(&*engine, "a").await, won.into_iter().next());
}

async fn a_counter_by_compare_and_set_loses_nothing<H: Harness<Engine: Directory>>(h: &H) {
    const COUNTERS: usize = 4;
    const EACH: usize = 5;
    let engine = Arc::new(h.open().await);
    engine.put(name("count"), value("0"), Expect::Absent).await.unwrap();
    let mut counting = JoinSet::new();
    let all_there = Arc::new(Barrier::new(COUNTERS));
    for _ in 0..COUNTERS {
        let (engine, all_there) = (engine.clone(), all_there.clone());
        counting.spawn(async move {
            all_there.wait().await;
            let mut counted = 0;
            while counted < EACH {
                let (count, version) = found(&*engine, "count").await.unwrap();
                let next = (count.parse::<usize>().unwrap() + 1).to_string();
                // Here another one gets in, also where one thread runs them all.
                tokio::task::yield_now().await;
                match engine.put(name("count"), value(&next), Expect::Version(version)).await {
                    Ok(_) => counted += 1,
                    Err(error) => assert!(matches!(error, PutError::Conflict { .. }), "{error}"),
                }
            }
        });
    }
    counting.join_all().await;
    assert_eq!(found(&*engine, "count").await.unwrap().0, (COUNTERS * EACH).to_string());
}

async fn a_removed_record_is_absent<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    engine.put(name("b"), value("2"), Expect::Absent).await.unwrap();
    assert_eq!(engine.remove(&name("a"), Expect::Anything).await, Ok(true));
    assert_eq!(found(&engine, "a").await, None);
    assert_eq!(engine.remove(&name("a"), Expect::Anything).await, Ok(false));
    assert_eq!(found(&engine, "b").await.unwrap().0, "2");
    engine.put(name("a"), value("3"), Expect::Absent).await.expect("the name is free again");
}

async fn a_removal_that_expects_something_else_is_refused<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let refused = engine.remove(&name("a"), Expect::Version(1)).await;
    assert_eq!(refused, Err(RemoveRecordError::Conflict { found: None }));
    let first = engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    let second = engine.put(name("a"), value("2"), Expect::Anything).await.unwrap();
    for wrong in [Expect::Version(first), Expect::Absent] {
        let refused = engine.remove(&name("a"), wrong).await;
        assert_eq!(refused, Err(RemoveRecordError::Conflict { found: Some(second) }));
    }
    assert_eq!(engine.remove(&name("a"), Expect::Version(second)).await, Ok(true));
}

async fn a_version_never_comes_again<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let mut last = 0;
    for round in 0..4 {
        let version = engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
        assert!(version > last, "round {round}: {version} after {last}");
        last = engine.put(name("b"), value("1"), Expect::Anything).await.unwrap();
        assert!(last > version, "one count for all names");
        engine.remove(&name("a"), Expect::Anything).await.unwrap();
    }
}

async fn names_and_values_are_bounded<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let (longest, largest) = ("n".repeat(MAX_NAME_BYTES), Bytes::from(vec![7; MAX_RECORD_BYTES]));
    engine.put(name(&longest), largest.clone(), Expect::Absent).await.expect("the bounds themselves are allowed");
    assert_eq!(engine.get(&name(&longest)).await.unwrap().unwrap().value, largest);
    let too_large = Bytes::from(vec![7; MAX_RECORD_BYTES + 1]);
    let too_long = "n".repeat(MAX_NAME_BYTES + 1);
    for (name_is, value) in [(too_long.as_str(), value("1")), ("", value("1")), ("a", too_large)] {
        let refused = engine.put(name(name_is), value.clone(), Expect::Anything).await;
        let expected = PutError::TooLarge { name_bytes: name_is.len(), value_bytes: value.len() };
        assert_eq!(refused, Err(expected));
    }
    assert_eq!(engine.count(TENANT, Shelf::Streams).await, Ok(1));
}

async fn tenants_and_shelves_are_apart<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let elsewhere = [
        RecordName { tenant: STRANGER, ..name("a") },
        RecordName { shelf: Shelf::Files, ..name("a") },
        RecordName { shelf: Shelf::Forks, ..name("a") },
    ];
    engine.put(name("a"), value("mine"), Expect::Absent).await.unwrap();
    for (number, other) in elsewhere.iter().enumerate() {
        assert_eq!(engine.get(other).await.unwrap(), None);
        engine.put(other.clone(), value(&number.to_string()), Expect::Absent).await.unwrap();
    }
    assert_eq!(found(&engine, "a").await.unwrap().0, "mine");
    for (number, other) in elsewhere.iter().enumerate() {
        let listed = engine.list(other.tenant, other.shelf, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].1.value, number.to_string());
        assert_eq!(engine.remove(other, Expect::Anything).await, Ok(true));
    }
    assert_eq!(found(&engine, "a").await.unwrap().0, "mine");
}

async fn a_list_is_in_the_order_of_names_and_pages_to_its_end<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let sorted = ["a", "a/", "a/1", "a/2", "aa", "b", "ä", "\u{10ffff}"];
    for place in [3, 0, 7, 1, 6, 2, 5, 4] {
        engine.put(name(sorted[place]), value(sorted[place]), Expect::Absent).await.unwrap();
    }
    for (tenant, shelf) in [(STRANGER, Shelf::Streams), (TENANT, Shelf::Files), (TenantId(6), Shelf::Batches)] {
        engine.put(RecordName { tenant, shelf, ..name("a") }, value("?"), Expect::Absent).await.unwrap();
    }
    for limit in [1, 2, 3, 8, 100] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(String::as_str);
            let page = engine.list(TENANT, Shelf::Streams, after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            for (name, record) in page {
                assert_eq!(record.value, name, "each with its own value");
                listed.push(name);
            }
        }
        assert_eq!(listed, sorted, "in pages of {limit}");
    }
    let from_between = engine.list(TENANT, Shelf::Streams, Some("a/0"), 2).await.unwrap();
    assert_eq!(from_between[0].0, "a/1", "after a name that is not there");
}

async fn a_shelf_counts_its_records<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    assert_eq!(engine.count(TENANT, Shelf::Streams).await, Ok(0));
    for number in 0..5 {
        engine.put(name(&number.to_string()), value("1"), Expect::Absent).await.unwrap();
    }
    engine.put(name("3"), value("2"), Expect::Anything).await.unwrap();
    engine.put(name("3"), value("3"), Expect::Absent).await.unwrap_err();
    engine.remove(&name("4"), Expect::Anything).await.unwrap();
    engine.remove(&name("4"), Expect::Anything).await.unwrap();
    assert_eq!(engine.count(TENANT, Shelf::Streams).await, Ok(4));
    assert_eq!(engine.count(TENANT, Shelf::Files).await, Ok(0));
    assert_eq!(engine.count(STRANGER, Shelf::Streams).await, Ok(0));
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.count(TENANT, Shelf::Streams).await, Ok(4));
    engine.put(name("6"), value("1"), Expect::Absent).await.unwrap();
    assert_eq!(engine.count(TENANT, Shelf::Streams).await, Ok(5));
}

async fn records_survive_a_crash<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    let version = engine.put(name("a"), value("2"), Expect::Anything).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(found(&engine, "a").await, Some(("2".to_owned(), version)));
    engine.put(name("a"), value("3"), Expect::Version(version)).await.unwrap();
}

async fn a_removal_survives_a_crash<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    engine.remove(&name("a"), Expect::Anything).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(found(&engine, "a").await, None);
}

async fn a_version_never_comes_again_after_a_crash<H: Harness<Engine: Directory>>(h: &H) {
    let engine = h.open().await;
    let before = engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    engine.remove(&name("a"), Expect::Anything).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let after = engine.put(name("a"), value("1"), Expect::Absent).await.unwrap();
    assert!(after > before, "{after} after {before}");
}
