//! A clock that a test turns by hand, with seeded randomness, so that a run can be repeated.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;
use tokio::sync::oneshot;

/// Stands still until [`HandClock::advance`] moves it.
#[derive(Debug)]
pub struct HandClock {
    hands: Mutex<Hands>,
}

#[derive(Debug)]
struct Hands {
    wall: Timestamp,
    monotonic: Duration,
    // By deadline, then by who slept first.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    slept: u64,
    seed: u64,
}

impl HandClock {
    /// A clock that stands at a moment in 2025, and draws its randomness from this seed.
    pub fn new(seed: u64) -> Self {
        Self::at(Timestamp::from_millis(1_750_000_000_000), seed)
    }

    /// A clock that stands at this moment.
    pub fn at(wall: Timestamp, seed: u64) -> Self {
        let hands = Hands { wall, monotonic: Duration::ZERO, sleepers: BTreeMap::new(), slept: 0, seed };
        Self { hands: Mutex::new(hands) }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves time on and wakes every sleeper whose time has come, the one that waited for the earliest moment
    /// first. They run when the runtime next gets to them, and all see the time after the move.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.monotonic += by;
        hands.wall = hands.wall.plus(by);
        let later = (hands.monotonic, u64::MAX);
        let mut due = hands.sleepers.split_off(&later);
        std::mem::swap(&mut hands.sleepers, &mut due);
        drop(hands);
        for wake in due.into_values() {
            // A sleeper that was dropped wakes nobody.
            let _ = wake.send(());
        }
    }

    /// Sets the wall clock, as an operator or a time server does; the monotonic time stays.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands().wall = wall;
    }

    /// How many wait for time to pass. A test that waits until somebody sleeps can look here.
    pub fn sleepers(&self) -> usize {
        let mut hands = self.hands();
        hands.sleepers.retain(|_, wake| !wake.is_closed());
        hands.sleepers.len()
    }

    /// How long until the first sleeper wakes, if anybody sleeps.
    pub fn until_next(&self) -> Option<Duration> {
        let mut hands = self.hands();
        hands.sleepers.retain(|_, wake| !wake.is_closed());
        let (deadline, _) = *hands.sleepers.first_key_value()?.0;
        Some(deadline.saturating_sub(hands.monotonic))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.hands().wall
    }

    fn monotonic(&self) -> Duration {
        self.hands().monotonic
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if wait.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        let mut hands = self.hands();
        let place = (hands.monotonic.saturating_add(wait), hands.slept);
        hands.slept += 1;
        hands.sleepers.insert(place, wake);
        drop(hands);
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone: no time passes any more.
                std::future::pending::<()>().await;
            }
        })
    }

    /// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>).
    fn random(&self) -> u64 {
        let mut hands = self.hands();
        hands.seed = hands.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = hands.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = HandClock::new(1);
        let mut short = clock.sleep(Duration::from_secs(1));
        let mut long = clock.sleep(Duration::from_secs(2));
        assert_eq!((clock.sleepers(), clock.until_next()), (2, Some(Duration::from_secs(1))));
        clock.advance(Duration::from_millis(999));
        assert!(short.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(short.as_mut().now_or_never().is_some());
        assert!(long.as_mut().now_or_never().is_none());
        drop(long);
        assert_eq!((clock.sleepers(), clock.until_next()), (0, None));
    }

    #[test]
    fn time_passes_on_both_hands_and_the_wall_can_be_set_back() {
        let clock = HandClock::new(1);
        let before = clock.now();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now().since(before), Duration::from_secs(3));
        clock.set_wall(before);
        assert_eq!((clock.now(), clock.monotonic()), (before, Duration::from_secs(3)));
    }

    #[test]
    fn one_seed_gives_one_run() {
        let draw = |seed| {
            let clock = HandClock::new(seed);
            [clock.random(), clock.random(), clock.random()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
