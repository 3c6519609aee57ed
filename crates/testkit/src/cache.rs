//! The suite for the port `Cache`. An engine under test takes at least [`BOUND_BYTES`] and at most four times as many.

use crate::Harness;
use crate::given::NOW;
use bytes::Bytes;
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::{Cache, CacheKey, Kept};

/// What the harness's engine may keep.
pub const BOUND_BYTES: u64 = 256 * 1024;

crate::suite::suite!(
    "Cache",
    [Cache],
    [
        what_was_put_is_got,
        a_put_replaces_what_was_there,
        what_is_past_its_time_is_not_given,
        what_was_removed_is_gone,
        a_purge_takes_one_route_or_all,
        a_sweep_takes_what_is_past_its_time_and_no_more_than_it_may,
        what_was_used_longest_ago_goes_first_and_the_bound_holds,
        an_answer_that_is_too_large_is_not_kept,
        what_is_kept_may_survive_a_crash_and_is_whole_then,
    ]
);

fn key(number: u8) -> CacheKey {
    CacheKey([number; 32])
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn kept(route: &str, answer: &str) -> Kept {
    Kept { route: route.into(), made_at: NOW, keep_until: later(60), answer: Bytes::copy_from_slice(answer.as_bytes()) }
}

async fn what_was_put_is_got<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), None);
    engine.put(key(1), kept("a", "one")).await.unwrap();
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), Some(kept("a", "one")));
    assert_eq!(engine.get(key(2), NOW).await.unwrap(), None);
    assert_eq!((engine.made_at(key(1), NOW), engine.made_at(key(2), NOW)), (Some(NOW), None));
    let stats = engine.stats();
    assert_eq!((stats.entries, stats.evictions), (1, 0));
    assert!(stats.bytes >= 3 && stats.bound_bytes >= BOUND_BYTES, "{stats:?}");
}

async fn a_put_replaces_what_was_there<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    engine.put(key(1), kept("a", "one")).await.unwrap();
    let bytes = engine.stats().bytes;
    let newer = Kept { made_at: later(5), ..kept("a", "two") };
    engine.put(key(1), newer.clone()).await.unwrap();
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), Some(newer));
    assert_eq!((engine.stats().entries, engine.stats().bytes), (1, bytes));
}

async fn what_is_past_its_time_is_not_given<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    engine.put(key(1), kept("a", "one")).await.unwrap();
    assert!(engine.get(key(1), later(59)).await.unwrap().is_some());
    assert_eq!(engine.get(key(1), later(60)).await.unwrap(), None);
    assert_eq!(engine.made_at(key(1), later(60)), None);
}

async fn what_was_removed_is_gone<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    engine.put(key(1), kept("a", "one")).await.unwrap();
    assert!(engine.remove(key(1)).await.unwrap());
    assert!(!engine.remove(key(1)).await.unwrap());
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), None);
    assert_eq!((engine.stats().entries, engine.stats().bytes), (0, 0));
}

async fn a_purge_takes_one_route_or_all<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    for (number, route) in [(1, "a"), (2, "b"), (3, "a")] {
        engine.put(key(number), kept(route, "one")).await.unwrap();
    }
    assert_eq!(engine.purge(Some("a")).await.unwrap(), 2);
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), None);
    assert!(engine.get(key(2), NOW).await.unwrap().is_some());
    assert_eq!((engine.purge(None).await.unwrap(), engine.stats().entries), (1, 0));
}

async fn a_sweep_takes_what_is_past_its_time_and_no_more_than_it_may<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    for number in 1..=5 {
        engine.put(key(number), kept("a", "one")).await.unwrap();
    }
    engine.put(key(6), Kept { keep_until: later(120), ..kept("a", "one") }).await.unwrap();
    assert_eq!(engine.sweep(later(59), 10).await.unwrap(), 0);
    assert_eq!(engine.sweep(later(60), 3).await.unwrap(), 3);
    assert_eq!(engine.sweep(later(60), 10).await.unwrap(), 2);
    assert!(engine.get(key(6), later(60)).await.unwrap().is_some());
}

async fn what_was_used_longest_ago_goes_first_and_the_bound_holds<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    // A sixteenth of the bound each, and four times the bound in all, at the least.
    let bound = engine.stats().bound_bytes;
    let answer = "x".repeat(usize::try_from(bound / 16).unwrap());
    engine.put(key(0), kept("a", &answer)).await.unwrap();
    for number in 1..64 {
        engine.put(key(number), kept("a", &answer)).await.unwrap();
        assert!(engine.get(key(0), NOW).await.unwrap().is_some(), "it is used all the time");
        let stats = engine.stats();
        assert!(stats.bytes <= bound, "{stats:?}");
    }
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), None, "it was not used for long");
    assert!(engine.get(key(63), NOW).await.unwrap().is_some(), "it is the newest");
    let stats = engine.stats();
    assert_eq!(stats.evictions + stats.entries, 64);
}

async fn an_answer_that_is_too_large_is_not_kept<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    engine.put(key(1), kept("a", "one")).await.unwrap();
    let answer = "x".repeat(usize::try_from(engine.stats().bound_bytes).unwrap() + 1);
    engine.put(key(2), kept("a", &answer)).await.unwrap();
    assert_eq!(engine.get(key(2), NOW).await.unwrap(), None);
    assert!(engine.get(key(1), NOW).await.unwrap().is_some(), "it drove nothing out");
    // What it was to replace is old by now: it goes.
    engine.put(key(1), kept("a", &answer)).await.unwrap();
    assert_eq!(engine.get(key(1), NOW).await.unwrap(), None);
}

async fn what_is_kept_may_survive_a_crash_and_is_whole_then<H: Harness<Engine: Cache>>(h: &H) {
    let engine = h.open().await;
    for number in 0..20 {
        engine.put(key(number), kept("a", &number.to_string())).await.unwrap();
    }
    engine.remove(key(3)).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    for number in 0..20 {
        let found = engine.get(key(number), NOW).await.unwrap();
        assert_eq!(found, (number != 3).then(|| kept("a", &number.to_string())), "{number}");
    }
    assert_eq!(engine.stats().entries, 19);
    assert_eq!(engine.get(key(5), later(60)).await.unwrap(), None);
}
