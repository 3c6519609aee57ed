//! Who may append to a log with many writers.

use crate::Harness;
use crate::given::{open, produced, read_from, said, shared_log, text, texts};
use std::sync::Arc;
use tidewire_core::Offset;
use tidewire_core::port::{AppendError, Appended, EventLog, MAX_PRODUCERS};
use tokio::task::JoinSet;

pub(super) async fn a_repeated_append_is_answered_with_its_place<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    let first = engine.append(produced(log, "phone", 0, 0, texts(0, 2))).await.unwrap();
    assert_eq!(first, Appended { from: Offset(0), to: Offset(2), repeats: None });
    let again = engine.append(produced(log, "phone", 0, 0, texts(0, 2))).await.unwrap();
    assert_eq!(again, Appended { repeats: Some(0), ..first });
    let second = engine.append(produced(log, "phone", 0, 1, texts(2, 1))).await.unwrap();
    engine.append(produced(log, "laptop", 0, 0, vec![text("other")])).await.unwrap();
    for sequence in [1, 0] {
        let again = engine.append(produced(log, "phone", 0, sequence, texts(2, 1))).await.unwrap();
        assert_eq!(again, Appended { repeats: Some(1), ..second }, "the last place, and the last sequence");
    }
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1", "2", "other"]);
}

pub(super) async fn a_gap_in_a_sequence_is_refused<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    let refused = engine.append(produced(log, "phone", 0, 1, texts(0, 1))).await;
    assert_eq!(refused, Err(AppendError::SequenceGap { expected: 0 }));
    engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await.unwrap();
    let refused = engine.append(produced(log, "phone", 0, 2, texts(1, 1))).await;
    assert_eq!(refused, Err(AppendError::SequenceGap { expected: 1 }));
    engine.append(produced(log, "phone", 0, 1, texts(1, 1))).await.unwrap();
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1"]);
}

pub(super) async fn an_old_epoch_of_a_producer_is_refused<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.append(produced(log, "phone", 3, 0, texts(0, 1))).await.unwrap();
    for sequence in [0, 1] {
        let refused = engine.append(produced(log, "phone", 2, sequence, texts(1, 1))).await;
        assert_eq!(refused, Err(AppendError::StaleProducer { epoch: 3 }));
    }
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 1);
}

pub(super) async fn a_new_epoch_of_a_producer_begins_at_zero<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await.unwrap();
    engine.append(produced(log, "phone", 0, 1, texts(1, 1))).await.unwrap();
    let refused = engine.append(produced(log, "phone", 1, 2, texts(2, 1))).await;
    assert_eq!(refused, Err(AppendError::SequenceGap { expected: 0 }));
    engine.append(produced(log, "phone", 1, 0, texts(2, 1))).await.unwrap();
    engine.append(produced(log, "phone", 1, 1, texts(3, 1))).await.unwrap();
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await), ["0", "1", "2", "3"]);
}

pub(super) async fn producers_at_once_lose_nothing<H: Harness<Engine: EventLog>>(h: &H) {
    const PRODUCERS: u64 = 8;
    const APPENDS: u64 = 10;
    let engine = Arc::new(h.open().await);
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    let mut producing = JoinSet::new();
    for number in 0..PRODUCERS {
        let engine = engine.clone();
        producing.spawn(async move {
            let name = format!("producer {number}");
            for sequence in 0..APPENDS {
                let append = produced(log, &name, 0, sequence, vec![text(&format!("{number}/{sequence}"))]);
                let appended = engine.append(append.clone()).await.unwrap();
                let again = engine.append(append).await.unwrap();
                assert_eq!(again, Appended { repeats: Some(sequence), ..appended }, "sent again at once");
            }
        });
    }
    producing.join_all().await;
    let all = said(&read_from(&*engine, log, epoch, 0).await);
    assert_eq!(all.len() as u64, PRODUCERS * APPENDS);
    for number in 0..PRODUCERS {
        let mine: Vec<&String> = all.iter().filter(|said| said.starts_with(&format!("{number}/"))).collect();
        let expected: Vec<String> = (0..APPENDS).map(|sequence| format!("{number}/{sequence}")).collect();
        assert!(mine.into_iter().eq(&expected), "a producer's appends stand in its order");
    }
}

pub(super) async fn a_log_remembers_a_bounded_number_of_producers<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let log = shared_log(h.durability(), 1);
    engine.create(log).await.unwrap();
    let mut producing = JoinSet::new();
    for number in 0..MAX_PRODUCERS {
        let engine = engine.clone();
        // Without entries: what counts is the name.
        let append = produced(log, &format!("producer {number}"), 0, 0, Vec::new());
        producing.spawn(async move { engine.append(append).await.unwrap() });
    }
    producing.join_all().await;
    let refused = engine.append(produced(log, "one more", 0, 0, texts(0, 1))).await;
    assert_eq!(refused, Err(AppendError::TooManyProducers));
    engine.append(produced(log, "producer 7", 0, 1, texts(0, 1))).await.expect("one that is known goes on");
    engine.append(open(log, None, texts(1, 1))).await.expect("and so does one without a name");
}
