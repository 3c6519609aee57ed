//! Who waits and runs, as the Operations page shows it. The queue stands still while it is counted, so that this takes a hundredth
//! of the time at most: with few tasks each look counts anew, with many an older count is shown.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::port::Clock;
use tidewire_core::queue::{Census, Queue};

/// Counting takes one part in so many of the time.
const SHARE: u32 = 100;

/// The newest count: when it was made, how long that took, and what came of it.
#[derive(Default)]
pub(super) struct Standing(Mutex<Option<(Duration, Duration, Arc<Census>)>>);

impl Standing {
    /// A count that is new enough.
    pub(super) fn census(&self, queue: &Queue, clock: &dyn Clock) -> Arc<Census> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.monotonic();
        if let Some((made, took, census)) = &*held
            && now.saturating_sub(*made) < took.saturating_mul(SHARE)
        {
            return census.clone();
        }
        let census = Arc::new(queue.census());
        *held = Some((now, clock.monotonic().saturating_sub(now), census.clone()));
        census
    }
}
