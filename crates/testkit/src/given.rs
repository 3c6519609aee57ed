//! What the checks begin with: tasks, logs, events and writers with known names.

use bytes::Bytes;
use std::sync::Arc;
use tidewire_core::port::{Append, Cursor, EventLog, Writer};
use tidewire_core::{
    Durability, Ending, Entry, Epoch, Event, Failure, Fence, Kind, LogId, LogRef, Offset, OnDisconnect, Outcome, Spec,
    Task, TaskId, TaskRef, TenantId, Timestamp, Usage,
};

/// Whose the checks' tasks and logs are.
pub(crate) const TENANT: TenantId = TenantId(7);
/// Somebody else.
pub(crate) const STRANGER: TenantId = TenantId(8);
/// A moment that the checks call now; engines with a clock of their own need not agree.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// The `number`th task: one with a higher number is newer.
pub(crate) fn task_ref(durability: Durability, number: u64) -> TaskRef {
    let at = Timestamp::from_millis(NOW.as_millis() + number);
    TaskRef { tenant: TENANT, task: TaskId::new(at, u128::from(number), durability) }
}

/// The `number`th log with many writers.
pub(crate) fn shared_log(durability: Durability, number: u64) -> LogRef {
    let at = Timestamp::from_millis(NOW.as_millis() + number);
    LogRef { tenant: TENANT, log: LogId::shared(at, u128::from(number), durability) }
}

/// The same log, asked for by somebody else.
pub(crate) fn strangers(log: LogRef) -> LogRef {
    LogRef { tenant: STRANGER, log: log.log }
}

/// A task as the edge would submit it.
pub(crate) fn task(durability: Durability, number: u64) -> Task {
    let at = task_ref(durability, number);
    let spec = Spec {
        model: "small".to_owned(),
        capability: Arc::from("gpu"),
        input: Bytes::from(format!(r#"{{"messages":[{{"role":"user","content":"number {number}"}}]}}"#)),
        on_disconnect: OnDisconnect::Stop,
        deadline: Timestamp::from_millis(NOW.as_millis() + 600_000),
        max_attempts: 3,
        metadata: Some(r#"{"page":"home"}"#.to_owned()),
        ..Spec::default()
    };
    Task::new(at.task, at.tenant, spec, NOW)
}

/// A piece of text.
pub(crate) fn text(data: &str) -> Entry {
    Entry::new(NOW, Kind::Text, data.to_owned())
}

/// `count` pieces of text, each with its number from `first` on.
pub(crate) fn texts(first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|number| text(&number.to_string())).collect()
}

/// An append by the holder of a lease.
pub(crate) fn leased(log: LogRef, fence: u64, expect: Offset, entries: Vec<Entry>) -> Append {
    Append { log, writer: Writer::Leased { fence: Fence(fence), expect }, entries }
}

/// An append by one of many writers.
pub(crate) fn produced(log: LogRef, producer: &str, epoch: u64, sequence: u64, entries: Vec<Entry>) -> Append {
    Append { log, writer: Writer::Producer { producer: Arc::from(producer), epoch, sequence, rank: None }, entries }
}

/// An append by somebody who asks for no deduplication.
pub(crate) fn open(log: LogRef, rank: Option<&str>, entries: Vec<Entry>) -> Append {
    Append { log, writer: Writer::Open { rank: rank.map(Arc::from) }, entries }
}

/// What the checks' tasks use.
pub(crate) const USAGE: Usage = Usage {
    input_tokens: 11,
    cached_tokens: 3,
    cache_write_tokens: 2,
    output_tokens: 5,
    reasoning_tokens: 2,
    estimated: false,
    cost: tidewire_core::Money(70),
    saved: tidewire_core::Money(9),
};

/// How the checks' tasks end.
pub(crate) fn ending(state: Outcome) -> Ending {
    let error = (state == Outcome::Failed).then(|| Failure::new("upstream_broken", "the answer broke off"));
    Ending {
        state,
        error,
        finish_reason: Some("stop".to_owned()),
        stop_sequence: None,
        usage: USAGE,
        deployment: None,
        attempts: 1,
        cache: None,
    }
}

/// A cursor at an offset.
pub(crate) fn cursor(epoch: Epoch, next: u64) -> Cursor {
    Cursor { epoch, next: Offset(next) }
}

/// Every event from an offset to the tail, page by page, checked to be dense.
pub(crate) async fn read_from(engine: &impl EventLog, log: LogRef, epoch: Epoch, from: u64) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let next = from + events.len() as u64;
        let page = engine.read(log, cursor(epoch, next), 512).await.expect("a log that exists can be read");
        assert!(next == page.tail.0 || !page.events.is_empty(), "an empty page before the tail");
        events.extend(page.events);
        assert_dense(&events, from);
        if from + events.len() as u64 == page.tail.0 {
            return events;
        }
    }
}

/// Every event of a log, as a reader sees them that follows it until it has `count` or the log has ended.
pub(crate) async fn follow(engine: &impl EventLog, log: LogRef, epoch: Epoch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut watch = engine.watch(log).await.expect("a log that exists can be watched");
    loop {
        let next = events.len() as u64;
        let page = engine.read(log, cursor(epoch, next), 64).await.expect("a log that exists can be read");
        events.extend(page.events);
        assert_dense(&events, 0);
        if events.len() >= count || page.ended && events.len() as u64 == page.tail.0 {
            return events;
        }
        if events.len() as u64 == page.tail.0 {
            watch.grown(page.tail).await;
        }
    }
}

/// The offsets count from `from` by one.
pub(crate) fn assert_dense(events: &[Event], from: u64) {
    for (expected, event) in (from..).zip(events) {
        assert_eq!(event.offset, Offset(expected), "the offsets are not dense");
    }
}

/// The events' data as text.
pub(crate) fn said(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect()
}

/// What trimmed events amounted to.
pub(crate) fn snapshot() -> Entry {
    Entry::new(NOW, Kind::Snapshot, r#"{"text":"so far"}"#)
}
