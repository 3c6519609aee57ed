//! A token bucket: it holds a minute's worth and fills evenly. What is kept is how much was taken out and has not
//! flowed back, in parts so small that no fill is ever rounded.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Parts of one token: a limit of so many tokens a minute lets as many parts flow back in a microsecond.
const PARTS: u128 = 60_000_000;

/// One limit's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// What was taken and has not flowed back, in parts. More than the bucket holds where a task used more than it
    /// had reserved.
    taken: u128,
    /// The limit by which it has been filling.
    rate: u64,
    /// When `taken` was so much.
    at: Timestamp,
}

fn parts(tokens: u64) -> u128 {
    u128::from(tokens) * PARTS
}

fn tokens(parts: u128) -> u64 {
    u64::try_from(parts / PARTS).unwrap_or(u64::MAX)
}

/// How long so many parts take to flow back.
fn flow(parts: u128, rate: u64) -> Duration {
    // With a limit of nothing, nothing flows back.
    let micros = parts.div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl Bucket {
    /// Lets flow back what has by this moment. From now on it fills by this limit; without one it is not kept.
    pub(super) fn advance(&mut self, at: Timestamp, limit: Option<u64>) {
        let Some(limit) = limit else {
            *self = Self::default();
            return;
        };
        let passed = at.since(self.at).as_micros();
        self.taken = self.taken.saturating_sub(passed.saturating_mul(u128::from(self.rate)));
        self.at = self.at.max(at);
        self.rate = limit;
    }

    pub(super) fn take(&mut self, amount: u64) {
        self.taken = self.taken.saturating_add(parts(amount));
    }

    pub(super) fn put_back(&mut self, amount: u64) {
        self.taken = self.taken.saturating_sub(parts(amount));
    }

    /// What is left, after [`Bucket::advance`].
    pub(super) fn remaining(&self) -> u64 {
        tokens(parts(self.rate).saturating_sub(self.taken))
    }

    /// When all of it is back.
    pub(super) fn reset(&self) -> Duration {
        flow(self.taken, self.rate)
    }

    /// How long until there is room for so much; nothing where there is now, `None` where there never is.
    pub(super) fn wait(&self, asked: u64) -> Option<Duration> {
        if asked > self.rate {
            return None;
        }
        let over = (self.taken.saturating_add(parts(asked))).saturating_sub(parts(self.rate));
        Some(flow(over, self.rate))
    }

    /// Whether all has flowed back by this moment.
    pub(super) fn is_full(&self, at: Timestamp) -> bool {
        let mut then = *self;
        then.advance(at, Some(self.rate));
        then.taken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(micros: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000 + micros)
    }

    #[test]
    fn it_fills_evenly_and_holds_a_minutes_worth() {
        let mut bucket = Bucket::default();
        bucket.advance(after(0), Some(60));
        bucket.take(60);
        assert_eq!((bucket.remaining(), bucket.reset()), (0, Duration::from_mins(1)));
        bucket.advance(after(1_000_000), Some(60));
        assert_eq!(bucket.remaining(), 1);
        bucket.advance(after(1_999_999), Some(60));
        assert_eq!(bucket.remaining(), 1);
        bucket.advance(after(3_600_000_000), Some(60));
        assert_eq!(bucket.remaining(), 60, "and no more");
    }

    proptest! {
        #[test]
        fn there_is_room_when_it_said_and_not_a_microsecond_before(
            limit in 1..100_000u64, taken in 0..200_000u64, asked in 1..100_000u64,
        ) {
            let mut bucket = Bucket::default();
            bucket.advance(after(0), Some(limit));
            bucket.take(taken);
            let Some(wait) = bucket.wait(asked) else {
                prop_assert!(asked > limit);
                return Ok(());
            };
            let micros = u64::try_from(wait.as_micros()).unwrap();
            let mut then = bucket;
            then.advance(after(micros), Some(limit));
            prop_assert!(then.remaining() >= asked);
            prop_assert_eq!(then.wait(asked), Some(Duration::ZERO));
            if micros > 0 {
                let mut before = bucket;
                before.advance(after(micros - 1), Some(limit));
                prop_assert!(before.remaining() < asked);
            }
        }
    }

    #[test]
    fn another_limit_counts_from_then_on() {
        let mut bucket = Bucket::default();
        bucket.advance(after(0), Some(60));
        bucket.take(60);
        bucket.advance(after(30_000_000), Some(600));
        assert_eq!(bucket.remaining(), 570, "half of the sixty had flowed back, by the limit of then");
        bucket.advance(after(31_000_000), Some(600));
        assert_eq!(bucket.remaining(), 580);
    }
}
