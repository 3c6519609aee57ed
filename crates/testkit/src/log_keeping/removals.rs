//! A removed log is gone for good and as a whole.

use crate::Harness;
use crate::given::{
    TENANT, cursor, ending, leased, open, produced, read_from, said, shared_log, strangers, task_ref, text, texts,
};
use tidewire_core::port::{AppendError, EventLog, LogKeeping, ReadError, RemoveError};
use tidewire_core::{Epoch, LogRef, Offset, Outcome};

/// A shared log with three events, ended or not.
async fn a_log<H: Harness<Engine: EventLog>>(h: &H, engine: &H::Engine, number: u64, ended: bool) -> (LogRef, Epoch) {
    let log = shared_log(h.durability(), number);
    let epoch = engine.create(log).await.unwrap();
    engine.append(open(log, Some("1"), texts(0, 2))).await.unwrap();
    let last = produced(log, "phone", 0, 0, texts(2, 1));
    let said = if ended { engine.end(last, ending(Outcome::Done)).await } else { engine.append(last).await };
    said.unwrap();
    (log, epoch)
}

async fn assert_unknown<H: Harness<Engine: EventLog + LogKeeping>>(engine: &H::Engine, log: LogRef, epoch: Epoch) {
    for next in [0, 1, 3] {
        let read = engine.read(log, cursor(epoch, next), 100).await;
        assert_eq!(read.err(), Some(ReadError::Unknown), "a cursor at {next}");
    }
    assert_eq!(engine.state(log).await, Err(ReadError::Unknown));
    assert_eq!(engine.watch(log).await.err(), Some(ReadError::Unknown));
    let refused = engine.append(open(log, None, texts(9, 1))).await;
    assert_eq!(refused, Err(AppendError::Unknown));
    assert!(!engine.list(TENANT, None, 10).await.unwrap().contains(&log.log));
}

pub(super) async fn a_removed_log_is_unknown_to_all<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    for (number, ended) in [(1, false), (2, true)] {
        let (log, epoch) = a_log(h, &engine, number, ended).await;
        engine.remove(log).await.unwrap();
        assert_unknown::<H>(&engine, log, epoch).await;
        engine.remove(log).await.expect("removing is idempotent");
    }
    engine.remove(shared_log(h.durability(), 3)).await.expect("what never was is gone too");
}

pub(super) async fn a_removed_log_stays_away_after_a_crash<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (gone, epoch) = a_log(h, &engine, 1, false).await;
    let (kept, kept_epoch) = a_log(h, &engine, 2, true).await;
    engine.remove(gone).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_unknown::<H>(&engine, gone, epoch).await;
    assert_eq!(read_from(&engine, kept, kept_epoch, 0).await.len(), 4);
}

pub(super) async fn watches_of_a_removed_log_end<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, _) = a_log(h, &engine, 1, false).await;
    let (mut one, mut other) = (engine.watch(log).await.unwrap(), engine.watch(log).await.unwrap());
    assert!(!one.now().over);
    let waiting = async { tokio::join!(one.over(), other.grown(Offset(100))) };
    let (removed, ((), grown)) = tokio::join!(engine.remove(log), waiting);
    removed.unwrap();
    assert!(grown.over);
}

pub(super) async fn a_long_log_is_removed_as_a_whole<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let (log, epoch) = a_log(h, &engine, 1, false).await;
    for _ in 0..40 {
        engine.append(open(log, None, vec![text(&"x".repeat(100_000))])).await.unwrap();
    }
    engine.remove(log).await.unwrap();
    assert_unknown::<H>(&engine, log, epoch).await;
    // Nothing of the old one is left under the name.
    let epoch = engine.create(log).await.unwrap();
    assert_eq!(engine.state(log).await.unwrap().tail, Offset(0));
    engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await.unwrap();
    engine.append(open(log, Some("0"), texts(1, 1))).await.unwrap();
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1"]);
}

pub(super) async fn removing_takes_nothing_else_along<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let mut logs = Vec::new();
    for number in 0..3 {
        logs.push(a_log(h, &engine, number, number == 2).await);
    }
    engine.remove(strangers(logs[0].0)).await.expect("a stranger's log of that name is not there");
    engine.remove(logs[1].0).await.unwrap();
    for (log, epoch) in [logs[0], logs[2]] {
        assert_eq!(said(&read_from(&engine, log, epoch, 0).await)[..3], ["0", "1", "2"]);
        let again = engine.append(produced(log, "phone", 0, 0, texts(2, 1))).await.unwrap();
        assert_eq!(again.repeats, Some(0), "its producers are known");
    }
}

pub(super) async fn a_tasks_log_is_not_removed<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 1))).await.unwrap();
    assert_eq!(engine.remove(log).await, Err(RemoveError::OfATask));
    engine.end(leased(log, 1, Offset(1), texts(1, 1)), ending(Outcome::Done)).await.unwrap();
    assert_eq!(engine.remove(log).await, Err(RemoveError::OfATask));
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 3);
}
