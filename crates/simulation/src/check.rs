//! Holds what the clients saw against what the engine keeps and what was promised.

use crate::history::{Acked, Seen};
use crate::host::World;
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use tidewire_client::Answer;
use tidewire_core::port::{Cursor, EventLog, Filter, Ledger, Settlement, TaskStore};
use tidewire_core::{Ending, Event, Kind, LogRef, Outcome, State, Task, TenantId, Timestamp, Usage};
use tidewire_proto::WireEvent;

/// More than a run has tasks.
const ALL: usize = 10_000;

/// What the engine keeps of one log.
struct Kept {
    at: LogRef,
    epoch: u32,
    events: Vec<Event>,
    ended: bool,
}

/// The memory engine answers at once.
fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("the memory engine never waits")
}

fn all_tasks(world: &World) -> Vec<Task> {
    let filter = Filter { limit: ALL, ..Filter::default() };
    at_once(TaskStore::list(&*world.tasks, &filter)).expect("the memory engine lists").tasks
}

/// Whether every task that was committed has ended, acknowledged or not.
pub(crate) fn all_ended(world: &World) -> bool {
    all_tasks(world).iter().all(|task| task.state.is_ended())
}

pub(crate) fn check(world: &World) {
    let tasks = all_tasks(world);
    let mut logs = BTreeMap::new();
    for task in &tasks {
        match keep(world, task.at().log()) {
            Some(kept) => drop(logs.insert(task.id.to_string(), kept)),
            None => broken(world, format_args!("{} has no log", task.id)),
        }
    }
    let told = world.history.told();
    let (acks, seen, stops, ends) = (told.acks.clone(), told.seen.clone(), told.stops.clone(), told.ends.clone());
    drop(told);
    let by_id: BTreeMap<String, &Task> = tasks.iter().map(|task| (task.id.to_string(), task)).collect();
    keys(world, &acks);
    for acked in acks.iter().filter(|acked| acked.durable) {
        match by_id.get(&acked.task) {
            None => broken(world, format_args!("{} was acknowledged, and is lost", acked.task)),
            Some(task) => acked_task(world, acked, task, logs.get(&acked.task)),
        }
    }
    for task in &tasks {
        if !task.state.is_ended() {
            broken(world, format_args!("{} was committed, and never ended: {task:?}", task.id));
        }
        if let Some(kept) = logs.get(&task.id.to_string()) {
            ending(world, task, kept);
        }
    }
    for seen in &seen {
        saw(world, seen, logs.get(&seen.log));
    }
    for (who, log, next) in &ends {
        if logs.get(log).is_some_and(|kept| !kept.ended || kept.events.len() as u64 != *next) {
            broken(world, format_args!("{who} was told at {next} that {log} has ended"));
        }
    }
    for stop in &stops {
        if let (Some(task), Some(kept)) = (by_id.get(&stop.task), logs.get(&stop.task)) {
            stopped(world, &stop.state, stop.at, task, kept);
        }
    }
    settled(world, &tasks);
}

fn broken(world: &World, what: impl std::fmt::Display) {
    world.history.violation("check", what);
}

fn keep(world: &World, at: LogRef) -> Option<Kept> {
    let state = at_once(world.logs.state(at)).ok()?;
    let cursor = Cursor { epoch: state.epoch, next: state.first };
    let page = at_once(world.logs.read(at, cursor, usize::MAX)).ok()?;
    Some(Kept { at, epoch: state.epoch.0, events: page.events, ended: state.ended })
}

/// One key, one task.
fn keys(world: &World, acks: &[Acked]) {
    let mut tasks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for acked in acks {
        if let Some(key) = &acked.key {
            tasks.entry(key).or_default().insert(&acked.task);
        }
    }
    for (key, tasks) in tasks.into_iter().filter(|(_, tasks)| tasks.len() > 1) {
        broken(world, format_args!("the key {key} made {tasks:?}"));
    }
}

/// A whole answer is the script's, whatever happened on the way.
fn acked_task(world: &World, acked: &Acked, task: &Task, kept: Option<&Kept>) {
    let Some(kept) = kept else { return };
    if kept.epoch != acked.epoch {
        broken(world, format_args!("{} has another epoch than its ack said", acked.task));
    }
    let mut answer = Answer::default();
    for event in &kept.events {
        let data = if event.kind.is_text() {
            serde_json::Value::String(String::from_utf8_lossy(&event.data).into_owned())
        } else {
            serde_json::from_slice(&event.data).unwrap_or_default()
        };
        let event = serde_json::json!({ "offset": event.offset.0, "type": event.kind.name(), "at": 0, "data": data });
        let event = event.to_string();
        answer.apply(&serde_json::from_str::<WireEvent<'_>>(&event).expect("an event"));
    }
    if task.state == State::Done && answer.text() != acked.text {
        broken(world, format_args!("{} answers {:?}, not {:?}", acked.task, answer.text(), acked.text));
    }
    // Whatever it came to, it never says what the script does not say.
    if !acked.text.starts_with(answer.text()) {
        broken(world, format_args!("{} says {:?}, which is no beginning of its script", acked.task, answer.text()));
    }
}

/// A log has one end, at its end, and the record says the same.
fn ending(world: &World, task: &Task, kept: &Kept) {
    let id = task.id;
    for (place, event) in kept.events.iter().enumerate() {
        if event.offset.0 != place as u64 {
            broken(world, format_args!("{id} has offset {} at place {place}", event.offset.0));
        }
    }
    let count = kept.events.iter().filter(|event| event.kind == Kind::End).count();
    let last = kept.events.last().filter(|event| event.kind == Kind::End);
    if count != usize::from(kept.ended) || last.is_some() != kept.ended || kept.ended != task.state.is_ended() {
        broken(world, format_args!("{id}: {count} ends, ended: {}, and its record is {:?}", kept.ended, task.state));
    }
    let ending = last.and_then(|last| serde_json::from_slice::<Ending>(&last.data).ok());
    if task.ended.as_ref().map(|(_, ending)| ending) != ending.as_ref() {
        broken(world, format_args!("{id}'s record and its end event differ: {:?}, {ending:?}", task.ended));
    }
    if ending.is_some_and(|ending| ending.attempts > task.spec.max_attempts) {
        broken(world, format_args!("{id} had more attempts than it may have"));
    }
}

/// What a client saw stands in the log.
fn saw(world: &World, seen: &Seen, kept: Option<&Kept>) {
    // A transient log went with its host.
    let Some(kept) = kept else { return };
    let from = usize::try_from(seen.offset).unwrap_or(usize::MAX).min(kept.events.len());
    let to = from.saturating_add(usize::try_from(seen.count).unwrap_or(0)).min(kept.events.len());
    let events = &kept.events[from..to];
    let mut data = String::new();
    for event in events {
        data.push_str(&String::from_utf8_lossy(&event.data));
    }
    if !matches!(&*seen.kind, "text" | "reasoning") {
        data = serde_json::from_str::<serde_json::Value>(&data).unwrap_or_default().to_string();
    }
    let same = events.len() as u64 == seen.count && events.iter().all(|event| event.kind.name() == seen.kind);
    if !same || data != seen.data || kept.epoch != seen.epoch.0 {
        broken(world, format_args!("{} saw {seen:?}, and the log has {data:?} ({})", seen.who, kept.at.log));
    }
}

/// After a stop's answer at most one more piece of text, and the answer is true.
fn stopped(world: &World, state: &str, at: Timestamp, task: &Task, kept: &Kept) {
    let after = kept.events.iter().filter(|event| event.kind == Kind::Text && event.at > at).count();
    if after > 1 {
        broken(world, format_args!("{} says {after} more pieces after the answer to its stop", task.id));
    }
    if state != "running" && state != "queued" && state != task.state.name() {
        broken(world, format_args!("{} was answered as {state}, and is {}", task.id, task.state.name()));
    }
}

/// Each task that ended was settled once, for what its end says.
fn settled(world: &World, tasks: &[Task]) {
    let totals = at_once(world.accounts.totals(TenantId::DEFAULT)).expect("the memory engine adds up");
    let mut usage = Usage::default();
    for task in tasks {
        let Some((at, ending)) = &task.ended else { continue };
        usage = usage.plus(ending.usage);
        let again = Settlement { task: task.at(), at: *at, usage: Usage::default(), deployment: None };
        if at_once(world.accounts.settle(again)).expect("the memory engine settles") {
            broken(world, format_args!("{} has ended, and was never settled", task.id));
        }
        if ending.state == Outcome::Done && ending.usage.output_tokens == 0 {
            broken(world, format_args!("{} is done, and used nothing", task.id));
        }
    }
    // A transient task is settled here too, also one whose ack got lost, and its record went with its host.
    let transient = world.history.told().asked_transient;
    let over = totals.usage.output_tokens > usage.output_tokens && !transient;
    if totals.usage.output_tokens < usage.output_tokens || over {
        broken(world, format_args!("the ends say {usage:?}, and the accounts {totals:?}"));
    }
}
