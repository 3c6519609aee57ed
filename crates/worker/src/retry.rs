//! How long to wait before the next attempt.

use std::time::Duration;
use tidewire_core::port::BackendError;

/// Exponential backoff with jitter: the n-th wait lies between half and all of `base * 2^(n-1)`, at most `cap`.
/// (Half stays fixed, so that a retry never comes at once; the other half spreads a crowd apart.)
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    /// 500 ms is longer than a hiccup, 30 s about a provider's restart.
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after attempt `attempt` (from 1). Where the upstream asked for a longer one, that and the jitter: those
    /// that were all sent away together should not all come back together.
    pub fn wait(self, attempt: u32, error: &BackendError, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let longest = self.base.saturating_mul(1 << doublings).min(self.cap);
        let half = longest / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        let jitter = if spread == 0 { 0 } else { random % (spread + 1) };
        half.max(error.retry_after.unwrap_or_default()) + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::port::Fault;

    #[test]
    fn waits_double_up_to_the_cap_and_honour_what_the_upstream_asks() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_millis(300) };
        let mut error = BackendError::new(Fault::Overloaded, "");
        assert_eq!(backoff.wait(1, &error, 0), Duration::from_millis(50));
        assert_eq!(backoff.wait(2, &error, 0), Duration::from_millis(100));
        assert_eq!(backoff.wait(60, &error, 150_000), Duration::from_millis(300));
        error.retry_after = Some(Duration::from_secs(9));
        assert_eq!(backoff.wait(1, &error, 7), Duration::from_secs(9) + Duration::from_micros(7));
    }
}
