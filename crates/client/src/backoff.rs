//! How long to wait before the next attempt to connect: full jitter, so that ten thousand clients of a server
//! that restarts do not come back in one moment.

use rand::Rng;
use std::time::Duration;

/// A random wait between nothing and a bound that doubles with each attempt.
/// See <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The bound of the first wait.
    pub base: Duration,
    /// The bound that no wait goes over.
    pub cap: Duration,
    /// How many attempts in a row may fail before the session gives up.
    pub attempts: u32,
}

impl Default for Backoff {
    /// A server that restarts is back within seconds: 250 ms to begin with finds it soon, 5 s at most keeps a
    /// person from waiting long after it is back, and 60 attempts last about two and a half minutes.
    fn default() -> Self {
        Self { base: Duration::from_millis(250), cap: Duration::from_secs(5), attempts: 60 }
    }
}

impl Backoff {
    /// No wait, for tests.
    pub const fn none(attempts: u32) -> Self {
        Self { base: Duration::ZERO, cap: Duration::ZERO, attempts }
    }

    /// How long to wait before this attempt; the first is 1.
    pub(crate) fn wait(&self, attempt: u32, random: &mut impl Rng) -> Duration {
        random.random_range(Duration::ZERO..=self.bound(attempt))
    }

    fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_are_spread_from_nothing() {
        let backoff = Backoff::default();
        let mut random = rand::rng();
        assert_eq!(backoff.bound(1), backoff.base);
        assert_eq!(backoff.bound(3), backoff.base * 4);
        assert_eq!(backoff.bound(u32::MAX), backoff.cap);
        let waits: Vec<_> = (0..100).map(|_| backoff.wait(9, &mut random)).collect();
        assert!(waits.iter().all(|wait| *wait <= backoff.cap));
        assert!(waits.iter().any(|wait| *wait < backoff.cap / 3));
        assert!(waits.iter().any(|wait| *wait > backoff.cap / 2));
    }
}
