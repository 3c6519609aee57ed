//! Writers of a shared log that ask for no deduplication, and the ranks that any writer of it may use.

use crate::Harness;
use crate::given::{ending, open, produced, read_from, said, shared_log, texts};
use std::sync::Arc;
use tidewire_core::port::{Append, AppendError, Appended, EventLog, Writer};
use tidewire_core::{Offset, Outcome};
use tokio::task::JoinSet;

pub(super) async fn an_open_writer_may_repeat_itself<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    for place in 0..2 {
        let appended = engine.append(open(log, None, texts(7, 1))).await.unwrap();
        assert_eq!(appended, Appended { from: Offset(place), to: Offset(place + 1), repeats: None });
    }
    engine.append(produced(log, "phone", 0, 0, texts(8, 1))).await.unwrap();
    engine.end(open(log, None, texts(9, 1)), ending(Outcome::Done)).await.unwrap();
    let refused = engine.append(open(log, None, texts(10, 1))).await;
    assert_eq!(refused, Err(AppendError::Ended { tail: Offset(5) }));
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await)[..4], ["7", "7", "8", "9"]);
}

pub(super) async fn open_writers_at_once_lose_nothing<H: Harness<Engine: EventLog>>(h: &H) {
    const APPENDS: u64 = 40;
    let engine = Arc::new(h.open().await);
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    let mut appending = JoinSet::new();
    for number in 0..APPENDS {
        let engine = engine.clone();
        appending.spawn(async move { engine.append(open(log, None, texts(number, 1))).await.unwrap().from });
    }
    let mut places = appending.join_all().await;
    places.sort_unstable();
    assert!(places.into_iter().eq((0..APPENDS).map(Offset)), "each append has a place of its own");
    let mut all = said(&read_from(&*engine, log, epoch, 0).await);
    all.sort_by_key(|said| said.parse::<u64>().unwrap());
    assert!(all.into_iter().eq((0..APPENDS).map(|number| number.to_string())));
}

pub(super) async fn a_rank_must_sort_after_the_last_one<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.append(open(log, Some("b"), texts(0, 1))).await.unwrap();
    for rank in ["b", "a", "", "B"] {
        let refused = engine.append(open(log, Some(rank), texts(9, 1))).await;
        assert_eq!(refused, Err(AppendError::RankTaken { last: Arc::from("b") }), "the rank {rank:?}");
    }
    // Byte by byte, not as numbers.
    engine.append(open(log, Some("b10"), texts(1, 1))).await.unwrap();
    engine.append(open(log, Some("b9"), texts(2, 1))).await.unwrap();
    engine.append(open(log, None, texts(3, 1))).await.expect("one without a rank is free");
    let ranked = |sequence, rank| Append {
        writer: Writer::Producer { producer: Arc::from("phone"), epoch: 0, sequence, rank: Some(Arc::from(rank)) },
        ..open(log, None, texts(4 + sequence, 1))
    };
    let refused = engine.append(ranked(0, "b9")).await;
    assert_eq!(refused, Err(AppendError::RankTaken { last: Arc::from("b9") }));
    engine.append(ranked(0, "c")).await.expect("what was refused took no sequence number");
    assert_eq!(engine.append(ranked(0, "c")).await.unwrap().repeats, Some(0), "a repeat is known before its rank");
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1", "2", "3", "4"]);
}

pub(super) async fn of_appends_at_once_with_one_rank_one_wins<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    let mut appending = JoinSet::new();
    for number in 0..20 {
        let engine = engine.clone();
        appending.spawn(async move { engine.append(open(log, Some("1"), texts(number, 1))).await.is_ok() });
    }
    assert_eq!(appending.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(read_from(&*engine, log, epoch, 0).await.len(), 1);
}

pub(super) async fn a_rank_survives_a_crash<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    engine.create(log).await.unwrap();
    engine.append(open(log, Some("1"), texts(0, 1))).await.unwrap();
    engine.append(open(log, Some("2"), texts(1, 1))).await.unwrap();
    engine.append(produced(log, "phone", 0, 0, texts(2, 1))).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let refused = engine.append(open(log, Some("2"), texts(3, 1))).await;
    assert_eq!(refused, Err(AppendError::RankTaken { last: Arc::from("2") }));
    assert_eq!(engine.append(produced(log, "phone", 0, 0, texts(2, 1))).await.unwrap().repeats, Some(0));
    assert_eq!(engine.append(open(log, Some("3"), texts(3, 1))).await.unwrap().from, Offset(3));
}
