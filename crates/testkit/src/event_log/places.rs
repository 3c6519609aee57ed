//! Where events stand, and how a reader finds them.

use crate::Harness;
use crate::given::{cursor, leased, read_from, said, shared_log, strangers, task_ref, text, texts};
use std::sync::Arc;
use tidewire_core::port::{AppendError, Appended, EventLog, ReadError};
use tidewire_core::{Ending, Entry, Epoch, Fence, Kind, Offset, Outcome, Timestamp};
use tokio::task::JoinSet;

pub(super) async fn offsets_are_dense_from_zero<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let mut tail = Offset(0);
    for count in [1u64, 3, 2, 1, 5] {
        let appended = engine.append(leased(log, 1, tail, texts(tail.0, count))).await.unwrap();
        assert_eq!(appended, Appended { from: tail, to: Offset(tail.0 + count), repeats: None });
        tail = appended.to;
    }
    let events = read_from(&engine, log, epoch, 0).await;
    let expected: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(said(&events), expected);
}

pub(super) async fn an_append_that_returned_can_be_read<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    for number in 0..20 {
        engine.append(leased(log, 3, Offset(number), texts(number, 1))).await.unwrap();
        let page = engine.read(log, cursor(epoch, number), 100).await.unwrap();
        assert_eq!(said(&page.events), [number.to_string()], "an append returned, and its event can't be read");
        assert_eq!((page.tail, page.ended), (Offset(number + 1), false));
        let state = engine.state(log).await.unwrap();
        assert_eq!((state.first, state.tail), (Offset(0), Offset(number + 1)));
        assert_eq!((state.epoch, state.fence, state.ended), (epoch, Fence(3), false));
    }
}

pub(super) async fn events_come_back_as_they_were_written<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    for (place, kind) in (0u64..).zip(Kind::ALL.into_iter().filter(|kind| *kind != Kind::End)) {
        entries.push(Entry::new(Timestamp::from_micros(place * 1_000_003), kind, format!("{{\"n\":{place}}}")));
    }
    entries.push(Entry::new(Timestamp::from_micros(0), Kind::Text, ""));
    entries.push(Entry::new(Timestamp::from_micros(1), Kind::Text, vec![0u8, 255, 10, 13]));
    // Larger than what any engine keeps in one record.
    let large: Vec<u8> = (0..200_000u32).map(|place| place.to_le_bytes()[usize::from(place % 2 == 0)]).collect();
    entries.push(Entry::new(Timestamp::from_micros(2), Kind::Data, large));
    engine.append(leased(log, 1, Offset(0), entries.clone())).await.unwrap();
    let events = read_from(&engine, log, epoch, 0).await;
    assert_eq!(events.len(), entries.len());
    for (event, entry) in events.iter().zip(&entries) {
        assert_eq!((event.at, event.kind), (entry.at, entry.kind));
        assert!(event.data == entry.data, "the data of the event at {} changed", event.offset.0);
    }
}

pub(super) async fn a_page_holds_what_fits_and_at_least_one_event<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    let entries = [text("aaaa"), text("bbbb"), text(""), text("cc"), text(&"d".repeat(100)), text("e")];
    engine.append(leased(log, 1, Offset(0), entries[..2].to_vec())).await.unwrap();
    engine.append(leased(log, 1, Offset(2), entries[2..].to_vec())).await.unwrap();
    for (from, max_bytes, count) in
        [(0, 10, 4), (0, 9, 3), (0, 8, 3), (0, 7, 1), (0, 0, 1), (4, 3, 1), (4, 101, 2), (5, 0, 1), (0, 1000, 6)]
    {
        let page = engine.read(log, cursor(epoch, from), max_bytes).await.unwrap();
        let first = usize::try_from(from).unwrap();
        let expected: Vec<_> = entries[first..first + count].iter().map(|entry| entry.data.clone()).collect();
        let found: Vec<_> = page.events.iter().map(|event| event.data.clone()).collect();
        assert_eq!(found, expected, "a page of {max_bytes} bytes from {from}");
        assert_eq!(page.tail, Offset(6));
    }
}

pub(super) async fn a_reader_that_returns_misses_nothing<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 10))).await.unwrap();
    let before = engine.read(log, cursor(epoch, 0), 6).await.unwrap().events;
    engine.append(leased(log, 1, Offset(10), texts(10, 5))).await.unwrap();
    let after = read_from(&engine, log, epoch, before.len() as u64).await;
    let all: Vec<String> = said(&before).into_iter().chain(said(&after)).collect();
    let expected: Vec<String> = (0..15).map(|number| number.to_string()).collect();
    assert_eq!(all, expected);
}

pub(super) async fn creating_twice_keeps_the_epoch_and_the_events<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    for log in [task_ref(h.durability(), 1).log(), shared_log(h.durability(), 1)] {
        let epoch = engine.create(log).await.unwrap();
        assert_eq!(engine.state(log).await.unwrap().epoch, epoch);
        assert_eq!(engine.create(log).await.unwrap(), epoch);
    }
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 2))).await.unwrap();
    assert_eq!(engine.create(log).await.unwrap(), epoch, "a log that exists keeps its epoch");
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 2, "a log that exists keeps its events");
}

pub(super) async fn creates_at_once_agree_on_the_epoch<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let log = task_ref(h.durability(), 1).log();
    let mut creating = JoinSet::new();
    for _ in 0..16 {
        let engine = engine.clone();
        creating.spawn(async move { engine.create(log).await.unwrap() });
    }
    let epoch = engine.create(log).await.unwrap();
    for other in creating.join_all().await {
        assert_eq!(other, epoch);
    }
}

async fn assert_unknown(engine: &impl EventLog, log: tidewire_core::LogRef) {
    let ending = Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: tidewire_core::Usage::default(),
        deployment: None,
        attempts: 0,
        cache: None,
    };
    let append = leased(log, 1, Offset(0), texts(0, 1));
    assert_eq!(engine.append(append.clone()).await, Err(AppendError::Unknown));
    assert_eq!(engine.end(append, ending).await, Err(AppendError::Unknown));
    assert_eq!(engine.read(log, cursor(Epoch(1), 0), 10).await.err(), Some(ReadError::Unknown));
    assert_eq!(engine.state(log).await, Err(ReadError::Unknown));
    assert_eq!(engine.watch(log).await.err(), Some(ReadError::Unknown));
}

pub(super) async fn a_log_that_was_never_created_is_unknown<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    engine.create(task_ref(h.durability(), 1).log()).await.unwrap();
    assert_unknown(&engine, task_ref(h.durability(), 2).log()).await;
}

pub(super) async fn another_tenants_log_is_unknown<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 1))).await.unwrap();
    assert_unknown(&engine, strangers(log)).await;
    let stolen = engine.read(strangers(log), cursor(epoch, 0), 10).await;
    assert_eq!(stolen.err(), Some(ReadError::Unknown), "a stranger who knows the epoch is a stranger");
}

pub(super) async fn a_cursor_of_another_epoch_is_told<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    engine.append(leased(log, 1, Offset(0), texts(0, 3))).await.unwrap();
    let other = Epoch(epoch.0.wrapping_add(1));
    for next in [0, 2, 3, 9] {
        let told = engine.read(log, cursor(other, next), 10).await;
        assert_eq!(told.err(), Some(ReadError::EpochChanged { epoch }), "a cursor at {next}");
    }
}

pub(super) async fn a_cursor_past_the_tail_is_told<H: Harness<Engine: EventLog>>(h: &H) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    assert!(engine.read(log, cursor(epoch, 0), 10).await.unwrap().events.is_empty());
    engine.append(leased(log, 1, Offset(0), texts(0, 3))).await.unwrap();
    let at_tail = engine.read(log, cursor(epoch, 3), 10).await.unwrap();
    assert!(at_tail.events.is_empty(), "a cursor at the tail waits");
    assert_eq!(at_tail.tail, Offset(3));
    let past = engine.read(log, cursor(epoch, 4), 10).await;
    assert_eq!(past.err(), Some(ReadError::Future { tail: Offset(3) }));
}
