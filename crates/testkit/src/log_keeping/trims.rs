//! Trimming and erasing never change an offset.

use crate::Harness;
use crate::given::{NOW, assert_dense, cursor, ending, leased, read_from, said, strangers, task_ref, texts};
use tidewire_core::port::{EventLog, LogKeeping, ReadError, TrimError};
use tidewire_core::{Entry, Epoch, Kind, LogRef, Offset, Outcome};

fn snapshot(data: &str) -> Entry {
    Entry::new(NOW, Kind::Snapshot, data.to_owned())
}

/// A log with the events 0 to 9, in appends of two.
async fn ten_events<H: Harness<Engine: EventLog>>(h: &H) -> (H::Engine, LogRef, Epoch) {
    let engine = h.open().await;
    let log = task_ref(h.durability(), 1).log();
    let epoch = engine.create(log).await.unwrap();
    for place in 0..5 {
        engine.append(leased(log, 1, Offset(place * 2), texts(place * 2, 2))).await.unwrap();
    }
    (engine, log, epoch)
}

pub(super) async fn trimming_leaves_a_snapshot_and_every_offset_after_it<H: Harness<Engine: EventLog + LogKeeping>>(
    h: &H,
) {
    let (engine, log, epoch) = ten_events(h).await;
    // In the middle of an append.
    engine.trim(log, Offset(5), snapshot("{}")).await.unwrap();
    let state = engine.state(log).await.unwrap();
    assert_eq!((state.first, state.tail, state.epoch), (Offset(4), Offset(10), epoch));
    let events = read_from(&engine, log, epoch, 4).await;
    assert_dense(&events, 4);
    assert_eq!(said(&events), ["{}", "5", "6", "7", "8", "9"]);
    assert_eq!(events[0].kind, Kind::Snapshot);
    assert_eq!(said(&read_from(&engine, log, epoch, 7).await), ["7", "8", "9"]);
}

pub(super) async fn a_cursor_before_the_snapshot_is_told<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    engine.trim(log, Offset(6), snapshot("{}")).await.unwrap();
    for next in [0, 3, 4] {
        let told = engine.read(log, cursor(epoch, next), 100).await;
        assert_eq!(told.err(), Some(ReadError::Trimmed { first: Offset(5) }), "a cursor at {next}");
    }
    assert_eq!(engine.read(log, cursor(epoch, 5), 0).await.unwrap().events[0].offset, Offset(5));
}

pub(super) async fn a_log_is_trimmed_again_and_goes_on<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    engine.trim(log, Offset(4), snapshot("{\"n\":1}")).await.unwrap();
    engine.append(leased(log, 1, Offset(10), texts(10, 2))).await.unwrap();
    engine.trim(log, Offset(12), snapshot("{\"n\":2}")).await.unwrap();
    assert_eq!(said(&read_from(&engine, log, epoch, 11).await), ["{\"n\":2}"]);
    let appended = engine.append(leased(log, 1, Offset(12), texts(12, 1))).await.unwrap();
    assert_eq!(appended.from, Offset(12));
    assert_eq!(said(&read_from(&engine, log, epoch, 11).await), ["{\"n\":2}", "12"]);
}

pub(super) async fn only_what_is_there_can_be_trimmed<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    let unknown = engine.trim(task_ref(h.durability(), 2).log(), Offset(1), snapshot("{}")).await;
    assert_eq!(unknown, Err(TrimError::Unknown));
    for upto in [0, 11] {
        let refused = engine.trim(log, Offset(upto), snapshot("{}")).await;
        let range = TrimError::OutOfRange { first: Offset(0), tail: Offset(10) };
        assert_eq!(refused, Err(range), "trimming to {upto}");
    }
    assert_eq!(read_from(&engine, log, epoch, 0).await.len(), 10);
    engine.trim(log, Offset(8), snapshot("{}")).await.unwrap();
    let refused = engine.trim(log, Offset(7), snapshot("{}")).await;
    assert_eq!(refused, Err(TrimError::OutOfRange { first: Offset(7), tail: Offset(10) }));
}

pub(super) async fn erasing_blanks_the_data_and_keeps_the_offsets<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    engine.end(leased(log, 1, Offset(10), Vec::new()), ending(Outcome::Done)).await.unwrap();
    engine.erase(log).await.unwrap();
    let events = read_from(&engine, log, epoch, 0).await;
    assert_dense(&events, 0);
    assert_eq!(events.len(), 11);
    for event in &events[..10] {
        assert_eq!((event.kind, event.data.len()), (Kind::Erased, 0), "the event at {}", event.offset.0);
    }
    assert_eq!(events[10].kind, Kind::End);
    assert_eq!(events[10].data, ending(Outcome::Done).to_json(), "the end keeps its usage");
    assert!(engine.state(log).await.unwrap().ended);
}

pub(super) async fn an_erased_log_goes_on<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    engine.erase(log).await.unwrap();
    engine.append(leased(log, 1, Offset(10), texts(10, 1))).await.unwrap();
    let events = read_from(&engine, log, epoch, 9).await;
    assert_eq!(said(&events), ["", "10"]);
    assert_eq!((events[0].kind, events[1].kind), (Kind::Erased, Kind::Text));
}

pub(super) async fn strangers_trim_and_erase_nothing<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    assert_eq!(engine.erase(strangers(log)).await, Err(TrimError::Unknown));
    assert_eq!(engine.trim(strangers(log), Offset(4), snapshot("{}")).await, Err(TrimError::Unknown));
    assert_eq!(said(&read_from(&engine, log, epoch, 0).await)[..2], ["0", "1"]);
}

pub(super) async fn a_trim_and_an_erasure_survive_a_crash<H: Harness<Engine: EventLog + LogKeeping>>(h: &H) {
    let (engine, log, epoch) = ten_events(h).await;
    engine.erase(log).await.unwrap();
    engine.trim(log, Offset(5), snapshot("{}")).await.unwrap();
    engine.append(leased(log, 1, Offset(10), texts(10, 1))).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let state = engine.state(log).await.unwrap();
    assert_eq!((state.first, state.tail, state.epoch), (Offset(4), Offset(11), epoch));
    assert_eq!(said(&read_from(&engine, log, epoch, 4).await), ["{}", "", "", "", "", "", "10"]);
}
