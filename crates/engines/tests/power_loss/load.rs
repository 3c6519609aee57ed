//! The load that is recorded: tasks and shared logs, each a story of steps, many stories at once. A seed gives the
//! whole of it, so that whoever rebuilds the disk knows what must be on it.

use crate::made::{NOW, TENANT, ending, leasing, task_of, text};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use tidewire_core::port::{Append, EventLog, Ledger, TaskStore, Writer};
use tidewire_core::task::Idempotency;
use tidewire_core::{Durability, Entry, Fence, Kind, LogId, LogRef, Offset, Task};
use tidewire_engines::embedded::{Config, Engine};
use tidewire_testkit::clock::HandClock;
use tidewire_testkit::random::Random;

/// How large the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Some hundred commits, all of them in the journal.
    Small,
    /// Inputs of many MB, so that the store also flushes its memory into tables and begins another journal.
    Large,
}

impl Size {
    fn stories(self) -> usize {
        match self {
            Self::Small => 80,
            Self::Large => 260,
        }
    }

    fn input_bytes(self, random: &mut Random) -> usize {
        match self {
            Self::Small => random.place(300),
            // On both sides of 64 KiB, from which on an input is written before its task's commit.
            Self::Large => 40_000 + random.place(50_000),
        }
    }
}

/// One thing that a story does, and waits for.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit,
    Lease,
    Create,
    Append(Vec<Entry>),
    End,
}

/// What happens to one log, in order.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// The task, where the log is a task's.
    pub(crate) task: Option<Task>,
    pub(crate) log: LogRef,
    pub(crate) steps: Vec<Step>,
}

impl Story {
    fn of_task(number: usize, size: Size, random: &mut Random) -> Self {
        let mut task = task_of(TENANT, number as u64);
        task.spec.input = random_text(size.input_bytes(random), random).into();
        if random.once_in(2) {
            task.idempotency = Some(Idempotency { key: format!("key {number}"), body_hash: random.bits() });
        }
        let mut steps = vec![Step::Submit, Step::Lease];
        steps.extend((0..random.below(8)).map(|_| Step::Append(random_entries(Kind::Text, random))));
        if !random.once_in(4) {
            steps.push(Step::End);
        }
        Self { log: task.at().log(), task: Some(task), steps }
    }

    fn of_shared_log(number: usize, random: &mut Random) -> Self {
        let log = LogRef { tenant: TENANT, log: LogId::shared(NOW, number as u128, Durability::Durable) };
        let mut steps = vec![Step::Create];
        steps.extend((0..random.below(10)).map(|_| Step::Append(random_entries(Kind::Data, random))));
        Self { task: None, log, steps }
    }

    /// The place of a step's first event, if the steps before it are done.
    pub(crate) fn tail_before(&self, step: usize) -> u64 {
        let counts = self.steps[..step].iter().map(|step| match step {
            Step::Append(entries) => entries.len() as u64,
            Step::End => 1,
            _ => 0,
        });
        counts.sum()
    }

    /// By what right a step appends: a task's log under its first lease, a shared one by two producers in turn.
    pub(crate) fn writer(&self, step: usize) -> Writer {
        if self.task.is_some() {
            return Writer::Leased { fence: Fence(1), expect: Offset(self.tail_before(step)) };
        }
        let turn = step as u64 - 1;
        let producer = if turn.is_multiple_of(2) { "even" } else { "odd" };
        Writer::Producer { producer: producer.into(), epoch: 3, sequence: turn / 2, rank: None }
    }

    async fn take(&self, engine: &Engine, step: usize) {
        let append = |entries| Append { log: self.log, writer: self.writer(step), entries };
        let task = || self.task.clone().unwrap();
        match &self.steps[step] {
            Step::Submit => assert!(engine.submit(task()).await.unwrap().fresh),
            Step::Lease => assert_eq!(engine.lease(task().at(), leasing()).await.unwrap().1.fence, Fence(1)),
            Step::Create => drop(engine.create(self.log).await.unwrap()),
            Step::Append(entries) => drop(engine.append(append(entries.clone())).await.unwrap()),
            Step::End => drop(engine.end(append(vec![]), ending()).await.unwrap()),
        }
    }
}

fn random_text(length: usize, random: &mut Random) -> String {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        write!(text, "{:x} ", random.bits()).unwrap();
    }
    text
}

fn random_entries(kind: Kind, random: &mut Random) -> Vec<Entry> {
    let count = 1 + random.place(3);
    let length = if random.once_in(5) { 3000 } else { 60 };
    let entries = (0..count).map(|_| text(random_text(random.place(length), random)));
    entries.map(|entry| Entry { kind, ..entry }).collect()
}

/// All stories of a seed.
pub(crate) fn stories(seed: u64, size: Size) -> Vec<Story> {
    let mut random = Random::new(seed);
    let one = |number: usize| match number % 4 {
        3 => Story::of_shared_log(number, &mut random),
        _ => Story::of_task(number, size, &mut random),
    };
    (0..size.stories()).map(one).collect()
}

/// Says so on stdout, where the recorder orders it with what the disk is told.
#[allow(clippy::print_stdout, reason = "the recorder reads it")]
fn say(what: std::fmt::Arguments<'_>) {
    println!("@{what}");
}

/// Plays all stories: in each round some of them go one step on, at once. Half-way the store is closed and opened.
pub(crate) async fn play(directory: &Path, seed: u64, size: Size) {
    let stories = stories(seed, size);
    let mut random = Random::new(seed ^ 0xF00D);
    let mut done = vec![0; stories.len()];
    let mut engine = open(directory);
    let (mut steps, whole) = (0, stories.iter().map(|story| story.steps.len()).sum::<usize>());
    let mut reopened = false;
    while steps < whole {
        if steps > whole / 2 && !reopened {
            reopened = true;
            engine.shutdown().await;
            drop(engine);
            engine = open(directory);
        }
        let open: Vec<_> = (0..stories.len()).filter(|story| done[*story] < stories[*story].steps.len()).collect();
        let mut chosen: Vec<_> = (0..=random.place(6)).map(|_| open[random.place(open.len())]).collect();
        chosen.sort_unstable();
        chosen.dedup();
        let (engine, stories, done_before) = (&engine, &stories, &done);
        futures_util::future::join_all(chosen.iter().map(|story| async move {
            let step = done_before[*story];
            say(format_args!("sent {story} {step}"));
            stories[*story].take(engine, step).await;
            say(format_args!("done {story} {step}"));
        }))
        .await;
        for story in chosen {
            done[story] += 1;
            steps += 1;
        }
    }
    assert!(engine.totals(TENANT).await.unwrap().tasks > 0);
    engine.shutdown().await;
}

fn open(directory: &Path) -> Engine {
    let (engine, recovered) = Engine::open(Config::new(directory), Arc::new(HandClock::new(1))).unwrap();
    assert!(recovered.damaged.is_empty(), "{recovered:?}");
    say(format_args!("opened"));
    engine
}
