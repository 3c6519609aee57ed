//! How long something took, as its user saw it. The one place in the client and the bench that reads the clock.

use std::time::{Duration, Instant};

/// Runs from the moment it was started.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    // Measuring is this type's purpose, and nothing that it measures decides what the client does.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// A watch that was started so much later than this one: for work that was due then, whenever it begins.
    #[must_use]
    pub fn started_after(&self, delay: Duration) -> Self {
        Self(self.0 + delay)
    }
}
