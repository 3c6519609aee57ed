//! All that an engine holds, as JSON: what two stores are compared by.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use super::made::read_all;
use serde_json::{Value, json};
use tidewire_core::port::{EventLog, FeedPosition, Filter, Ledger, LogKeeping, TaskStore};
use tidewire_core::{Event, LogId, LogRef, Task, TenantId};
use tidewire_engines::embedded::Engine;

/// What the engine holds of these tenants.
pub async fn picture(engine: &Engine, tenants: &[TenantId]) -> Value {
    let mut tasks = Vec::new();
    for task in all_tasks(engine).await {
        let input = engine.get(task.at()).await.unwrap().unwrap().spec.input;
        let input = String::from_utf8(input.to_vec()).unwrap();
        tasks.push(json!({ "record": task, "input": input }));
    }
    let (mut logs, mut totals) = (Vec::new(), Vec::new());
    for &tenant in tenants {
        for log in all_logs(engine, tenant).await {
            logs.push(a_log(engine, LogRef { tenant, log }).await);
        }
        let sums = engine.totals(tenant).await.unwrap();
        totals.push(json!({ "tenant": tenant.0, "tasks": sums.tasks, "usage": sums.usage }));
    }
    json!({ "tasks": tasks, "logs": logs, "totals": totals, "feed": feed(engine).await })
}

async fn all_tasks(engine: &Engine) -> Vec<Task> {
    let mut filter = Filter { limit: 100, ..Filter::default() };
    let mut tasks = Vec::new();
    loop {
        let page = TaskStore::list(engine, &filter).await.unwrap();
        tasks.extend(page.tasks);
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return tasks,
        }
    }
}

async fn all_logs(engine: &Engine, tenant: TenantId) -> Vec<LogId> {
    let mut logs: Vec<LogId> = Vec::new();
    loop {
        let more = LogKeeping::list(engine, tenant, logs.last().copied(), 100).await.unwrap();
        if more.is_empty() {
            return logs;
        }
        logs.extend(more);
    }
}

async fn a_log(engine: &Engine, at: LogRef) -> Value {
    let state = engine.state(at).await.unwrap();
    let events: Vec<Value> = read_all(engine, at, 4096).await.iter().map(an_event).collect();
    json!({
        "tenant": at.tenant.0,
        "log": at.log,
        "epoch": state.epoch.0,
        "first": state.first,
        "tail": state.tail,
        "fence": state.fence,
        "ended": state.ended,
        "events": events,
    })
}

fn an_event(event: &Event) -> Value {
    let data = String::from_utf8(event.data.to_vec()).unwrap();
    json!({ "offset": event.offset, "at": event.at, "kind": event.kind.name(), "data": data })
}

async fn feed(engine: &Engine) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    let mut after = FeedPosition(0);
    loop {
        let more = engine.feed(after, 100).await.unwrap();
        let Some(last) = more.last() else { return entries };
        after = last.position;
        entries.extend(more.iter().map(|entry| {
            let (position, log) = (entry.position.0, entry.log);
            json!({ "position": position, "tenant": log.tenant.0, "log": log.log, "from": entry.from, "to": entry.to })
        }));
    }
}

/// Whether `found` has all that `expected` has: an object may have more fields, for records grow with versions.
/// Else where it has not.
pub fn lacks(found: &Value, expected: &Value, at: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match found.get(name) {
                Some(found) => lacks(found, value, &at),
                None if value.is_null() => None,
                None => Some(format!("{at} is missing")),
            }
        }),
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let both = found.iter().zip(expected).enumerate();
            both.into_iter().find_map(|(place, (found, expected))| lacks(found, expected, &format!("{at}[{place}]")))
        }
        (found, expected) if found == expected => None,
        (found, expected) => Some(format!("{at}: found {found}, expected {expected}")),
    }
}
