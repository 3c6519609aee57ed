//! The feed names every committed append once, in commit order.

use crate::Harness;
use crate::given::{ending, leased, task_ref, texts};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewire_core::port::{EventLog, FeedEntry, FeedPosition, LogKeeping};
use tidewire_core::{LogRef, Offset, Outcome};
use tokio::task::JoinSet;

async fn fed(engine: &impl LogKeeping, mut after: FeedPosition, limit: usize) -> Vec<FeedEntry> {
    let mut all: Vec<FeedEntry> = Vec::new();
    loop {
        let page = engine.feed(after, limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        for entry in page {
            assert!(entry.position > after, "positions rise: {:?} after {after:?}", entry.position);
            after = entry.position;
            all.push(entry);
        }
    }
}

fn told(entries: &[FeedEntry]) -> Vec<(LogRef, u64, u64)> {
    entries.iter().map(|entry| (entry.log, entry.from.0, entry.to.0)).collect()
}

pub(super) async fn the_feed_names_every_append_once_in_order<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (one, two) = (task_ref(h.durability(), 1).log(), task_ref(h.durability(), 2).log());
    assert!(engine.feed(FeedPosition(0), 10).await.unwrap().is_empty());
    engine.create(one).await.unwrap();
    engine.create(two).await.unwrap();
    engine.append(leased(one, 1, Offset(0), texts(0, 2))).await.unwrap();
    engine.append(leased(two, 1, Offset(0), texts(0, 1))).await.unwrap();
    engine.append(leased(two, 1, Offset(1), Vec::new())).await.unwrap();
    engine.append(leased(one, 1, Offset(0), texts(9, 1))).await.expect_err("the tail moved");
    engine.append(leased(one, 1, Offset(2), texts(2, 1))).await.unwrap();
    engine.end(leased(two, 1, Offset(1), texts(1, 1)), ending(Outcome::Done)).await.unwrap();
    let expected = [(one, 0, 2), (two, 0, 1), (one, 2, 3), (two, 1, 3)];
    assert_eq!(told(&fed(&engine, FeedPosition(0), 100).await), expected);
}

pub(super) async fn the_feed_pages_to_its_end_and_goes_on<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    for place in 0..7 {
        engine.append(leased(log, 1, Offset(place), texts(place, 1))).await.unwrap();
    }
    let all = fed(&engine, FeedPosition(0), 100).await;
    assert_eq!(all.len(), 7);
    for limit in [1, 2, 7, 8] {
        assert_eq!(fed(&engine, FeedPosition(0), limit).await, all, "in pages of {limit}");
    }
    let end = all[6].position;
    assert!(engine.feed(end, 10).await.unwrap().is_empty());
    engine.append(leased(log, 1, Offset(7), texts(7, 1))).await.unwrap();
    assert_eq!(told(&engine.feed(end, 10).await.unwrap()), [(log, 7, 8)]);
    assert_eq!(fed(&engine, FeedPosition(0), 3).await[..7], all[..], "what was told stays as it was told");
}

pub(super) async fn the_feed_of_appends_at_once_has_no_gaps<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    const LOGS: u64 = 16;
    const APPENDS: u64 = 12;
    let engine = Arc::new(h.open().await);
    let durability = h.durability();
    let mut appending = JoinSet::new();
    for number in 0..LOGS {
        let engine = engine.clone();
        appending.spawn(async move {
            let log = task_ref(durability, number).log();
            engine.create(log).await.unwrap();
            for place in 0..APPENDS {
                engine.append(leased(log, 1, Offset(place * 2), texts(place * 2, 2))).await.unwrap();
            }
        });
    }
    // Reads along while they append, so that an entry that shows up late, behind its reader, is missed.
    let mut tails: BTreeMap<LogRef, u64> = BTreeMap::new();
    let mut after = FeedPosition(0);
    loop {
        let all_done = appending.is_empty();
        let page = engine.feed(after, 5).await.unwrap();
        let at_the_end = page.is_empty();
        for entry in page {
            assert!(entry.position > after);
            after = entry.position;
            let tail = tails.entry(entry.log).or_default();
            assert_eq!(*tail, entry.from.0, "the feed of a log has no gap");
            assert!(entry.to > entry.from);
            *tail = entry.to.0;
        }
        if at_the_end {
            if all_done {
                break;
            }
            if let Some(joined) = appending.try_join_next() {
                joined.unwrap();
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(tails.len() as u64, LOGS);
    assert!(tails.values().all(|tail| *tail == APPENDS * 2), "the feed missed an append: {tails:?}");
}

pub(super) async fn a_position_in_the_feed_survives_a_crash<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (one, two) = (task_ref(h.durability(), 1).log(), task_ref(h.durability(), 2).log());
    engine.create(one).await.unwrap();
    engine.create(two).await.unwrap();
    for place in 0..3 {
        engine.append(leased(one, 1, Offset(place), texts(place, 1))).await.unwrap();
        engine.append(leased(two, 1, Offset(place), texts(place, 1))).await.unwrap();
    }
    let before = fed(&engine, FeedPosition(0), 100).await;
    let middle = before[2].position;
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(fed(&engine, middle, 100).await, before[3..]);
    engine.append(leased(one, 1, Offset(3), texts(3, 1))).await.unwrap();
    let after = engine.feed(before[5].position, 10).await.unwrap();
    assert_eq!(told(&after), [(one, 3, 4)], "a position is not given again after a crash");
}
