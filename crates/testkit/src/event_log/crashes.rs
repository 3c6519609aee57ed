//! What a crash must not take back. Left out for an engine that a crash leaves nothing of.

use crate::Harness;
use crate::given::{ending, follow, leased, produced, read_from, said, shared_log, task_ref, text, texts};
use tidewire_core::port::{AppendError, Appended, EventLog};
use tidewire_core::{Fence, Kind, Offset, Outcome};

pub(super) async fn a_created_log_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let state = engine.state(log).await.expect("the log is there");
    assert_eq!((state.epoch, state.tail), (epoch, Offset(0)), "nothing was lost, so the epoch stays");
}

pub(super) async fn what_was_appended_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let mut logs = Vec::new();
    for number in 0..3 {
        let log = task_ref(h.durability(), number).log();
        logs.push((log, engine.create(log).await.unwrap()));
    }
    let large = "x".repeat(100_000);
    for &(log, _) in &logs {
        engine.append(leased(log, 1, Offset(0), texts(0, 3))).await.unwrap();
        engine.append(leased(log, 1, Offset(3), vec![text(&large)])).await.unwrap();
        engine.append(leased(log, 1, Offset(4), texts(4, 1))).await.unwrap();
    }
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    for (log, epoch) in logs {
        assert_eq!(engine.state(log).await.unwrap().epoch, epoch, "nothing was lost, so the epoch stays");
        let found = said(&read_from(&engine, log, epoch, 0).await);
        assert!(found == ["0", "1", "2", &large, "4"], "an acknowledged append was lost, or came back changed");
    }
}

pub(super) async fn what_a_reader_saw_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let write = async {
        for number in 0.. {
            engine.append(leased(log, 1, Offset(number), texts(number, 1))).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    // The crash comes the moment that the reader has seen them, in the middle of an append.
    let seen = tokio::select! {
        biased;
        seen = follow(&engine, log, epoch, 20) => seen,
        () = write => unreachable!("the writer never ends"),
    };
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.state(log).await.unwrap().epoch, epoch, "nothing may be lost, so the epoch stays");
    let kept = read_from(&engine, log, epoch, 0).await;
    assert!(kept.len() >= seen.len(), "{} events were seen and {} are left", seen.len(), kept.len());
    assert_eq!(kept[..seen.len()], seen[..]);
}

pub(super) async fn appends_go_on_after_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let mut engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    for round in 0..3 {
        engine.append(leased(log, 1, Offset(round * 2), texts(round * 2, 2))).await.unwrap();
        let Some(reopened) = h.crash_and_reopen(engine).await else { return };
        engine = reopened;
    }
    let mut watch = engine.watch(log).await.unwrap();
    assert_eq!(watch.now().tail, Offset(6));
    engine.append(leased(log, 1, Offset(6), texts(6, 1))).await.unwrap();
    assert_eq!(watch.grown(Offset(6)).await.tail, Offset(7));
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1", "2", "3", "4", "5", "6"]);
}

pub(super) async fn a_fence_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    engine.append(leased(log, 5, Offset(0), texts(0, 1))).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let refused = engine.append(leased(log, 4, Offset(1), texts(1, 1))).await;
    assert_eq!(refused, Err(AppendError::Fenced { fence: Fence(5) }));
}

pub(super) async fn a_producers_place_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.append(produced(log, "phone", 1, 0, texts(0, 1))).await.unwrap();
    let last = engine.append(produced(log, "phone", 1, 1, texts(1, 2))).await.unwrap();
    engine.append(produced(log, "laptop", 0, 0, vec![text("other")])).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let again = engine.append(produced(log, "phone", 1, 1, texts(1, 2))).await;
    assert_eq!(again, Ok(Appended { repeats: Some(1), ..last }));
    let stale = engine.append(produced(log, "phone", 0, 0, texts(9, 1))).await;
    assert_eq!(stale, Err(AppendError::StaleProducer { epoch: 1 }));
    engine.append(produced(log, "phone", 1, 2, texts(3, 1))).await.unwrap();
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1", "2", "other", "3"]);
}

pub(super) async fn an_end_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.end(leased(log, 1, Offset(0), texts(0, 1)), ending(Outcome::Done)).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert!(engine.state(log).await.unwrap().ended);
    let refused = engine.append(leased(log, 2, Offset(2), texts(2, 1))).await;
    assert_eq!(refused, Err(AppendError::Ended { tail: Offset(2) }));
    let events = read_from(&engine, log, epoch, 0).await;
    assert_eq!(events.last().map(|event| event.kind), Some(Kind::End));
    assert!(engine.watch(log).await.unwrap().grown(Offset(2)).await.over);
}
