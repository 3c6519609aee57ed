//! Which logs go, and which stay.

use crate::Harness;
use crate::given::{NOW, STRANGER, TENANT, cursor, ending, leased, open, read_from, shared_log, task_ref, text};
use std::time::Duration;
use tidewire_core::port::{AppendError, EventLog, LogKeeping, ReadError, Retention};
use tidewire_core::{Epoch, LogId, LogRef, Offset, Outcome, Timestamp};

// The engine notes by its own clock when a log ended, and the checks do not know it: these two moments are
// long before and long after whatever it says.
const LONG_AGO: Timestamp = Timestamp::from_millis(1000);
fn far_ahead() -> Timestamp {
    NOW.plus(Duration::from_hours(24 * 365 * 100))
}

const HOUR: Duration = Duration::from_hours(1);
const BY_AGE: Retention = Retention { age: HOUR, bytes: u64::MAX };

/// A log with 1000 bytes of text.
async fn a_log<H: Harness<Engine: EventLog>>(h: &H, engine: &H::Engine, number: u64) -> (LogRef, Epoch) {
    let log = task_ref(h.durability(), number).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), vec![text(&"x".repeat(1000))])).await.unwrap();
    (log, epoch)
}

/// One that has ended.
async fn an_ended_log<H: Harness<Engine: EventLog>>(h: &H, engine: &H::Engine, number: u64) -> (LogRef, Epoch) {
    let (log, epoch) = a_log(h, engine, number).await;
    engine.end(leased(log, 1, Offset(1), Vec::new()), ending(Outcome::Done)).await.unwrap();
    (log, epoch)
}

pub(super) async fn only_an_ended_log_expires<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, epoch) = a_log(h, &engine, 1).await;
    let nothing = Retention { age: Duration::ZERO, bytes: 0 };
    let expired = engine.expire(far_ahead(), nothing, 10).await.unwrap();
    assert_eq!(expired.logs, 0);
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 1);
}

pub(super) async fn a_shared_log_never_expires<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.end(open(log, None, vec![text(&"x".repeat(5000))]), ending(Outcome::Done)).await.unwrap();
    an_ended_log(h, &engine, 2).await;
    let nothing = Retention { age: Duration::ZERO, bytes: 0 };
    let expired = engine.expire(far_ahead(), nothing, 10).await.unwrap();
    assert_eq!(expired.logs, 1, "the task's");
    assert!(expired.bytes < 5000, "what shared logs hold is not counted");
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2);
}

pub(super) async fn an_expired_log_is_unknown<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, epoch) = an_ended_log(h, &engine, 1).await;
    let expired = engine.expire(far_ahead(), BY_AGE, 10).await.unwrap();
    assert_eq!(expired.logs, 1);
    assert!(expired.bytes >= 1000, "it held 1000 bytes of data, and {} are told", expired.bytes);
    assert_eq!(engine.read(log, cursor(epoch, 0), 10).await.err(), Some(ReadError::Unknown));
    assert_eq!(engine.read(log, cursor(epoch, 1), 10).await.err(), Some(ReadError::Unknown), "never half a log");
    assert_eq!(engine.state(log).await, Err(ReadError::Unknown));
    assert_eq!(engine.watch(log).await.err(), Some(ReadError::Unknown));
    let refused = engine.append(leased(log, 1, Offset(2), Vec::new())).await;
    assert_eq!(refused, Err(AppendError::Unknown));
    assert!(engine.list(TENANT, None, 10).await.unwrap().is_empty());
}

pub(super) async fn a_watch_of_an_expired_log_is_over<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, _) = an_ended_log(h, &engine, 1).await;
    let mut watch = engine.watch(log).await.unwrap();
    engine.expire(far_ahead(), BY_AGE, 10).await.unwrap();
    assert!(watch.grown(Offset(100)).await.over);
}

pub(super) async fn a_young_log_is_kept<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, epoch) = an_ended_log(h, &engine, 1).await;
    let expired = engine.expire(LONG_AGO, BY_AGE, 10).await.unwrap();
    assert_eq!((expired.logs, expired.bytes), (0, 0));
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2);
}

pub(super) async fn the_oldest_go_until_the_rest_fits<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let mut logs = Vec::new();
    for number in 0..4 {
        logs.push(an_ended_log(h, &engine, number).await);
    }
    // Two logs and their ends fit, three do not.
    let keep = Retention { age: HOUR, bytes: 2900 };
    assert_eq!(engine.expire(LONG_AGO, keep, 10).await.unwrap().logs, 2);
    for (place, (log, epoch)) in logs.into_iter().enumerate() {
        let read = engine.read(log, cursor(epoch, 0), 10_000).await;
        if place < 2 {
            assert_eq!(read.err(), Some(ReadError::Unknown), "log {place} was among the oldest");
        } else {
            assert_eq!(read.unwrap().events.len(), 2, "log {place} was among the newest");
        }
    }
    assert_eq!(engine.expire(LONG_AGO, keep, 10).await.unwrap().logs, 0, "the rest fits");
}

pub(super) async fn no_more_than_the_limit_expire<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    for number in 0..5 {
        an_ended_log(h, &engine, number).await;
    }
    for (expected, left) in [(2, [2, 3, 4].as_slice()), (2, &[4]), (1, &[]), (0, &[])] {
        assert_eq!(engine.expire(far_ahead(), BY_AGE, 2).await.unwrap().logs, expected);
        let kept = engine.list(TENANT, None, 10).await.unwrap();
        let left: Vec<LogId> = left.iter().map(|number| task_ref(h.durability(), *number).log().log).collect();
        assert_eq!(kept, left, "the oldest go first");
    }
}

pub(super) async fn an_expired_log_stays_away_after_a_crash<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (gone, _) = an_ended_log(h, &engine, 1).await;
    let (kept, epoch) = a_log(h, &engine, 2).await;
    assert_eq!(engine.expire(far_ahead(), BY_AGE, 10).await.unwrap().logs, 1);
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    match engine.state(gone).await {
        // A crash may bring it back, if it brings it back whole.
        Ok(state) => assert_eq!(read_from(&engine, gone, state.epoch, 0).await.len(), 2, "never half a log"),
        Err(error) => assert_eq!(error, ReadError::Unknown),
    }
    assert_eq!(read_from(&engine, kept, epoch, 0).await.len(), 1);
}

pub(super) async fn a_list_is_oldest_first_and_pages_to_its_end<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    for number in [3, 0, 4, 1, 2] {
        engine.create(shared_log(h.durability(), number)).await.unwrap();
    }
    let theirs = LogRef { tenant: STRANGER, ..shared_log(h.durability(), 9) };
    engine.create(theirs).await.unwrap();
    let all: Vec<LogId> = (0..5).map(|number| shared_log(h.durability(), number).log).collect();
    for limit in [1, 2, 5, 9] {
        let mut found: Vec<LogId> = Vec::new();
        loop {
            let page = engine.list(TENANT, found.last().copied(), limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, all, "in pages of {limit}");
    }
    assert_eq!(engine.list(STRANGER, None, 9).await.unwrap(), [theirs.log]);
}
