//! What a route lets be kept and shared, and for how long.

use super::Semantic;
use crate::time::Timestamp;
use std::time::Duration;

/// What a route says of its answers. A route without one keeps and shares nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How long after that it is given at once, while a new one is asked for.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` it is given where a new one can't be had.
    pub stale_if_error: Duration,
    /// Among whom answers are shared.
    pub scope: Scope,
    /// Whether requests that are the same ride on one answer while it is on its way.
    pub join: bool,
    /// Whether answers to requests are kept that let the model draw lots, and give no seed.
    pub sampled: bool,
    /// At which pace a kept answer is given.
    pub replay: Replay,
    /// Whether an answer is given to another question that means the same; not without.
    pub semantic: Option<Semantic>,
}

impl Default for Policy {
    /// Five minutes: long enough for a crowd that asks the same, short enough that nobody is told yesterday's news.
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(5),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            scope: Scope::default(),
            join: true,
            sampled: false,
            replay: Replay::default(),
            semantic: None,
        }
    }
}

/// Among whom answers are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of a tenant.
    #[default]
    Tenant,
    /// One user of a tenant.
    User,
    /// One conversation: the tasks of a lane.
    Conversation,
    /// All tenants.
    Shared,
}

impl Scope {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Conversation => "conversation",
            Self::Shared => "shared",
        }
    }
}

/// At which pace a kept answer is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// As fast as its reader takes it.
    #[default]
    Full,
    /// As it came from the model.
    Paced,
}

/// How good a kept answer still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Fresh,
    /// It does, while a new one is asked for.
    Stale,
    /// It does where a new one can't be had.
    LastResort,
    /// It does not.
    Gone,
}

impl Policy {
    /// How good an answer of that time is by now.
    pub fn freshness(&self, made_at: Timestamp, now: Timestamp) -> Freshness {
        let age = now.since(made_at);
        if age < self.ttl {
            Freshness::Fresh
        } else if age < self.ttl + self.stale_while_revalidate {
            Freshness::Stale
        } else if age < self.ttl + self.stale_if_error {
            Freshness::LastResort
        } else {
            Freshness::Gone
        }
    }

    /// Until when an answer of that time is of any use.
    pub fn keep_until(&self, made_at: Timestamp) -> Timestamp {
        made_at.plus(self.ttl + self.stale_while_revalidate.max(self.stale_if_error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ages_from_fresh_over_stale_and_last_resort_to_gone() {
        let seconds = Duration::from_secs;
        let (ttl, stale_while_revalidate, stale_if_error) = (seconds(10), seconds(5), seconds(20));
        let policy = Policy { ttl, stale_while_revalidate, stale_if_error, ..Policy::default() };
        let made = Timestamp::from_millis(1_000_000);
        let at = |age| policy.freshness(made, made.plus(Duration::from_millis(age)));
        let ages = [0, 9_999, 10_000, 14_999, 15_000, 29_999, 30_000].map(at);
        let (fresh, stale, last, gone) = (Freshness::Fresh, Freshness::Stale, Freshness::LastResort, Freshness::Gone);
        assert_eq!(ages, [fresh, fresh, stale, stale, last, last, gone]);
        assert_eq!(policy.keep_until(made), made.plus(seconds(30)));
        // A clock that was set back makes nothing old.
        assert_eq!(policy.freshness(made, Timestamp::from_millis(1)), fresh);
    }
}
