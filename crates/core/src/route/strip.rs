//! How a deployment's requests ended, minute by minute, over the last hour: what operators see of yesterday's trouble that is
//! over by now.

use super::BreakerState;
use std::collections::VecDeque;
use std::time::Duration;

/// Minutes that are kept: an hour, at 32 bytes each.
const MINUTES: usize = 60;

const MINUTE: Duration = Duration::from_mins(1);

/// One minute of a deployment's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began, by the caller's monotonic time.
    pub began: Duration,
    /// Requests that it answered, if only by saying that they were wrong.
    pub ok: u64,
    /// Requests that it failed at.
    pub failed: u64,
    /// Where its breaker stood at worst when a request ended.
    pub breaker: BreakerState,
}

/// The minutes with requests, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Strip(VecDeque<Minute>);

impl Strip {
    /// A request has ended.
    pub(super) fn note(&mut self, failed: bool, breaker: BreakerState, now: Duration) {
        let began = MINUTE.saturating_mul(u32::try_from(now.as_secs() / MINUTE.as_secs()).unwrap_or(u32::MAX));
        if self.0.back().is_none_or(|last| last.began != began) {
            if self.0.len() == MINUTES {
                self.0.pop_front();
            }
            self.0.push_back(Minute { began, ok: 0, failed: 0, breaker });
        }
        if let Some(minute) = self.0.back_mut() {
            minute.ok += u64::from(!failed);
            minute.failed += u64::from(failed);
            if badness(breaker) > badness(minute.breaker) {
                minute.breaker = breaker;
            }
        }
    }

    /// Those of the last hour.
    pub(super) fn last_hour(&self, now: Duration) -> Vec<Minute> {
        let hour = MINUTE * u32::try_from(MINUTES).unwrap_or(u32::MAX);
        self.0.iter().copied().filter(|minute| minute.began + hour > now).collect()
    }
}

fn badness(breaker: BreakerState) -> u8 {
    match breaker {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_minutes_without_requests_are_not_there() {
        let mut strip = Strip::default();
        let at = |minute: u64| Duration::from_secs(60 * minute + 7);
        for minute in (0..100).filter(|minute| minute % 2 == 0) {
            strip.note(false, BreakerState::Closed, at(minute));
            strip.note(minute == 98, BreakerState::Open, at(minute));
            strip.note(false, BreakerState::HalfOpen, at(minute));
        }
        let seen = strip.last_hour(at(99));
        assert_eq!(seen.len(), 30);
        assert_eq!(seen[0], Minute { began: Duration::from_mins(40), ok: 3, failed: 0, breaker: BreakerState::Open });
        assert_eq!((seen[29].ok, seen[29].failed), (2, 1));
        for minute in 100..300 {
            strip.note(false, BreakerState::Closed, at(minute));
        }
        assert_eq!(strip.0.len(), MINUTES);
        assert!(strip.last_hour(at(1000)).is_empty());
    }
}
