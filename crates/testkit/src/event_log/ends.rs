//! An end is an end.

use crate::Harness;
use crate::given::{cursor, ending, leased, produced, read_from, said, shared_log, task_ref, text, texts};
use tidewire_core::port::{AppendError, Appended, EventLog, MAX_APPEND_BYTES};
use tidewire_core::{Fence, Kind, Offset, Outcome};

pub(super) async fn an_end_is_the_last_event<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 2))).await.unwrap();
    let ended = engine.end(leased(log, 1, Offset(2), texts(2, 1)), ending(Outcome::Failed)).await.unwrap();
    assert_eq!(
        ended,
        Appended { from: Offset(2), to: Offset(4), repeats: None },
        "the entries and the end stand together"
    );
    let page = engine.read(log, cursor(epoch, 0), 10_000).await.unwrap();
    assert!(page.ended);
    let kinds: Vec<Kind> = page.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Text, Kind::Text, Kind::Text, Kind::End]);
    assert_eq!(page.events[3].data, ending(Outcome::Failed).to_json(), "the end event's data is the ending");
    let state = engine.state(log).await.unwrap();
    assert_eq!((state.tail, state.ended), (Offset(4), true));
}

pub(super) async fn nothing_is_appended_after_an_end<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.end(leased(log, 1, Offset(0), Vec::new()), ending(Outcome::Done)).await.unwrap();
    let ended = AppendError::Ended { tail: Offset(1) };
    assert_eq!(engine.append(leased(log, 1, Offset(1), texts(1, 1))).await, Err(ended.clone()));
    assert_eq!(engine.append(leased(log, 2, Offset(1), texts(1, 1))).await, Err(ended.clone()));
    let again = engine.end(leased(log, 2, Offset(1), texts(1, 1)), ending(Outcome::Stopped)).await;
    assert_eq!(again, Err(ended), "a caller that repeats itself sees that it is done");
    assert_eq!(engine.create(log).await.unwrap(), epoch, "creating does not open it again");
    let events = read_from(&engine, log, epoch, 0).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data, ending(Outcome::Done).to_json(), "the first ending stays");
}

pub(super) async fn a_shared_log_ends_too<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    let epoch = engine.create(log).await.unwrap();
    engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await.unwrap();
    engine.end(produced(log, "laptop", 0, 0, texts(1, 1)), ending(Outcome::Done)).await.unwrap();
    let refused = engine.append(produced(log, "phone", 0, 1, texts(2, 1))).await;
    assert_eq!(refused, Err(AppendError::Ended { tail: Offset(3) }));
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await)[..2], ["0", "1"]);
}

pub(super) async fn a_repeated_append_is_answered_after_the_end_too<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = shared_log(h.durability(), 1);
    engine.create(log).await.unwrap();
    let first = engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await.unwrap();
    engine.end(produced(log, "laptop", 0, 0, Vec::new()), ending(Outcome::Done)).await.unwrap();
    let again = engine.append(produced(log, "phone", 0, 0, texts(0, 1))).await;
    assert_eq!(again, Ok(Appended { repeats: Some(0), ..first }));
}

pub(super) async fn an_end_that_is_refused_ends_nothing<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 2, Offset(0), texts(0, 1))).await.unwrap();
    let fenced = engine.end(leased(log, 1, Offset(1), texts(1, 1)), ending(Outcome::Done)).await;
    assert_eq!(fenced, Err(AppendError::Fenced { fence: Fence(2) }));
    let moved = engine.end(leased(log, 2, Offset(0), texts(1, 1)), ending(Outcome::Done)).await;
    assert_eq!(moved, Err(AppendError::TailMoved { tail: Offset(1) }));
    assert!(!engine.state(log).await.unwrap().ended);
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 1);
    engine.append(leased(log, 2, Offset(1), texts(1, 1))).await.expect("the log goes on");
}

pub(super) async fn an_end_carries_as_much_as_an_append<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let last_words = |bytes| vec![text(&"x".repeat(bytes))];
    let refused = engine.end(leased(log, 1, Offset(0), last_words(MAX_APPEND_BYTES + 1)), ending(Outcome::Done)).await;
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: MAX_APPEND_BYTES + 1 }));
    assert!(!engine.state(log).await.unwrap().ended);
    let most = leased(log, 1, Offset(0), last_words(MAX_APPEND_BYTES));
    engine.end(most, ending(Outcome::Done)).await.expect("the end event does not count against its writer");
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2);
}
