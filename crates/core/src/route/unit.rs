//! The live state of one deployment: what is out, how fast it is, what is left of its minute, whether it may be asked.

use super::breaker::Breaker;
use super::strip::Strip;
use super::window::Window;
use super::{BreakerState, Deployment};
use crate::port::{BackendError, Counted, UpstreamLimit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a deployment is left alone because it asked for it. An upstream whose day is used up is asked again
/// after that, which costs one refusal.
const LONGEST_COOL_DOWN: Duration = Duration::from_mins(10);

/// How long an upstream's word about its limits holds where it does not say.
const TOLD_HOLDS: Duration = Duration::from_secs(10);

/// The longest that it holds: limits are by the minute.
const LONGEST_TOLD: Duration = Duration::from_mins(1);

/// When one that a health check found down is looked at again.
const DOWN_AGAIN: Duration = Duration::from_secs(1);

/// A new measurement counts for an eighth, as in TCP's round-trip time (RFC 6298): the last dozen or so decide.
const AVERAGED: u32 = 8;

/// Live state of a deployment.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    pub(super) breaker: Breaker,
    cool_until: Option<Duration>,
    pub(super) down: bool,
    /// Requests outstanding.
    pub(super) requests: u64,
    /// Tokens outstanding, as estimated.
    pub(super) tokens: u64,
    pub(super) ttft: Option<Duration>,
    pub(super) tpot: Option<Duration>,
    pub(super) asked: Window,
    pub(super) asked_tokens: Window,
    told_requests: Option<Told>,
    told_tokens: Option<Told>,
    /// How requests ended, by route and outcome. Bounded by the configuration and by how many outcomes there are.
    pub(super) outcomes: BTreeMap<(Arc<str>, &'static str), u64>,
    /// The same minute by minute.
    pub(super) strip: Strip,
}

/// What an upstream told of one of its limits, less what was sent since.
#[derive(Clone, Copy, Debug)]
struct Told {
    limit: Option<u64>,
    remaining: u64,
    until: Duration,
}

/// Why a deployment can't be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// It has as many requests as it takes at once.
    Busy,
    /// Until this moment at least.
    Until(Duration),
}

/// The moving average with one measurement more.
pub(super) fn averaged(average: Option<Duration>, measured: Duration) -> Duration {
    average.map_or(measured, |average| (average * (AVERAGED - 1) + measured) / AVERAGED)
}

impl Unit {
    /// Why it can't be asked for so many tokens, if it can't.
    pub(super) fn shut(&self, deployment: &Deployment, tokens: u64, now: Duration) -> Option<Shut> {
        let until = [
            self.breaker.shut_until(now),
            self.cooling(now),
            self.down.then(|| now + DOWN_AGAIN),
            self.over_own_limit(deployment, tokens, now),
            self.over_told_limit(tokens, now),
        ];
        if let Some(until) = until.into_iter().flatten().max() {
            return Some(Shut::Until(until));
        }
        (self.requests >= deployment.slots as u64).then_some(Shut::Busy)
    }

    /// Until when it asked to be left alone.
    pub(super) fn cooling(&self, now: Duration) -> Option<Duration> {
        self.cool_until.filter(|until| *until > now)
    }

    fn over_own_limit(&self, deployment: &Deployment, tokens: u64, now: Duration) -> Option<Duration> {
        let over = |limit: Option<u64>, window: &Window, more: u64| {
            let (limit, used) = (limit?, window.sum(now));
            let excess = used.saturating_add(more).checked_sub(limit).filter(|excess| *excess > 0)?;
            // What is larger than the whole limit goes when nothing else was asked: else it would never go.
            (used > 0).then(|| window.gone(excess.min(used), now))
        };
        let requests = over(deployment.per_minute.requests, &self.asked, 1);
        requests.max(over(deployment.per_minute.tokens, &self.asked_tokens, tokens))
    }

    fn over_told_limit(&self, tokens: u64, now: Duration) -> Option<Duration> {
        let over = |told: Option<Told>, more: u64| {
            let told = told.filter(|told| told.until > now)?;
            let whole = told.limit.is_some_and(|limit| told.remaining >= limit);
            (told.remaining < more && !(whole && told.remaining > 0)).then_some(told.until)
        };
        over(self.told_requests, 1).max(over(self.told_tokens, tokens.max(1)))
    }

    /// What is left of its minute, from 0 to 1: the least of its limits.
    pub(super) fn headroom(&self, deployment: &Deployment, now: Duration) -> f64 {
        // Shares are for comparing: what a float loses of a count above 2^53 makes no difference.
        #[allow(clippy::cast_precision_loss)]
        let share = |left: u64, limit: u64| if limit == 0 { 0.0 } else { left.min(limit) as f64 / limit as f64 };
        let own = |limit: Option<u64>, window: &Window| {
            limit.map(|limit| share(limit.saturating_sub(window.sum(now)), limit))
        };
        let told = |told: Option<Told>| {
            let told = told.filter(|told| told.until > now)?;
            Some(share(told.remaining, told.limit?))
        };
        let shares = [
            own(deployment.per_minute.requests, &self.asked),
            own(deployment.per_minute.tokens, &self.asked_tokens),
            told(self.told_requests),
            told(self.told_tokens),
        ];
        shares.into_iter().flatten().fold(1.0, f64::min)
    }

    /// A request goes out. Which second it counts in.
    pub(super) fn begin(&mut self, tokens: u64, now: Duration) -> u64 {
        self.requests += 1;
        self.tokens = self.tokens.saturating_add(tokens);
        self.asked.add(1, now);
        for (told, spent) in [(&mut self.told_requests, 1), (&mut self.told_tokens, tokens)] {
            if let Some(told) = told {
                told.remaining = told.remaining.saturating_sub(spent);
            }
        }
        self.asked_tokens.add(tokens, now)
    }

    /// A request is no longer out.
    pub(super) fn over(&mut self, tokens: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.tokens = self.tokens.saturating_sub(tokens);
    }

    /// The upstream told of its limits.
    pub(super) fn told(&mut self, limits: &[UpstreamLimit], now: Duration) {
        for limit in limits {
            let holds = limit.reset.unwrap_or(TOLD_HOLDS).min(LONGEST_TOLD);
            let told = Told { limit: limit.limit, remaining: limit.remaining, until: now + holds };
            match limit.of {
                Counted::Requests => self.told_requests = Some(told),
                Counted::Tokens => self.told_tokens = Some(told),
            }
        }
    }

    /// It failed, and asked to be left alone for a while.
    pub(super) fn cool(&mut self, error: &BackendError, now: Duration) {
        if let Some(wait) = error.retry_after {
            let until = now + wait.min(LONGEST_COOL_DOWN);
            self.cool_until = self.cool_until.max(Some(until));
        }
    }

    /// Where its breaker stands.
    pub(super) fn state(&self, now: Duration) -> BreakerState {
        self.breaker.state(now)
    }
}
