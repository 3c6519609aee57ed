//! Draws the next call: from few names and numbers, so that calls meet, and mostly such that it may succeed.

use super::{Expecting, Model, Op, ReadFrom};
use crate::given::{self, NOW};
use crate::random::Random;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Amounts, Append, Leasing, Release, Writer};
use tidewire_core::task::Idempotency;
use tidewire_core::{Durability, Entry, Fence, LogRef, Money, Offset, Outcome, TaskRef, Timestamp, WorkerId};

/// Tasks that are submitted at most.
const TASKS: usize = 5;
/// Logs with many writers.
const SHARED: u64 = 2;

/// What a drawn call may be about.
pub(super) struct Draw<'a> {
    pub(super) model: &'a Model,
    pub(super) random: Random,
    pub(super) durability: fn(u64) -> Durability,
}

impl Draw<'_> {
    pub(super) fn op(mut self) -> Op {
        if self.model.survives && self.random.once_in(12) {
            return if self.random.once_in(3) { Op::Reopen } else { Op::Fail(Box::new(self.commits())) };
        }
        self.call()
    }

    fn call(&mut self) -> Op {
        match self.random.below(48) {
            0..12 => Op::Append(self.append()),
            12..15 => Op::End(self.append(), self.outcome()),
            15 => Op::Create(self.log()),
            16..19 => self.read(),
            19..23 => self.submit(),
            23 => Op::RequestStop(self.task()),
            24..28 => Op::Lease(self.task(), self.leasing()),
            28 => Op::Renew(self.leases(), self.moment()),
            29 => self.release(),
            30 => Op::Finish(self.task(), self.outcome()),
            31 => Op::Settle(self.task(), self.random.below(3)),
            32 => Op::Trim(self.log(), Offset(self.random.below(6))),
            33 => Op::Erase(self.log()),
            34 => Op::Remove(self.log()),
            40..43 => self.reserve(),
            43 => Op::TopUp(self.task(), self.moment(), self.amounts(0)),
            44 => Op::GiveBack(self.task()),
            45..48 => Op::Settle(self.task(), self.random.below(60)),
            35..38 => Op::Put(self.name(), self.name(), self.expecting()),
            _ => Op::Forget(self.name(), self.expecting()),
        }
    }

    /// A call that waits for its commit: a lease, its renewal and its return need not, nor what is given back.
    fn commits(&mut self) -> Op {
        loop {
            let op = self.call();
            if !matches!(op, Op::Lease(..) | Op::Renew(..) | Op::Release(..) | Op::GiveBack(_)) {
                return op;
            }
        }
    }

    fn one_of<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.random.place(from.len())).cloned()
    }

    /// One that was submitted, or one that never was.
    fn task(&mut self) -> TaskRef {
        let known: Vec<TaskRef> = self.model.submitted.iter().map(tidewire_core::Task::at).collect();
        let never = given::task_ref(Durability::Durable, 99);
        if self.random.once_in(20) { never } else { self.one_of(&known).unwrap_or(never) }
    }

    fn log(&mut self) -> LogRef {
        if self.random.once_in(2) {
            return self.task().log();
        }
        let number = self.random.below(SHARED);
        given::shared_log((self.durability)(number), number)
    }

    fn outcome(&mut self) -> Outcome {
        self.one_of(&[Outcome::Done, Outcome::Failed, Outcome::Stopped]).unwrap_or(Outcome::Done)
    }

    fn append(&mut self) -> Append {
        let log = self.log();
        let kept = self.model.logs.get(log);
        let (tail, fence) = kept.map_or((0, 0), |log| (log.tail().0, log.fence().0));
        let of_task = log.log.task().is_some() != self.random.once_in(25);
        let writer = if of_task {
            let right = !self.random.once_in(5);
            let expect = Offset(if right { tail } else { self.random.below(tail + 2) });
            let fence = if self.random.once_in(3) { self.random.below(fence + 3) } else { fence };
            Writer::Leased { fence: Fence(fence), expect }
        } else if self.random.once_in(4) {
            Writer::Open { rank: self.rank() }
        } else {
            let producer = self.one_of(&["phone", "laptop"]).unwrap_or_default().into();
            let (epoch, sequence) = (self.random.below(2), self.random.below(4));
            Writer::Producer { producer, epoch, sequence, rank: self.rank() }
        };
        Append { log, writer, entries: self.entries() }
    }

    fn rank(&mut self) -> Option<Arc<str>> {
        let ranks = ["a", "aa", "b", "c", "d"];
        if self.random.once_in(4) { self.one_of(&ranks).map(Arc::from) } else { None }
    }

    fn entries(&mut self) -> Vec<Entry> {
        let count = self.random.below(4);
        (0..count).map(|_| given::text(&"word ".repeat(self.random.place(40)))).collect()
    }

    fn read(&mut self) -> Op {
        let max_bytes = self.one_of(&[0, 1, 100, usize::MAX]).unwrap_or(0);
        let next = Offset(self.random.below(8));
        Op::Read(self.log(), ReadFrom { next, max_bytes, right_epoch: !self.random.once_in(8) })
    }

    /// A new task, or one that was submitted before, as a client sends it again.
    fn submit(&mut self) -> Op {
        if self.model.submitted.len() >= TASKS || self.random.once_in(4) {
            let known = self.model.submitted.clone();
            if let Some(task) = self.one_of(&known) {
                return Op::Submit(Box::new(task));
            }
        }
        let number = self.model.submitted.len() as u64;
        let durability = (self.durability)(number);
        let mut task = given::task(durability, number);
        if self.random.once_in(2) {
            // A key is one engine's: see `ByDurability`.
            let key = format!("{durability:?} {}", self.random.below(2));
            task.idempotency = Some(Idempotency { key, body_hash: self.random.below(2) });
        }
        Op::Submit(Box::new(task))
    }

    fn amounts(&mut self, requests: u64) -> Amounts {
        let (input_tokens, output_tokens) = (self.random.below(50), self.random.below(60));
        Amounts { requests, input_tokens, output_tokens, cost: Money(self.random.below(80)) }
    }

    /// For a task before its submit, for the most part, as admission does it.
    fn reserve(&mut self) -> Op {
        let number = self.model.submitted.len() as u64;
        let next = given::task_ref((self.durability)(number), number);
        let task = if self.random.once_in(3) { self.task() } else { next };
        if self.model.settled.contains(&task) {
            return self.submit();
        }
        Op::Reserve(task, self.moment(), self.amounts(1), self.random.once_in(2))
    }

    fn moment(&mut self) -> Timestamp {
        NOW.plus(Duration::from_secs(self.random.below(4) * 5))
    }

    fn leasing(&mut self) -> Leasing {
        let (now, until) = (self.moment(), self.moment());
        Leasing { worker: WorkerId("worker".into()), now, until, seize: self.random.once_in(4) }
    }

    fn leases(&mut self) -> Vec<tidewire_core::task::Lease> {
        let known = self.model.leases.clone();
        (0..self.random.below(4)).filter_map(|_| self.one_of(&known)).collect()
    }

    fn release(&mut self) -> Op {
        let known = self.model.leases.clone();
        let Some(lease) = self.one_of(&known) else { return self.submit() };
        let not_before = self.moment();
        let release = if self.random.once_in(2) { Release::HandBack } else { Release::Retry { not_before } };
        Op::Release(lease, release)
    }

    fn name(&mut self) -> u8 {
        u8::try_from(self.random.below(3)).unwrap_or(0)
    }

    fn expecting(&mut self) -> Expecting {
        match self.random.below(3) {
            0 => Expecting::Anything,
            1 => Expecting::Absent,
            _ => Expecting::Given(self.random.place(self.model.named.given() + 1)),
        }
    }
}
