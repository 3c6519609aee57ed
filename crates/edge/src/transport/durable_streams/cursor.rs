//! `Stream-Cursor`: a number that changes with time, so that a cache between server and clients, which keys
//! live answers by it, does not serve one empty answer for ever.

use tidewire_core::port::Clock;

/// The protocol counts intervals of 20 s from 9 October 2024.
const EPOCH_S: u64 = 1_728_432_000;
const INTERVAL_S: u64 = 20;
/// A client that comes twice within one interval is moved on by up to an hour.
const MAX_JITTER_S: u64 = 3600;

/// The interval of now.
pub(super) fn now(clock: &dyn Clock) -> u64 {
    (clock.now().as_millis() / 1000).saturating_sub(EPOCH_S) / INTERVAL_S
}

/// The cursor of an answer to a client that came with `asked`: greater than that, always.
pub(super) fn next(clock: &dyn Clock, asked: Option<u64>) -> u64 {
    let now = now(clock);
    match asked {
        Some(asked) if asked >= now => {
            let jitter_s = 1 + clock.random() % MAX_JITTER_S;
            asked.saturating_add((jitter_s / INTERVAL_S).max(1))
        }
        _ => now,
    }
}
