//! What was asked within the last minute, second by second.

use std::time::Duration;

/// The seconds that count: sixty whole ones and the one that runs, so that in no minute more is asked than may be.
const SECONDS: u64 = 61;

/// A sum over the last minute.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Which second each place holds, and its sum.
    places: Vec<(u64, u64)>,
}

impl Default for Window {
    fn default() -> Self {
        Self { places: vec![(u64::MAX, 0); usize::try_from(SECONDS).unwrap_or(usize::MAX)] }
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS).unwrap_or(0)
}

impl Window {
    /// Adds to the second that runs. Gives it back, for [`correct`](Self::correct).
    pub(super) fn add(&mut self, amount: u64, now: Duration) -> u64 {
        let second = now.as_secs();
        let held = &mut self.places[place(second)];
        if held.0 != second {
            *held = (second, 0);
        }
        held.1 = held.1.saturating_add(amount);
        second
    }

    /// What was added in that second was an estimate, and this is the amount. What is more counts from now where that
    /// second has gone.
    pub(super) fn correct(&mut self, second: u64, estimate: u64, amount: u64, now: Duration) {
        let held = &mut self.places[place(second)];
        if held.0 == second && second + SECONDS > now.as_secs() {
            held.1 = held.1.saturating_sub(estimate).saturating_add(amount);
        } else if let Some(more) = amount.checked_sub(estimate).filter(|more| *more > 0) {
            self.add(more, now);
        }
    }

    /// The sum.
    pub(super) fn sum(&self, now: Duration) -> u64 {
        self.live(now).map(|(_, amount)| amount).sum()
    }

    fn live(&self, now: Duration) -> impl Iterator<Item = (u64, u64)> + '_ {
        let second = now.as_secs();
        self.places.iter().copied().filter(move |held| held.0 <= second && held.0 + SECONDS > second)
    }

    /// When so much of the sum will have gone.
    pub(super) fn gone(&self, amount: u64, now: Duration) -> Duration {
        let mut live: Vec<(u64, u64)> = self.live(now).collect();
        live.sort_unstable();
        let mut sum = 0;
        for (second, held) in live {
            sum += held;
            if sum >= amount {
                return Duration::from_secs(second + SECONDS);
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let mut window = Window::default();
        window.add(3, at(0));
        window.add(4, at(30));
        assert_eq!((window.sum(at(30)), window.sum(at(60)), window.sum(at(61)), window.sum(at(91))), (7, 7, 4, 0));
        assert_eq!((window.gone(3, at(30)), window.gone(4, at(30))), (at(61), at(91)));
        assert_eq!(window.sum(at(10_000)), 0);
    }

    #[test]
    fn an_estimate_is_corrected_where_it_was_made() {
        let mut window = Window::default();
        let second = window.add(100, at(0));
        window.correct(second, 100, 40, at(20));
        assert_eq!((window.sum(at(20)), window.sum(at(61))), (40, 0));
        window.correct(second, 40, 50, at(62));
        assert_eq!(window.sum(at(62)), 10, "the second has gone, and what is more counts from now");
    }
}
