//! The breaker of one deployment: it keeps requests away from an upstream that fails, and lets one through from time to time
//! to see whether it is well again.

use crate::port::{BackendError, Fault};
use std::time::Duration;

/// How many of the last outcomes are looked at.
const OUTCOMES: u32 = 10;

/// So many failures among them open it: half. Fewer would leave an upstream for a hiccup, more would make more requests wait for
/// a timeout each.
const FAILURES: u32 = 5;

/// How long it stays open at first: about as long as a restart of a process behind a load balancer.
const FIRST_OPEN: Duration = Duration::from_secs(1);

/// How long at most. A probe costs one request, which then goes elsewhere: once a minute that is nothing.
const LONGEST_OPEN: Duration = Duration::from_mins(1);

/// Outcomes that are older than the last one by this much say nothing about now.
const STALE: Duration = Duration::from_mins(1);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Requests go through.
    Closed,
    /// None does.
    Open,
    /// One at a time does, as a probe.
    HalfOpen,
}

impl State {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A deployment's breaker. All times are the caller's monotonic ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    at: At,
    /// The last outcomes, the newest in the lowest bit; 1 is a failure.
    outcomes: u32,
    last: Duration,
    /// How often it opened without having been well for long in between.
    openings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Closed { since: Duration },
    Open { until: Duration },
    HalfOpen { probing: bool },
}

impl Default for At {
    fn default() -> Self {
        Self::Closed { since: Duration::ZERO }
    }
}

/// Whether a failure is the upstream's own. What a client did wrong says nothing about it.
pub(super) fn blames_upstream(error: &BackendError) -> bool {
    match error.fault {
        Fault::RateLimited | Fault::Overloaded | Fault::Unreachable | Fault::TimedOut | Fault::Broken => true,
        // Our key or our account, not the client's. A 403 may be about what the client wrote.
        Fault::Unauthorized => matches!(error.status, Some(401 | 402)),
        Fault::InvalidRequest | Fault::ContextTooLong | Fault::UnknownModel | Fault::Blocked | Fault::Unchecked => {
            false
        }
    }
}

impl Breaker {
    /// Where it stands.
    pub(super) fn state(&self, now: Duration) -> State {
        match self.at {
            At::Closed { .. } => State::Closed,
            At::Open { until } if now < until => State::Open,
            At::Open { .. } | At::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Until when nothing goes through; `None` where something may go now, `Some(now)` while a probe is out.
    pub(super) fn shut_until(&self, now: Duration) -> Option<Duration> {
        match self.at {
            At::Open { until } if now < until => Some(until),
            At::HalfOpen { probing: true } => Some(now),
            _ => None,
        }
    }

    /// A request goes through, which it may. Whether it is a probe.
    pub(super) fn enter(&mut self) -> bool {
        let probes = !matches!(self.at, At::Closed { .. });
        if probes {
            self.at = At::HalfOpen { probing: true };
        }
        probes
    }

    /// A probe gave its first token, or went away without a verdict: another may follow it.
    pub(super) fn probe_free(&mut self) {
        if let At::HalfOpen { probing } = &mut self.at {
            *probing = false;
        }
    }

    /// A request ended well.
    pub(super) fn succeeded(&mut self, probe: bool, now: Duration) {
        match self.at {
            At::Closed { .. } => self.note(false, now),
            At::HalfOpen { .. } if probe => {
                self.outcomes = 0;
                self.at = At::Closed { since: now };
            }
            // One that began before it opened.
            At::Open { .. } | At::HalfOpen { .. } => {}
        }
    }

    /// A request failed, by the upstream's fault.
    pub(super) fn failed(&mut self, probe: bool, now: Duration) {
        match self.at {
            At::Closed { since } => {
                self.note(true, now);
                if self.outcomes.count_ones() >= FAILURES {
                    if now.saturating_sub(since) > LONGEST_OPEN {
                        self.openings = 0;
                    }
                    self.open(now);
                }
            }
            At::HalfOpen { .. } if probe => self.open(now),
            At::Open { .. } | At::HalfOpen { .. } => {}
        }
    }

    fn open(&mut self, now: Duration) {
        let wait = FIRST_OPEN.saturating_mul(1 << self.openings.min(16)).min(LONGEST_OPEN);
        self.openings += 1;
        self.outcomes = 0;
        self.at = At::Open { until: now.saturating_add(wait) };
    }

    fn note(&mut self, failure: bool, now: Duration) {
        if now.saturating_sub(self.last) > STALE {
            self.outcomes = 0;
        }
        self.last = now;
        self.outcomes = ((self.outcomes << 1) | u32::from(failure)) & ((1 << OUTCOMES) - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.state(at(0)), State::Closed);
            breaker.failed(false, at(0));
        }
        breaker
    }

    #[test]
    fn half_of_the_last_outcomes_open_it_and_old_ones_do_not_count() {
        assert_eq!(opened().state(at(0)), State::Open);
        let mut slow = Breaker::default();
        for minute in 0..20 {
            slow.failed(false, at(61 * minute));
        }
        assert_eq!(slow.state(at(2_000)), State::Closed, "one failure in a minute");
        let mut mixed = Breaker::default();
        for _ in 0..100 {
            mixed.failed(false, at(0));
            mixed.succeeded(false, at(0));
            mixed.succeeded(false, at(0));
        }
        assert_eq!(mixed.state(at(0)), State::Closed, "a third fails");
    }

    #[test]
    fn it_lets_one_probe_through_and_closes_when_that_ends_well() {
        let mut breaker = opened();
        assert_eq!(breaker.shut_until(at(0)), Some(at(1)));
        assert_eq!((breaker.state(at(1)), breaker.shut_until(at(1))), (State::HalfOpen, None));
        assert!(breaker.enter());
        assert!(breaker.shut_until(at(1)).is_some(), "one at a time");
        breaker.succeeded(false, at(1));
        assert_eq!(breaker.state(at(1)), State::HalfOpen, "an old request's end says nothing");
        breaker.succeeded(true, at(1));
        assert_eq!((breaker.state(at(1)), breaker.enter()), (State::Closed, false));
    }

    #[test]
    fn a_failed_probe_doubles_the_time_up_to_a_minute() {
        let (mut breaker, mut now) = (opened(), at(0));
        let mut waits = Vec::new();
        for _ in 0..9 {
            let until = breaker.shut_until(now).unwrap();
            waits.push(until.saturating_sub(now).as_secs());
            now = until;
            assert!(breaker.enter());
            breaker.failed(true, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now = breaker.shut_until(now).unwrap();
        breaker.enter();
        breaker.succeeded(true, now);
        now += at(61);
        for _ in 0..FAILURES {
            breaker.failed(false, now);
        }
        assert_eq!(breaker.shut_until(now), Some(now + FIRST_OPEN), "it was well for a minute");
    }

    #[test]
    fn failures_that_come_in_late_do_not_prolong_it() {
        let mut breaker = opened();
        for _ in 0..100 {
            breaker.failed(false, at(0));
        }
        assert_eq!(breaker.shut_until(at(0)), Some(at(1)));
    }

    #[test]
    fn what_a_client_did_wrong_is_not_the_upstreams_fault() {
        let blamed = |fault| blames_upstream(&BackendError::new(fault, ""));
        assert!(!blamed(Fault::InvalidRequest) && !blamed(Fault::ContextTooLong) && !blamed(Fault::UnknownModel));
        for fault in [Fault::RateLimited, Fault::Overloaded, Fault::Unreachable, Fault::TimedOut, Fault::Broken] {
            assert!(blamed(fault), "{fault:?}");
        }
        let status = |status| BackendError { status, ..BackendError::new(Fault::Unauthorized, "") };
        assert!(blames_upstream(&status(Some(401))) && !blames_upstream(&status(Some(403))));
    }
}
