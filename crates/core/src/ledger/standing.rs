//! How an account stands: its buckets, what it spent this day and month, and what is held of its money.

use super::bucket::Bucket;
use super::calendar;
use crate::money::Money;
use crate::port::{Allowance, Amounts, Left, Limited, Limits};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One account. Made when it is first named, and forgotten when nothing is to be remembered of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    requests: Bucket,
    input: Bucket,
    output: Bucket,
    /// The day and the month that the sums are of.
    day: u32,
    month: u32,
    spent_today: Money,
    spent_this_month: Money,
    /// Held by tasks. Not stored: it is the sum of their reservations.
    #[serde(skip)]
    outstanding: Money,
    /// Changed since the last [`Changed`](super::Changed) was taken.
    #[serde(skip)]
    pub(super) noted: bool,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) what: Limited,
    pub(super) limit: u64,
    pub(super) asked: u64,
    pub(super) remaining: u64,
    pub(super) retry_after: Option<Duration>,
}

impl Short {
    /// How long it lasts, where for ever is longest.
    fn lasts(&self) -> Duration {
        self.retry_after.unwrap_or(Duration::MAX)
    }

    /// The one of both that lasts longer: once that is over, both are.
    pub(super) fn longer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.lasts() > one.lasts() { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

impl Standing {
    /// Lets pass what has passed by this moment. These limits hold from now on.
    pub(super) fn advance(&mut self, at: Timestamp, limits: &Limits) {
        self.requests.advance(at, limits.requests_per_minute);
        self.input.advance(at, limits.input_tokens_per_minute);
        self.output.advance(at, limits.output_tokens_per_minute);
        self.turn_calendar(at);
    }

    /// A clock that steps back over midnight brings no old day back.
    fn turn_calendar(&mut self, at: Timestamp) {
        let (day, (month, _)) = (calendar::day(at), calendar::month(at));
        if day > self.day {
            (self.day, self.spent_today) = (day, Money::ZERO);
        }
        if month > self.month {
            (self.month, self.spent_this_month) = (month, Money::ZERO);
        }
    }

    /// What there is no room for, after [`Standing::advance`]: of several limits the one that lasts longest.
    pub(super) fn short(&self, at: Timestamp, limits: &Limits, asked: &Amounts) -> Option<Short> {
        let bucket = |what, bucket: &Bucket, limit: Option<u64>, asked: u64| {
            let limit = limit.filter(|_| asked > 0)?;
            let retry_after = bucket.wait(asked);
            let remaining = bucket.remaining();
            (retry_after != Some(Duration::ZERO)).then_some(Short { what, limit, asked, remaining, retry_after })
        };
        let budget = |what, spent: Money, limit: Option<Money>, over: fn(Timestamp) -> Duration| {
            let limit = limit.filter(|_| asked.cost > Money::ZERO)?;
            let remaining = limit.minus(spent).minus(self.outstanding);
            let retry_after = (asked.cost <= limit).then(|| over(at));
            let (limit, asked, remaining) = (limit.0, asked.cost.0, remaining.0);
            (asked > remaining).then_some(Short { what, limit, asked, remaining, retry_after })
        };
        let all = [
            bucket(Limited::Requests, &self.requests, limits.requests_per_minute, asked.requests),
            bucket(Limited::InputTokens, &self.input, limits.input_tokens_per_minute, asked.input_tokens),
            bucket(Limited::OutputTokens, &self.output, limits.output_tokens_per_minute, asked.output_tokens),
            budget(Limited::CostPerDay, self.spent_today, limits.cost_per_day, calendar::until_tomorrow),
            budget(Limited::CostPerMonth, self.spent_this_month, limits.cost_per_month, calendar::until_next_month),
        ];
        all.into_iter().fold(None, Short::longer)
    }

    /// What is left, after [`Standing::advance`].
    pub(super) fn left(&self, at: Timestamp, limits: &Limits) -> Left {
        let bucket = |bucket: &Bucket, limit: Option<u64>| {
            limit.map(|limit| Allowance { limit, remaining: bucket.remaining(), reset: bucket.reset() })
        };
        let budget = |spent: Money, limit: Option<Money>, over: fn(Timestamp) -> Duration| {
            let remaining = |limit: Money| limit.minus(spent).minus(self.outstanding).0;
            limit.map(|limit| Allowance { limit: limit.0, remaining: remaining(limit), reset: over(at) })
        };
        let day = budget(self.spent_today, limits.cost_per_day, calendar::until_tomorrow);
        let month = budget(self.spent_this_month, limits.cost_per_month, calendar::until_next_month);
        Left {
            requests: bucket(&self.requests, limits.requests_per_minute),
            input_tokens: bucket(&self.input, limits.input_tokens_per_minute),
            output_tokens: bucket(&self.output, limits.output_tokens_per_minute),
            cost: tighter(day, month),
        }
    }

    /// Holds amounts, after [`Standing::advance`].
    pub(super) fn hold(&mut self, amounts: &Amounts) {
        self.requests.take(amounts.requests);
        self.input.take(amounts.input_tokens);
        self.output.take(amounts.output_tokens);
        self.outstanding = self.outstanding.plus(amounts.cost);
    }

    /// Takes what was used beyond what was held, and puts back what was held and not used, after
    /// [`Standing::advance`].
    pub(super) fn correct(&mut self, beyond: &Amounts, unused: &Amounts) {
        self.requests.take(beyond.requests);
        self.input.take(beyond.input_tokens);
        self.output.take(beyond.output_tokens);
        self.requests.put_back(unused.requests);
        self.input.put_back(unused.input_tokens);
        self.output.put_back(unused.output_tokens);
    }

    /// Lets go of held money.
    pub(super) fn let_go(&mut self, cost: Money) {
        self.outstanding = self.outstanding.minus(cost);
    }

    /// Takes up held money that the record of a reservation tells of.
    pub(super) fn holds(&mut self, cost: Money) {
        self.outstanding = self.outstanding.plus(cost);
    }

    /// Money that was spent, after [`Standing::advance`].
    pub(super) fn spend(&mut self, cost: Money) {
        self.spent_today = self.spent_today.plus(cost);
        self.spent_this_month = self.spent_this_month.plus(cost);
    }

    /// Money that was not spent after all: what said so did not get to the disk.
    pub(super) fn unspend(&mut self, cost: Money) {
        self.spent_today = self.spent_today.minus(cost);
        self.spent_this_month = self.spent_this_month.minus(cost);
    }

    /// Whether it stands as one that was never named: full buckets, nothing spent this month, nothing held.
    pub(super) fn is_idle(&self, at: Timestamp) -> bool {
        let full = [&self.requests, &self.input, &self.output].iter().all(|bucket| bucket.is_full(at));
        let spent = self.spent_this_month > Money::ZERO && calendar::month(at).0 <= self.month;
        full && !spent && self.outstanding == Money::ZERO
    }

    /// What it spent on this day and in its month, and what is held of its money. For tests and checks.
    pub fn money(&self) -> (Money, Money, Money) {
        (self.spent_today, self.spent_this_month, self.outstanding)
    }
}

/// The one with less left.
fn tighter(one: Option<Allowance>, other: Option<Allowance>) -> Option<Allowance> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.remaining < one.remaining { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Of each limit the allowance with least left.
pub(super) fn tightest(one: Left, other: Left) -> Left {
    Left {
        requests: tighter(one.requests, other.requests),
        input_tokens: tighter(one.input_tokens, other.input_tokens),
        output_tokens: tighter(one.output_tokens, other.output_tokens),
        cost: tighter(one.cost, other.cost),
    }
}
