//! How fast a capability works: from what its last tasks took, an honest estimate of a wait.

use std::time::Duration;

/// How much the newest run weighs in the mean: the last ten or so count.
const WEIGHT: f64 = 0.1;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// A run's mean length, in seconds; `None` before the first has ended.
    mean: Option<f64>,
    /// How many run now.
    running: usize,
    /// How many ran at once, lately at most: what the pool can do.
    most: usize,
}

impl Pace {
    pub(super) fn began(&mut self) {
        self.running += 1;
        self.most = self.most.max(self.running);
    }

    pub(super) fn ended(&mut self, took: Duration) {
        self.left();
        let took = took.as_secs_f64();
        self.mean = Some(self.mean.map_or(took, |mean| mean + WEIGHT * (took - mean)));
    }

    /// One stopped running without an end that says how long a run takes.
    pub(super) fn left(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// How long until so many tasks have gone ahead and a place is free; `None` where no run has ended yet.
    pub(super) fn wait(&self, ahead: u64) -> Option<Duration> {
        // Some 2^53 tasks ahead are more than a queue holds.
        #[allow(clippy::cast_precision_loss)]
        let turns = (ahead + 1) as f64 / self.most.max(1) as f64;
        self.mean.map(|mean| Duration::try_from_secs_f64(mean * turns).unwrap_or(Duration::MAX))
    }

    /// The mean length of a run.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean.and_then(|mean| Duration::try_from_secs_f64(mean).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_known_once_a_run_has_ended_and_falls_with_the_number_of_places() {
        let mut pace = Pace::default();
        (0..4).for_each(|_| pace.began());
        assert_eq!(pace.wait(3), None);
        pace.ended(Duration::from_secs(2));
        assert_eq!(pace.wait(3), Some(Duration::from_secs(2)));
        assert_eq!(pace.wait(7), Some(Duration::from_secs(4)));
    }
}
