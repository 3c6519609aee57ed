//! Whoever watches a log wakes when it grows, each time.

use crate::Harness;
use crate::given::{ending, follow, leased, said, task_ref, texts};
use std::sync::Arc;
use tidewire_core::port::{EventLog, Growth};
use tidewire_core::{Offset, Outcome};
use tokio::task::JoinSet;

pub(super) async fn a_watch_begins_at_the_tail_of_now<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    assert_eq!(engine.watch(log).await.unwrap().now(), Growth { tail: Offset(0), over: false });
    engine.append(leased(log, 1, Offset(0), texts(0, 3))).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();
    assert_eq!(watch.now(), Growth { tail: Offset(3), over: false });
    assert_eq!(watch.grown(Offset(1)).await.tail, Offset(3), "what has grown already is told at once");
}

pub(super) async fn a_watch_wakes_when_the_log_grows<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    let mut watches = JoinSet::new();
    for _ in 0..4 {
        let mut watch = engine.watch(log).await.unwrap();
        watches.spawn(async move { (watch.grown(Offset(0)).await, watch.grown(Offset(4)).await) });
    }
    for place in 0..5 {
        engine.append(leased(log, 1, Offset(place), texts(place, 1))).await.unwrap();
    }
    for (first, last) in watches.join_all().await {
        assert!(first.tail > Offset(0) && !first.over);
        assert_eq!(last, Growth { tail: Offset(5), over: false });
    }
}

pub(super) async fn a_watch_says_when_the_log_is_over<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();
    let end = engine.end(leased(log, 1, Offset(0), texts(0, 1)), ending(Outcome::Done));
    let (grown, ended) = tokio::join!(watch.grown(Offset(1)), end);
    ended.unwrap();
    assert_eq!(grown, Growth { tail: Offset(2), over: true });
}

pub(super) async fn a_log_that_has_ended_is_over_at_once<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    engine.end(leased(log, 1, Offset(0), texts(0, 1)), ending(Outcome::Done)).await.unwrap();
    let mut watch = engine.watch(log).await.unwrap();
    assert_eq!(watch.grown(Offset(2)).await, Growth { tail: Offset(2), over: true });
}

pub(super) async fn followers_of_a_writer_see_every_event_once<H: Harness<Engine: EventLog>>(h: &H) {
    const APPENDS: u64 = 200;
    let engine = Arc::new(h.open().await);
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let mut followers = JoinSet::new();
    for _ in 0..8 {
        let engine = engine.clone();
        followers.spawn(async move { follow(&*engine, log, epoch, usize::MAX).await });
    }
    let mut tail = Offset(0);
    for number in 0..APPENDS {
        let count = 1 + number % 3;
        tail = engine.append(leased(log, 1, tail, texts(tail.0, count))).await.unwrap().to;
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    engine.end(leased(log, 1, tail, Vec::new()), ending(Outcome::Done)).await.unwrap();
    let expected: Vec<String> = (0..tail.0).map(|number| number.to_string()).collect();
    for events in followers.join_all().await {
        let seen = said(&events);
        assert_eq!(seen[..seen.len() - 1], expected, "a follower missed an event, or saw one twice");
    }
}
