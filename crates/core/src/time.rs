//! A moment, as the [`Clock`](crate::port::Clock) gives it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Microseconds since the Unix epoch: fine enough that two tokens of one burst differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment from its microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A moment from its milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, as the wire shows time.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `wait` later; the end of time where that does not fit.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment `ago` earlier; the Unix epoch where that does not fit.
    #[must_use]
    pub fn minus(self, ago: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
