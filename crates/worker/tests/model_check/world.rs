//! What there is: one task's log, record and account, by the real rules, in few bytes; and how calls change them.

use crate::actors::{Actor, Call};
use std::sync::Arc;
use tidewire_core::port::{Append, AppendError, Head, Leasing, Release, Writer};
use tidewire_core::task::Lease;
use tidewire_core::{
    Durability, Ending, Entry, Epoch, Fence, Kind, LogRef, Offset, OnDisconnect, Outcome, Spec, State, Task, TaskId,
    TenantId, Timestamp, Usage, WorkerId,
};

/// Attempts that the task may have.
pub(crate) const MAX_ATTEMPTS: u32 = 2;
/// Now, all the time: a lease lapses by its own moment coming closer.
const NOW: Timestamp = Timestamp::from_millis(10);
/// When a fresh lease lapses.
const LATER: Timestamp = Timestamp::from_millis(20);

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) engines: Engines,
    pub(crate) fault: Option<Fault>,
    /// How many workers fall at most.
    pub(crate) crashes: u8,
    /// How many leases lapse at most while their worker lives and goes on.
    pub(crate) lapses: u8,
    /// Somebody may stop the task, and then the reaper is there too.
    pub(crate) stops: bool,
}

/// Where log, record and account are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// In one engine: the end of the log finishes and settles in the same commit.
    Together,
    /// In three, and the reaper carries an end from one to the next.
    Apart,
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The log takes any fence, at any tail.
    NoFences,
    /// The log takes appends after its end.
    NoEnds,
    /// An end is carried to the record before it is carried to the account.
    FinishesFirst,
}

/// The log: where it stands, and how often and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) fence: u64,
    pub(crate) tail: u64,
    pub(crate) ends: Vec<Outcome>,
}

/// The task's record, without what never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) state: State,
    stop_requested: bool,
    attempts: u32,
    pub(crate) fence: u64,
    leased_until: Option<u64>,
    pub(crate) ended: Option<Outcome>,
}

/// All of it, and who is about to do what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) record: Record,
    /// How often the account was charged.
    pub(crate) settled: u8,
    pub(crate) actors: [Actor; 3],
    /// Calls of workers that fell: each may still arrive, at any time, or never.
    pub(crate) orphans: Vec<Call>,
    pub(crate) crashes: u8,
    pub(crate) lapses: u8,
    /// An older fence wrote after a newer one had.
    pub(crate) overtaken: bool,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    TailMoved(u64),
    Ended,
    Fenced,
    /// The lease no longer counts.
    Lost,
}

fn task_id() -> TaskId {
    TaskId::new(NOW, 1, Durability::Durable)
}

fn log_ref() -> LogRef {
    LogRef { tenant: TenantId::DEFAULT, log: task_id().log() }
}

fn worker() -> WorkerId {
    WorkerId("worker".into())
}

fn ending(state: Outcome) -> Ending {
    Ending {
        state,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: Usage::default(),
        deployment: None,
        attempts: 0,
        cache: None,
    }
}

fn blank_task() -> Task {
    let spec = Spec {
        model: String::new(),
        capability: Arc::from(""),
        input: bytes::Bytes::new(),
        on_disconnect: OnDisconnect::Continue,
        deadline: LATER,
        max_attempts: MAX_ATTEMPTS,
        ..Spec::default()
    };
    Task::new(task_id(), TenantId::DEFAULT, spec, NOW)
}

impl Record {
    fn new() -> Self {
        Self::of(&blank_task())
    }

    fn of(task: &Task) -> Self {
        Self {
            state: task.state,
            stop_requested: task.stop_requested,
            attempts: task.attempts,
            fence: task.fence.0,
            leased_until: task.leased_until.map(Timestamp::as_millis),
            ended: task.ended.as_ref().map(|(_, ending)| ending.state),
        }
    }

    fn task(&self) -> Task {
        Task {
            state: self.state,
            stop_requested: self.stop_requested,
            attempts: self.attempts,
            fence: Fence(self.fence),
            leased_until: self.leased_until.map(Timestamp::from_millis),
            ended: self.ended.map(|outcome| (NOW, ending(outcome))),
            ..blank_task()
        }
    }

    /// A change by the real rules.
    fn change<T>(&mut self, change: impl FnOnce(&mut Task) -> T) -> T {
        let mut task = self.task();
        let changed = change(&mut task);
        *self = Self::of(&task);
        changed
    }

    /// Takes the lease, where it is to be had: its fence and the attempt.
    pub(crate) fn lease(&mut self, seize: bool) -> Option<(u64, u32)> {
        let leasing = Leasing { worker: worker(), now: NOW, until: LATER, seize };
        let lease = self.change(|task| task.lease(leasing)).ok()?;
        Some((lease.fence.0, lease.attempt))
    }

    pub(crate) fn request_stop(&mut self) {
        self.change(Task::request_stop);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_requested
    }

    pub(crate) fn is_held_by(&self, fence: u64) -> bool {
        self.task().is_held_by(&lease(fence))
    }

    pub(crate) fn has_lapsed(&self) -> bool {
        self.task().lapsed(NOW)
    }

    /// Time goes on until the lease is no longer good.
    pub(crate) fn lapse(&mut self) {
        self.leased_until = Some(NOW.as_millis());
    }
}

fn lease(fence: u64) -> Lease {
    let task = tidewire_core::TaskRef { tenant: TenantId::DEFAULT, task: task_id() };
    Lease { task, fence: Fence(fence), attempt: 1, worker: worker() }
}

impl Log {
    fn admit(&mut self, fence: u64, expect: u64, entries: Vec<Entry>, ends: bool, fault: Option<Fault>) -> Answer {
        let tail = self.tail;
        let mut head = Head::new(Epoch(1));
        head.state.tail = Offset(tail);
        head.state.fence = Fence(if fault == Some(Fault::NoFences) { 0 } else { self.fence });
        head.state.ended = !self.ends.is_empty() && fault != Some(Fault::NoEnds);
        let expect = if fault == Some(Fault::NoFences) { tail } else { expect };
        let count = entries.len() + usize::from(ends);
        let writer = Writer::Leased { fence: Fence(fence), expect: Offset(expect) };
        let admitted = head.admit(&Append { log: log_ref(), writer, entries }, count);
        self.fence = self.fence.max(head.state.fence.0);
        match admitted {
            Ok(_) => Answer::Done,
            Err(AppendError::TailMoved { tail }) => Answer::TailMoved(tail.0),
            Err(AppendError::Ended { .. }) => Answer::Ended,
            Err(AppendError::Fenced { .. }) => Answer::Fenced,
            Err(other) => unreachable!("{other}"),
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            log: Log { fence: 0, tail: 0, ends: Vec::new() },
            record: Record::new(),
            settled: 0,
            actors: Default::default(),
            orphans: Vec::new(),
            crashes: 0,
            lapses: 0,
            overtaken: false,
        }
    }

    /// A call arrives.
    pub(crate) fn apply(&mut self, call: Call, variant: Variant) -> Answer {
        match call {
            Call::Append { fence, expect, texts } => self.append(fence, expect, texts, None, variant),
            Call::End { fence, expect, how } => self.append(fence, expect, 0, Some(how.into()), variant),
            Call::Release { fence, counts } => {
                let release = if counts { Release::Retry { not_before: NOW } } else { Release::HandBack };
                let released = self.record.change(|task| task.release(&lease(fence), release));
                if released.is_ok() { Answer::Done } else { Answer::Lost }
            }
            Call::Settle => {
                self.settled = self.settled.max(1);
                Answer::Done
            }
            Call::Finish => {
                self.finish();
                Answer::Done
            }
        }
    }

    fn append(&mut self, fence: u64, expect: u64, texts: usize, end: Option<Outcome>, variant: Variant) -> Answer {
        let newest = self.log.fence;
        let entries = vec![Entry::new(NOW, Kind::Text, "word"); texts];
        let answer = self.log.admit(fence, expect, entries, end.is_some(), variant.fault);
        if answer == Answer::Done {
            let count = texts + usize::from(end.is_some());
            self.overtaken |= count > 0 && fence < newest;
            self.log.tail += count as u64;
            self.log.ends.extend(end);
            if end.is_some() && variant.engines == Engines::Together {
                self.settled = self.settled.max(1);
                self.finish();
            }
        }
        answer
    }

    /// The record takes over how the log ended.
    fn finish(&mut self) {
        if let Some(outcome) = self.log.ends.first().copied() {
            self.record.change(|task| task.finish(NOW, ending(outcome)));
        }
    }

    /// Which promise is broken, if one is.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        if self.overtaken {
            return Some("an older fence wrote after a newer one");
        }
        if self.log.ends.len() > 1 {
            return Some("the log ended twice");
        }
        if self.record.ended.is_some() && self.log.ends.is_empty() {
            return Some("the record is finished, and the log goes on");
        }
        if self.record.ended.is_some() && self.record.ended != self.log.ends.first().copied() {
            return Some("record and log ended differently");
        }
        if self.settled > 0 && self.log.ends.is_empty() {
            return Some("it is settled, and the log goes on");
        }
        None
    }

    /// The log has ended, the record is finished, the account is settled.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.log.ends.len() == 1 && self.record.ended.is_some() && self.settled == 1
    }
}
