//! Who may append to a task's log, and what several appends at once come to.

use crate::Harness;
use crate::given::{leased, open, produced, read_from, said, shared_log, task_ref, text, texts};
use futures_util::FutureExt;
use std::sync::Arc;
use tidewire_core::port::{AppendError, Appended, EventLog, MAX_APPEND_BYTES};
use tidewire_core::{Entry, Fence, Kind, Offset, Timestamp};
use tokio::task::JoinSet;

pub(super) async fn a_lower_fence_is_refused<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 5, Offset(0), texts(0, 1))).await.unwrap();
    let refused = engine.append(leased(log, 4, Offset(1), texts(1, 1))).await;
    assert_eq!(refused, Err(AppendError::Fenced { fence: Fence(5) }));
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 1, "a refused append adds nothing");
    engine.append(leased(log, 5, Offset(1), texts(1, 1))).await.expect("the newest lease writes on");
}

pub(super) async fn a_higher_fence_takes_over<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), vec![text("old")])).await.unwrap();
    engine.append(leased(log, 7, Offset(1), vec![text("new")])).await.unwrap();
    assert_eq!(engine.state(log).await.unwrap().fence, Fence(7));
    let refused = engine.append(leased(log, 1, Offset(2), vec![text("old")])).await;
    assert_eq!(refused, Err(AppendError::Fenced { fence: Fence(7) }));
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["old", "new"]);
}

pub(super) async fn a_higher_fence_takes_over_even_where_its_append_fails<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 2))).await.unwrap();
    let failed = engine.append(leased(log, 2, Offset(0), texts(2, 1))).await;
    assert_eq!(failed, Err(AppendError::TailMoved { tail: Offset(2) }));
    let refused = engine.append(leased(log, 1, Offset(2), texts(2, 1))).await;
    assert_eq!(refused, Err(AppendError::Fenced { fence: Fence(2) }), "the old writer is out for good");
    engine.append(leased(log, 2, Offset(2), texts(2, 1))).await.expect("the new one goes on from the tail");
}

pub(super) async fn an_append_that_expects_another_tail_is_refused<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 3))).await.unwrap();
    for expect in [0, 2, 4, 100] {
        let refused = engine.append(leased(log, 1, Offset(expect), texts(3, 1))).await;
        assert_eq!(refused, Err(AppendError::TailMoved { tail: Offset(3) }), "expecting {expect}");
    }
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 3);
}

pub(super) async fn of_appends_at_once_to_one_tail_one_wins<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let mut appending = JoinSet::new();
    for number in 0..16 {
        let engine = engine.clone();
        appending.spawn(async move { engine.append(leased(log, 1, Offset(0), texts(number, 1))).await });
    }
    let answers = appending.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won, [Ok(Appended { from: Offset(0), to: Offset(1), repeats: None })]);
    for answer in lost {
        assert_eq!(answer, Err(AppendError::TailMoved { tail: Offset(1) }));
    }
    assert_eq!(read_from(&*engine, log, epoch, 0).await.len(), 1);
}

pub(super) async fn an_append_without_entries_checks_its_writer<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 2))).await.unwrap();
    let nothing = engine.append(leased(log, 3, Offset(2), Vec::new())).await.unwrap();
    assert_eq!(nothing, Appended { from: Offset(2), to: Offset(2), repeats: None });
    let refused = engine.append(leased(log, 2, Offset(2), Vec::new())).await;
    assert_eq!(refused, Err(AppendError::Fenced { fence: Fence(3) }));
    let refused = engine.append(leased(log, 3, Offset(0), Vec::new())).await;
    assert_eq!(refused, Err(AppendError::TailMoved { tail: Offset(2) }));
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2);
}

pub(super) async fn a_log_takes_only_its_own_kind_of_writer<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let (one, many) = (task_ref(h.durability(), 1).log(), shared_log(h.durability(), 1));
    engine.create(one).await.unwrap();
    engine.create(many).await.unwrap();
    let refused = engine.append(produced(one, "phone", 0, 0, texts(0, 1))).await;
    assert_eq!(refused, Err(AppendError::WrongWriter));
    let refused = engine.append(open(one, None, texts(0, 1))).await;
    assert_eq!(refused, Err(AppendError::WrongWriter));
    let refused = engine.append(leased(many, 1, Offset(0), texts(0, 1))).await;
    assert_eq!(refused, Err(AppendError::WrongWriter));
}

pub(super) async fn an_append_that_is_too_large_is_refused<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let half = || Entry::new(Timestamp::from_micros(1), Kind::Data, vec![7u8; MAX_APPEND_BYTES / 2]);
    let refused = engine.append(leased(log, 1, Offset(0), vec![half(), half(), text("!")])).await;
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: MAX_APPEND_BYTES + 1 }));
    assert!(read_from(&engine, log, epoch, 0).await.is_empty(), "a refused append adds nothing");
    engine.append(leased(log, 1, Offset(0), vec![half(), half()])).await.expect("the bound itself is allowed");
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2);
}

pub(super) async fn appenders_on_many_logs_do_not_mix<H: Harness<Engine: EventLog>>(h: &H) {
    const LOGS: u64 = 64;
    const APPENDS: u64 = 12;
    let engine = Arc::new(h.open().await);
    let durability = h.durability();
    let mut appending = JoinSet::new();
    for number in 0..LOGS {
        let engine = engine.clone();
        appending.spawn(async move {
            let log = task_ref(durability, number).log();
            let epoch = engine.create(log).await.unwrap();
            for place in 0..APPENDS {
                let mine = text(&format!("{number}/{place}"));
                engine.append(leased(log, 1, Offset(place), vec![mine])).await.unwrap();
            }
            (number, epoch)
        });
    }
    for (number, epoch) in appending.join_all().await {
        let found = said(&read_from(&*engine, task_ref(durability, number).log(), epoch, 0).await);
        let expected: Vec<String> = (0..APPENDS).map(|place| format!("{number}/{place}")).collect();
        assert_eq!(found, expected);
    }
}

pub(super) async fn an_append_that_was_dropped_leaves_the_log_whole<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    for number in 0..20 {
        let tail = engine.state(log).await.unwrap().tail;
        // Polled once and dropped, as a caller does that was itself dropped. It may still be committed.
        let _ = engine.append(leased(log, 1, tail, texts(number, 2))).now_or_never();
    }
    let mut tail = engine.state(log).await.unwrap().tail;
    // What was dropped may be committed until now, and an append that meets it is told.
    let last = loop {
        match engine.append(leased(log, 1, tail, vec![text("last")])).await {
            Ok(appended) => break appended,
            Err(AppendError::TailMoved { tail: moved }) => tail = moved,
            Err(other) => panic!("{other}"),
        }
    };
    let events = read_from(&engine, log, epoch, 0).await;
    assert_eq!(events.len() as u64, last.to.0);
    assert_eq!(events.len() % 2, 1, "an append is there as a whole or not at all");
    assert_eq!(said(&events).last().map(String::as_str), Some("last"));
}
