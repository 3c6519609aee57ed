//! Tasks, events and writers for tests.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use bytes::Bytes;
use tidewire_core::port::{Append, Cursor, EventLog, Leasing, Writer};
use tidewire_core::{
    Durability, Ending, Entry, Event, Fence, Kind, LogRef, Offset, OnDisconnect, Outcome, Spec, Task, TaskId, TenantId,
    Timestamp, Usage, WorkerId,
};
use tidewire_engines::embedded::Engine;

pub const TENANT: TenantId = TenantId(7);
/// Where a `HandClock` begins.
pub const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
pub const USAGE: Usage = Usage {
    input_tokens: 11,
    cached_tokens: 0,
    cache_write_tokens: 0,
    output_tokens: 5,
    reasoning_tokens: 0,
    estimated: false,
    cost: tidewire_core::Money::ZERO,
    saved: tidewire_core::Money::ZERO,
};

/// The `number`th task of a tenant: one with a higher number is newer.
pub fn task_of(tenant: TenantId, number: u64) -> Task {
    let at = Timestamp::from_millis(NOW.as_millis() + number);
    let spec = Spec {
        model: "small".to_owned(),
        capability: "gpu".into(),
        input: Bytes::from(format!("input {number}")),
        on_disconnect: OnDisconnect::Continue,
        deadline: Timestamp::from_millis(NOW.as_millis() + 600_000),
        max_attempts: 3,
        ..Spec::default()
    };
    Task::new(TaskId::new(at, u128::from(number), Durability::Durable), tenant, spec, NOW)
}

pub fn task(number: u64) -> Task {
    task_of(TENANT, number)
}

pub fn text(data: impl Into<Bytes>) -> Entry {
    Entry::new(NOW, Kind::Text, data)
}

pub fn leased(log: LogRef, fence: u64, expect: u64, entries: Vec<Entry>) -> Append {
    Append { log, writer: Writer::Leased { fence: Fence(fence), expect: Offset(expect) }, entries }
}

pub fn leasing() -> Leasing {
    let until = Timestamp::from_millis(NOW.as_millis() + 15_000);
    Leasing { worker: WorkerId("worker".into()), now: NOW, until, seize: false }
}

pub fn ending() -> Ending {
    Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: USAGE,
        deployment: None,
        attempts: 1,
        cache: None,
    }
}

/// Every event of a log, in pages of so many bytes.
pub async fn read_all(engine: &Engine, log: LogRef, page_bytes: usize) -> Vec<Event> {
    let state = engine.state(log).await.unwrap();
    let mut events: Vec<Event> = Vec::new();
    loop {
        let next = events.last().map_or(state.first, |event| event.offset.plus(1));
        if next == state.tail {
            return events;
        }
        let page = engine.read(log, Cursor { epoch: state.epoch, next }, page_bytes).await.unwrap();
        assert_eq!(page.events[0].offset, next, "the events are not dense");
        events.extend(page.events);
    }
}
