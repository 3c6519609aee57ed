//! What the engine gives back of a rebuilt disk, held against what was acknowledged before the cut.

use crate::load::{Step, Story};
use crate::made::{NOW, TENANT, USAGE, ending, leasing, task_of};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tidewire_core::port::{
    Append, Cursor, EventLog, FeedPosition, Ledger, LogKeeping, ReadError, SubmitError, TaskStore, Writer,
};
use tidewire_core::{Event, Fence, Kind, LogRef, Offset, State, TenantId};
use tidewire_engines::embedded::{Config, Engine, Mode, Recovered};
use tidewire_testkit::clock::HandClock;

/// How far each story had come: how many of its steps were sent, and how many of those acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Come {
    pub(crate) sent: usize,
    pub(crate) done: usize,
}

/// Reads the notes of the load.
pub(crate) fn come<'a>(notes: impl Iterator<Item = &'a str>, stories: usize) -> Vec<Come> {
    let mut come = vec![Come::default(); stories];
    for note in notes {
        let words: Vec<_> = note.trim_start_matches('@').split(' ').collect();
        if let [what @ ("sent" | "done"), story, step] = words[..] {
            let story: &mut Come = &mut come[story.parse::<usize>().unwrap()];
            let count = step.parse::<usize>().unwrap() + 1;
            *(if what == "sent" { &mut story.sent } else { &mut story.done }) = count;
        }
    }
    come
}

/// What is not as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The engine said so itself: an error, or a name in the list of what is damaged.
    Told(String),
    /// The open panicked.
    Panicked,
    /// Something acknowledged is not there, and nothing says so.
    Lost(String),
    /// Something is there that was never written, or not as it was written.
    Wrong(String),
}
use Finding::{Lost, Told, Wrong};

/// Everything that is not as it should be.
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Notes an error of the engine's.
    fn told<T, E: std::fmt::Display>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(Told(format!("{what}: {error}")))).ok()
    }
}

/// Opens the engine on a rebuilt disk. It syncs nothing: this disk does not lose power again.
pub(crate) fn open(directory: &Path) -> Result<(Engine, Recovered), String> {
    let config = Config { mode: Mode::Write, ..Config::new(directory) };
    Engine::open(config, Arc::new(HandClock::new(2))).map_err(|error| error.to_string())
}

/// Opens, checks, and closes.
pub(crate) async fn check(directory: &Path, stories: &[Story], come: &[Come]) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    match open(directory) {
        Err(refused) => findings.add(Told(format!("the open: {refused}"))),
        Ok((engine, recovered)) => {
            recovered.damaged.into_iter().for_each(|damaged| findings.add(Told(damaged)));
            let mut tails = HashMap::new();
            for (story, come) in stories.iter().zip(come) {
                if let Some(tail) = check_story(&engine, story, *come, &mut findings).await {
                    tails.insert(story.log, tail);
                }
            }
            check_feed(&engine, &tails, &mut findings).await;
            check_totals(&engine, stories, &mut findings).await;
            for (story, come) in stories.iter().zip(come) {
                go_on(&engine, story, *come, &tails, &mut findings).await;
            }
            engine.shutdown().await;
        }
    }
    findings.0
}

/// A log's events and its task. Its tail, where that could be read.
async fn check_story(engine: &Engine, story: &Story, come: Come, findings: &mut Findings) -> Option<Offset> {
    let name = story.log.log.to_string();
    if let Some(task) = &story.task {
        match findings.told(&name, engine.get(task.at()).await)? {
            None if come.done > 0 => findings.add(Lost(format!("{name} was acknowledged"))),
            Some(_) if come.sent == 0 => findings.add(Wrong(format!("{name} was never submitted"))),
            Some(found) if found.spec != task.spec || found.idempotency != task.idempotency => {
                findings.add(Wrong(format!("{name} was submitted in other words")));
            }
            _ => {}
        }
    }
    let state = match engine.state(story.log).await {
        Err(ReadError::Unknown) if come.done == 0 => return None,
        Err(ReadError::Unknown) => {
            findings.add(Lost(format!("the log {name}")));
            return None;
        }
        state => findings.told(&name, state)?,
    };
    let events = read_all(engine, story.log, findings).await?;
    check_events(story, come, &events, findings);
    check_end(engine, story, &events, findings).await;
    Some(state.tail)
}

async fn read_all(engine: &Engine, log: LogRef, findings: &mut Findings) -> Option<Vec<Event>> {
    let name = log.log.to_string();
    let state = findings.told(&name, engine.state(log).await)?;
    let mut events: Vec<Event> = Vec::new();
    while (events.len() as u64) < state.tail.0 {
        let cursor = Cursor { epoch: state.epoch, next: Offset(events.len() as u64) };
        let page = findings.told(&name, engine.read(log, cursor, 2000).await)?;
        for event in page.events {
            if event.offset.0 != events.len() as u64 {
                findings.add(Wrong(format!("{name} is not dense at {}", events.len())));
                return None;
            }
            events.push(event);
        }
    }
    Some(events)
}

/// The events are those of the story's steps, as many whole steps as were acknowledged, at most as many as were sent.
fn check_events(story: &Story, come: Come, events: &[Event], findings: &mut Findings) {
    let name = story.log.log;
    let counts = come.done..=come.sent;
    let Some(whole) = counts.clone().find(|steps| story.tail_before(*steps) == events.len() as u64) else {
        let count = events.len();
        let (least, most) = (story.tail_before(come.done), story.tail_before(come.sent));
        let what = format!("{name} has {count} events; {least} were acknowledged and {most} sent");
        return findings.add(if (count as u64) < least { Lost(what) } else { Wrong(what) });
    };
    let mut expected = Vec::new();
    for step in &story.steps[..whole] {
        match step {
            Step::Append(entries) => expected.extend(entries.iter().map(|e| (e.at, e.kind, e.data.to_vec()))),
            Step::End => expected.push((NOW, Kind::End, ending().to_json())),
            _ => {}
        }
    }
    let found: Vec<_> = events.iter().map(|event| (event.at, event.kind, event.data.to_vec())).collect();
    if found != expected {
        findings.add(Wrong(format!("{name} holds other events than were written")));
    }
}

async fn check_end(engine: &Engine, story: &Story, events: &[Event], findings: &mut Findings) {
    let Some(task) = &story.task else { return };
    let Some(Some(found)) = findings.told(&task.id.to_string(), engine.get(task.at()).await) else { return };
    let ended = events.last().is_some_and(|event| event.kind == Kind::End);
    let as_ended = found.state == State::Done && found.ended == Some((NOW, ending()));
    if ended != as_ended {
        findings.add(Wrong(format!("{}: its log ended is {ended}, and its record says {:?}", task.id, found.state)));
    }
}

/// The feed names every event once, in order.
async fn check_feed(engine: &Engine, tails: &HashMap<LogRef, Offset>, findings: &mut Findings) {
    let Some(entries) = findings.told("the feed", engine.feed(FeedPosition(0), usize::MAX).await) else { return };
    let mut told: HashMap<LogRef, Offset> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let at = told.entry(entry.log).or_default();
        if entry.position.0 != number as u64 + 1 || entry.from != *at {
            findings.add(Wrong(format!("the feed is not dense at {}: {entry:?}", number + 1)));
        }
        *at = entry.to;
    }
    for (log, tail) in tails {
        if told.get(log).copied().unwrap_or_default() != *tail {
            findings.add(Lost(format!("the feed's entries of {}", log.log)));
        }
    }
}

async fn check_totals(engine: &Engine, stories: &[Story], findings: &mut Findings) {
    let mut ended = 0;
    for task in stories.iter().filter_map(|story| story.task.as_ref()) {
        // Of a record that can't be read nothing is known; that was told before.
        let Ok(found) = engine.get(task.at()).await else { return };
        ended += u64::from(found.is_some_and(|found| found.state == State::Done));
    }
    let Some(totals) = findings.told("the totals", engine.totals(TENANT).await) else { return };
    if totals.tasks != ended || totals.usage.output_tokens != ended * USAGE.output_tokens {
        findings.add(Wrong(format!("{} tasks are settled and {ended} have ended", totals.tasks)));
    }
}

/// The store takes up work where it was left: keys hold, producers repeat themselves, leases are given anew.
async fn go_on(engine: &Engine, story: &Story, come: Come, tails: &HashMap<LogRef, Offset>, findings: &mut Findings) {
    let (name, Some(tail)) = (story.log.log.to_string(), tails.get(&story.log).copied()) else { return };
    if let Some(task) = &story.task {
        check_key(engine, story, come, findings).await;
        let Ok(Some(found)) = engine.get(task.at()).await else { return };
        if found.state == State::Done {
            return;
        }
        let Some((_, lease)) = findings.told(&name, engine.lease(task.at(), leasing()).await) else { return };
        if tail > Offset(0) && lease.fence <= Fence(1) {
            findings.add(Wrong(format!("{name}: the fence {} is given again", lease.fence.0)));
        }
        let writer = Writer::Leased { fence: lease.fence, expect: tail };
        let entries = vec![crate::made::text("on it goes")];
        findings.told(&name, engine.append(Append { log: story.log, writer, entries }).await);
        return;
    }
    let steps = 1..story.steps.len();
    let Some(last) = steps.rev().find(|step| story.tail_before(step + 1) == tail.0 && tail.0 > 0) else { return };
    let Step::Append(entries) = &story.steps[last] else { return };
    let again = Append { log: story.log, writer: story.writer(last), entries: entries.clone() };
    let Some(answer) = findings.told(&name, engine.append(again).await) else { return };
    if (answer.from.0, answer.to) != (story.tail_before(last), tail) {
        findings.add(Wrong(format!("{name}: a producer's repeated append stands at {answer:?}")));
    }
}

async fn check_key(engine: &Engine, story: &Story, come: Come, findings: &mut Findings) {
    let Some(task) = &story.task else { return };
    let Some(key) = task.idempotency.clone().filter(|_| come.done > 0) else { return };
    let mut other = task_of(TenantId(TENANT.0), 1_000_000);
    other.idempotency = Some(key.clone());
    match engine.submit(other.clone()).await {
        Ok(known) if known.task.id == task.id && !known.fresh => {}
        Ok(_) => findings.add(Lost(format!("the key of {}", task.id))),
        Err(error) => findings.add(Told(error.to_string())),
    }
    let mut wrong = key;
    wrong.body_hash ^= 1;
    other.idempotency = Some(wrong);
    match engine.submit(other).await {
        Err(SubmitError::KeyConflict { task: holder }) if holder == task.id => {}
        Err(SubmitError::Unavailable(error)) => findings.add(Told(error.to_string())),
        _ => findings.add(Lost(format!("the body of the key of {}", task.id))),
    }
}
