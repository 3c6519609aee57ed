//! The port `Clock` on the simulation's time.

use crate::dice::Dice;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;

/// Where the simulation's wall clock begins: a moment in 2025.
const BEGIN: Timestamp = Timestamp::from_millis(1_750_000_000_000);

pub(crate) struct SimClock {
    dice: Mutex<Dice>,
}

impl SimClock {
    pub(crate) fn new(seed: u64) -> Self {
        Self { dice: Mutex::new(Dice::new(seed, "clock")) }
    }
}

/// How long the simulation has run: on a host its own time, finer than a tick.
pub(crate) fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The wall clock of the whole simulation.
pub(crate) fn now() -> Timestamp {
    BEGIN.plus(elapsed())
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        now()
    }

    fn monotonic(&self) -> Duration {
        elapsed()
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(wait))
    }

    fn random(&self) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).bits()
    }
}
