//! What is held and what is left, as the port `Ledger` describes it: two accounts with fixed limits, in whole seconds.

use crate::given::{NOW, TENANT};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewire_core::port::{Account, Amounts, Limits};
use tidewire_core::{KeyId, Money, TaskRef, Timestamp, Usage};

/// A token in parts that flow in by whole numbers each second.
const PARTS: i64 = 60;

const REQUESTS: i64 = 6;
const OUTPUT: i64 = 120;
const DAY: u64 = 150;

/// The tenant, and with `key` its key too.
pub(super) fn accounts(key: bool) -> Arc<[(Account, Limits)]> {
    let limit = |limit: i64| Some(limit.unsigned_abs());
    let tenant = Limits { requests_per_minute: limit(REQUESTS), cost_per_day: Some(Money(DAY)), ..Limits::default() };
    let of_key = Limits { output_tokens_per_minute: limit(OUTPUT), ..Limits::default() };
    let all = [(Account::Tenant(TENANT), tenant), (Account::Key(TENANT, KeyId(1)), of_key)];
    all.into_iter().take(1 + usize::from(key)).collect()
}

/// A bucket that is not there yet is full.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    limit: i64,
    level: i64,
    at: Timestamp,
}

impl Bucket {
    fn full(limit: i64) -> Self {
        Self { limit, level: limit * PARTS, at: NOW }
    }

    fn fill(&mut self, at: Timestamp) {
        let passed = i64::try_from(at.since(self.at).as_secs()).unwrap();
        self.level = (self.level + passed * self.limit).min(self.limit * PARTS);
        self.at = self.at.max(at);
    }

    fn take(&mut self, amount: u64) {
        self.level -= i64::try_from(amount).unwrap() * PARTS;
    }

    fn put_back(&mut self, amount: u64) {
        self.level = (self.level + i64::try_from(amount).unwrap() * PARTS).min(self.limit * PARTS);
    }

    fn has(&self, amount: u64) -> bool {
        amount == 0 || self.level >= i64::try_from(amount).unwrap() * PARTS
    }

    fn left(&self) -> u64 {
        u64::try_from(self.level.max(0) / PARTS).unwrap()
    }
}

/// What is left of requests, output tokens (with a key only) and money.
pub(super) type Remaining = (u64, Option<u64>, u64);

#[derive(Clone, Debug, PartialEq)]
struct Held {
    amounts: Amounts,
    key: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Accounts {
    requests: Bucket,
    output: Bucket,
    spent: u64,
    held: BTreeMap<TaskRef, Held>,
    pub(super) reserved: Amounts,
    pub(super) settled: Amounts,
    pub(super) released: Amounts,
    pub(super) overage: Amounts,
}

impl Default for Accounts {
    fn default() -> Self {
        let nothing = Amounts::default();
        Self {
            requests: Bucket::full(REQUESTS),
            output: Bucket::full(OUTPUT),
            spent: 0,
            held: BTreeMap::new(),
            reserved: nothing,
            settled: nothing,
            released: nothing,
            overage: nothing,
        }
    }
}

/// Field by field.
fn each(one: Amounts, other: Amounts, of: fn(u64, u64) -> u64) -> Amounts {
    Amounts {
        requests: of(one.requests, other.requests),
        input_tokens: of(one.input_tokens, other.input_tokens),
        output_tokens: of(one.output_tokens, other.output_tokens),
        cost: Money(of(one.cost.0, other.cost.0)),
    }
}

fn sum(one: Amounts, other: Amounts) -> Amounts {
    each(one, other, |one, other| one + other)
}

fn beyond(one: Amounts, other: Amounts) -> Amounts {
    each(one, other, u64::saturating_sub)
}

impl Accounts {
    pub(super) fn holders(&self) -> Vec<TaskRef> {
        self.held.keys().copied().collect()
    }

    pub(super) fn outstanding(&self) -> Amounts {
        self.held.values().fold(Amounts::default(), |all, held| sum(all, held.amounts))
    }

    pub(super) fn reservations(&self) -> u64 {
        self.held.len() as u64
    }

    fn fill(&mut self, at: Timestamp, key: bool) {
        self.requests.fill(at);
        if key {
            self.output.fill(at);
        }
    }

    fn filled(mut self, at: Timestamp, key: bool) -> Self {
        self.fill(at, key);
        self
    }

    fn remaining(&self, key: bool) -> Remaining {
        let money = DAY.saturating_sub(self.spent + self.outstanding().cost.0);
        (self.requests.left(), key.then(|| self.output.left()), money)
    }

    /// A refusal changes nothing, not even the time.
    fn take(&mut self, at: Timestamp, amounts: Amounts, key: bool) -> Result<(), Remaining> {
        let then = self.clone().filled(at, key);
        let money = amounts.cost.0 == 0 || amounts.cost.0 <= then.remaining(key).2;
        if !money || !then.requests.has(amounts.requests) || key && !then.output.has(amounts.output_tokens) {
            return Err(then.remaining(key));
        }
        *self = then;
        self.requests.take(amounts.requests);
        if key {
            self.output.take(amounts.output_tokens);
        }
        self.reserved = sum(self.reserved, amounts);
        Ok(())
    }

    pub(super) fn reserve(
        &mut self,
        task: TaskRef,
        at: Timestamp,
        amounts: Amounts,
        key: bool,
    ) -> Result<Remaining, Remaining> {
        if self.held.contains_key(&task) {
            return Ok(self.clone().filled(at, key).remaining(key));
        }
        self.take(at, amounts, key)?;
        self.held.insert(task, Held { amounts, key });
        Ok(self.remaining(key))
    }

    pub(super) fn top_up(&mut self, task: TaskRef, at: Timestamp, more: Amounts) -> bool {
        let Some(Held { amounts, key }) = self.held.get(&task).cloned() else { return true };
        if self.take(at, more, key).is_err() {
            return false;
        }
        self.held.insert(task, Held { amounts: sum(amounts, more), key });
        true
    }

    /// No call is later than a minute after another, so that what was not used always goes back.
    fn correct(&mut self, key: bool, over: Amounts, unused: Amounts) {
        self.requests.take(over.requests);
        self.requests.put_back(unused.requests);
        if key {
            self.output.take(over.output_tokens);
            self.output.put_back(unused.output_tokens);
        }
    }

    pub(super) fn settle(&mut self, task: TaskRef, at: Timestamp, usage: Usage) {
        let Some(Held { amounts, key }) = self.held.remove(&task) else { return };
        let used = Amounts {
            requests: 1,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost: usage.cost,
        };
        let (over, unused) = (beyond(used, amounts), beyond(amounts, used));
        self.fill(at, key);
        self.correct(key, over, unused);
        self.spent += used.cost.0;
        self.settled = sum(self.settled, used);
        self.overage = sum(self.overage, over);
        self.released = sum(self.released, unused);
    }

    pub(super) fn give_back(&mut self, task: TaskRef) -> bool {
        let Some(Held { amounts, key }) = self.held.remove(&task) else { return false };
        self.correct(key, Amounts::default(), amounts);
        self.released = sum(self.released, amounts);
        true
    }
}
