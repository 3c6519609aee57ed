//! What an engine must answer, as plain data: logs, tasks, accounts and named records in maps, each rule written out
//! once more from the ports' words. It calls none of the rules of `core`, so that it can disagree with them.
//!
//! ```text
//!  an op, drawn by chance ──┬──▶ model  ──▶ answer, state ──┐
//!                           └──▶ engine ──▶ answer, reads ──┴──▶ the same, or the ops that led here, made few
//! ```
//!
//! [`check`] runs it against an engine. To add a rule: an [`Op`], what it does to the [`Model`], how [`play`] makes
//! it on an engine, and when `draw` draws it.

mod dispatch;
mod draw;
mod ledger;
mod log;
mod machine;
mod named;
mod play;
mod tasks;

pub use dispatch::check_dispatch;
pub use machine::{check, difference};
pub use play::{Engines, Subject};

use crate::given;
use ledger::{Accounts, Remaining};
use log::Logs;
use named::Named;
use std::collections::{BTreeMap, BTreeSet};
use tasks::Tasks;
use tidewire_core::port::{
    Amounts, Append, AppendError, Appended, LeaseError, Leasing, ReadError, Release, RemoveError, Renewal, SubmitError,
    Totals, TrimError, UpdateError,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Event, LogRef, Offset, Outcome, Task, TaskRef, Timestamp, Usage};

/// A call.
#[derive(Clone, Debug)]
enum Op {
    Create(LogRef),
    Append(Append),
    End(Append, Outcome),
    Read(LogRef, ReadFrom),
    /// As the edge does it: the task, then its log.
    Submit(Box<Task>),
    RequestStop(TaskRef),
    Lease(TaskRef, Leasing),
    Renew(Vec<Lease>, Timestamp),
    Release(Lease, Release),
    Finish(TaskRef, Outcome),
    Settle(TaskRef, u64),
    /// By the tenant's limits, and where it says so by those of its key.
    Reserve(TaskRef, Timestamp, Amounts, bool),
    TopUp(TaskRef, Timestamp, Amounts),
    GiveBack(TaskRef),
    Trim(LogRef, Offset),
    Erase(LogRef),
    Remove(LogRef),
    Put(u8, u8, Expecting),
    Forget(u8, Expecting),
    /// The engine is closed and opened again.
    Reopen,
    /// This call's commit fails, and then the engine is opened again.
    Fail(Box<Op>),
}

/// Where and how much to read.
#[derive(Clone, Copy, Debug)]
struct ReadFrom {
    next: Offset,
    max_bytes: usize,
    /// With the log's epoch, or with another one.
    right_epoch: bool,
}

/// What a change of a named record expects. Versions are told apart by the order in which they were given.
#[derive(Clone, Copy, Debug)]
enum Expecting {
    Anything,
    Absent,
    /// The version that was given as the so manieth.
    Given(usize),
}

/// An answer, with epochs and versions left out: they are the engine's own.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Done,
    Appended(Result<Appended, AppendError>),
    Read(Result<(Vec<Event>, Offset, bool), ReadError>),
    Submitted(Result<(Task, bool), SubmitError>),
    Stopped(Result<Task, UpdateError>),
    Leased(Result<(Task, Lease), LeaseError>),
    Renewed(Vec<Renewal>),
    Updated(Result<(), UpdateError>),
    Settled(bool),
    /// What is left of requests, output tokens and money; the same where it was refused.
    Reserved(Result<Remaining, Remaining>),
    ToppedUp(bool),
    GivenBack(bool),
    Kept(Result<(), TrimError>),
    Removed(Result<(), RemoveError>),
    /// The version, or the one that was found instead, by the order in which they were given.
    Put(Result<usize, Option<usize>>),
    Forgot(Result<bool, Option<usize>>),
    /// Nothing was taken.
    Unavailable,
}

impl Answer {
    /// Whether an engine may say so where the model says something else: a full page takes events without data.
    fn is_as_good_as(&self, expected: &Self) -> bool {
        let (Self::Read(Ok((found, tail, ended))), Self::Read(Ok((least, least_tail, least_ended)))) = (self, expected)
        else {
            return self == expected;
        };
        let more = found.strip_prefix(least.as_slice()).filter(|_| !least.is_empty() || found.is_empty());
        more.is_some_and(|more| more.iter().all(|event| event.data.is_empty()))
            && (tail, ended) == (least_tail, least_ended)
    }
}

/// All that an engine keeps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    logs: Logs,
    tasks: Tasks,
    settled: BTreeSet<TaskRef>,
    totals: Totals,
    accounts: Accounts,
    named: Named,
    /// What the last op was answered.
    answer: Option<Answer>,
    /// Leases that were given, whether they still count or not.
    leases: Vec<Lease>,
    submitted: Vec<Task>,
    /// Whether the engine under test can be opened again, and made to fail.
    survives: bool,
}

impl Model {
    fn take(mut self, op: &Op) -> Self {
        let answer = self.answer_to(op);
        if let Answer::Leased(Ok((_, lease))) = &answer {
            self.leases.push(lease.clone());
        }
        if let Op::Submit(task) = op
            && !self.submitted.contains(task)
        {
            self.submitted.push((**task).clone());
        }
        self.answer = Some(answer);
        self
    }

    fn answer_to(&mut self, op: &Op) -> Answer {
        match op {
            Op::Create(log) => {
                self.logs.create(*log);
                Answer::Done
            }
            Op::Append(append) => Answer::Appended(self.logs.append(append, None)),
            Op::End(append, outcome) => self.end(append, *outcome),
            Op::Read(log, from) => Answer::Read(self.logs.read(*log, *from)),
            Op::Submit(task) => {
                let submitted = self.tasks.submit(task);
                if let Ok((kept, _)) = &submitted {
                    self.logs.create(kept.at().log());
                }
                Answer::Submitted(submitted)
            }
            Op::RequestStop(task) => Answer::Stopped(self.tasks.request_stop(*task)),
            Op::Lease(task, leasing) => Answer::Leased(self.tasks.lease(*task, leasing)),
            Op::Renew(leases, until) => Answer::Renewed(self.tasks.renew(leases, *until)),
            Op::Release(lease, release) => Answer::Updated(self.tasks.release(lease, *release)),
            Op::Finish(task, outcome) => Answer::Updated(self.tasks.finish(*task, given::NOW, given::ending(*outcome))),
            Op::Settle(task, tokens) => Answer::Settled(self.settle(*task, used(*tokens))),
            Op::Reserve(task, at, amounts, key) => Answer::Reserved(self.accounts.reserve(*task, *at, *amounts, *key)),
            Op::TopUp(task, at, more) => Answer::ToppedUp(self.accounts.top_up(*task, *at, *more)),
            Op::GiveBack(task) => Answer::GivenBack(self.accounts.give_back(*task)),
            Op::Trim(log, upto) => Answer::Kept(self.logs.trim(*log, *upto)),
            Op::Erase(log) => {
                let erased = self.logs.erase(*log);
                if erased.is_ok() {
                    self.tasks.forget_input(*log);
                }
                Answer::Kept(erased)
            }
            Op::Remove(log) => Answer::Removed(self.logs.remove(*log)),
            Op::Put(name, value, expect) => Answer::Put(self.named.put(*name, *value, *expect)),
            Op::Forget(name, expect) => Answer::Forgot(self.named.forget(*name, *expect)),
            Op::Reopen => {
                self.reopen();
                Answer::Done
            }
            Op::Fail(op) => {
                let mut taken = self.clone();
                let answer = taken.answer_to(op);
                // What changes nothing needs no commit, and is answered as ever.
                let answer = if taken == *self { answer } else { Answer::Unavailable };
                self.reopen();
                answer
            }
        }
    }

    /// The `end` event is the commit point: the record and the account go with it.
    fn end(&mut self, append: &Append, outcome: Outcome) -> Answer {
        let ending: Ending = given::ending(outcome);
        let ended = self.logs.append(append, Some(&ending));
        if let (Ok(Appended { repeats: None, .. }), Some(task)) = (&ended, append.log.log.task()) {
            let task = TaskRef { tenant: append.log.tenant, task };
            self.settle(task, ending.usage);
            // A log may have no task.
            let _ = self.tasks.finish(task, given::NOW, ending);
        }
        Answer::Appended(ended)
    }

    fn settle(&mut self, task: TaskRef, usage: Usage) -> bool {
        let first = self.settled.insert(task);
        if first {
            self.accounts.settle(task, given::NOW, usage);
            self.totals.tasks += 1;
            self.totals.usage = Usage {
                input_tokens: self.totals.usage.input_tokens + usage.input_tokens,
                cached_tokens: self.totals.usage.cached_tokens + usage.cached_tokens,
                cache_write_tokens: self.totals.usage.cache_write_tokens + usage.cache_write_tokens,
                output_tokens: self.totals.usage.output_tokens + usage.output_tokens,
                reasoning_tokens: self.totals.usage.reasoning_tokens + usage.reasoning_tokens,
                estimated: self.totals.usage.estimated || usage.estimated,
                cost: self.totals.usage.cost.plus(usage.cost),
                saved: self.totals.usage.saved.plus(usage.saved),
            };
        }
        first
    }

    /// The workers went with the last run: their leases are void, and no fence comes again that has written.
    fn reopen(&mut self) {
        let fences: BTreeMap<LogRef, _> = self.logs.fences().collect();
        self.tasks.reopen(&fences);
        // What never came to be holds nothing, and what is over is settled.
        for task in self.accounts.holders() {
            match self.tasks.get(task).map(|task| task.ended.clone()) {
                None => drop(self.accounts.give_back(task)),
                Some(None) => {}
                Some(Some((_, ending))) => drop(self.settle(task, ending.usage)),
            }
        }
    }
}

/// What a settlement by hand says.
fn used(tokens: u64) -> Usage {
    Usage { output_tokens: tokens, ..Usage::default() }
}
