//! When a route's first tokens are late enough to ask a second deployment as well, and how often that may be.

use super::Plan;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The last times to a first token that are kept for each route: twelve of them lie beyond a quantile of 0.95, and sorting them
/// takes microseconds.
const MAX_TIMES: usize = 256;

/// With fewer times a high quantile is only the largest of them.
const LEAST_TIMES: usize = 20;

/// Requests that a budget may save up for: as many hedges at once as one bad second of a busy route asks for.
const BURST: u32 = 10;

/// One hedge, in the budget's unit: a thousandth of a request.
const ONE: u32 = 1000;

/// What a route's configuration says of hedging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// The quantile of the route's times to first token after which a request is late, in thousandths.
    pub after_permille: u16,
    /// No request is late before this.
    pub least: Duration,
    /// How many of a thousand requests may be hedged.
    pub budget_permille: u16,
}

/// How hedges went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HedgeCounts {
    /// The second deployment gave the answer.
    pub won: u64,
    /// The first one did after all.
    pub lost: u64,
    /// The request was late, and the budget had no room.
    pub denied: u64,
}

/// What is known of each route that hedges. Times are the caller's.
#[derive(Debug, Default)]
pub struct Hedges(Mutex<HashMap<Arc<str>, Track>>);

#[derive(Debug)]
struct Track {
    /// Microseconds, the oldest first.
    times: VecDeque<u32>,
    /// Thousandths of a hedge.
    budget: u32,
    counts: HedgeCounts,
}

impl Default for Track {
    fn default() -> Self {
        // One at first, so that a budget of one in a hundred need not wait for a hundred requests.
        Self { times: VecDeque::new(), budget: ONE, counts: HedgeCounts::default() }
    }
}

impl Hedges {
    fn tracks(&self) -> MutexGuard<'_, HashMap<Arc<str>, Track>> {
        // A panic between two lines leaves at worst a time or a count that is missing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, route: &Arc<str>, change: impl FnOnce(&mut Track) -> T) -> T {
        change(self.tracks().entry(route.clone()).or_default())
    }

    /// A request begins: when it will be late, where that is known. Each one adds its share to the budget.
    pub fn asked(&self, route: &Arc<str>, hedge: Hedge) -> Option<Duration> {
        self.with(route, |track| {
            track.budget = (track.budget + u32::from(hedge.budget_permille)).min(BURST * ONE);
            track.quantile(hedge.after_permille).map(|late| late.max(hedge.least))
        })
    }

    /// The first deployment's first token came after so long; or it had not come by then, and is not waited for.
    pub fn spoke(&self, route: &Arc<str>, took: Duration) {
        self.with(route, |track| {
            if track.times.len() == MAX_TIMES {
                track.times.pop_front();
            }
            track.times.push_back(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        });
    }

    /// Takes one hedge out of the budget; where there is none, that is counted.
    pub fn take(&self, route: &Arc<str>) -> bool {
        self.with(route, |track| {
            let left = track.budget.checked_sub(ONE);
            track.budget = left.unwrap_or(track.budget);
            track.counts.denied += u64::from(left.is_none());
            left.is_some()
        })
    }

    /// The hedge that was taken did not begin: there is no other deployment to ask.
    pub fn give_back(&self, route: &Arc<str>) {
        self.with(route, |track| track.budget = (track.budget + ONE).min(BURST * ONE));
    }

    /// A hedge is over.
    pub fn over(&self, route: &Arc<str>, won: bool) {
        self.with(route, |track| *(if won { &mut track.counts.won } else { &mut track.counts.lost }) += 1);
    }

    /// How a route's hedges went.
    pub fn counts(&self, route: &str) -> HedgeCounts {
        self.tracks().get(route).map(|track| track.counts).unwrap_or_default()
    }

    /// Forgets routes that no plan names any more.
    pub(super) fn forget(&self, plan: &Plan) {
        self.tracks().retain(|name, _| plan.route(name).is_some());
    }
}

impl Track {
    fn quantile(&self, permille: u16) -> Option<Duration> {
        if self.times.len() < LEAST_TIMES {
            return None;
        }
        let mut times: Vec<u32> = self.times.iter().copied().collect();
        let place = (times.len() * usize::from(permille)).div_ceil(1000).clamp(1, times.len()) - 1;
        let (_, time, _) = times.select_nth_unstable(place);
        Some(Duration::from_micros((*time).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedge(budget_permille: u16) -> Hedge {
        Hedge { after_permille: 950, least: Duration::from_millis(10), budget_permille }
    }

    #[test]
    fn late_is_what_one_in_twenty_of_the_last_requests_was() {
        let (hedges, route) = (Hedges::default(), "r".into());
        for millis in 1..LEAST_TIMES as u64 {
            hedges.spoke(&route, Duration::from_millis(millis));
            assert_eq!(hedges.asked(&route, hedge(50)), None, "too few to tell");
        }
        hedges.spoke(&route, Duration::from_millis(20));
        assert_eq!(hedges.asked(&route, hedge(50)), Some(Duration::from_millis(19)));
        assert_eq!(
            hedges.asked(&route, Hedge { after_permille: 100, ..hedge(50) }),
            Some(Duration::from_millis(10)),
            "never before the least"
        );
        for _ in 0..MAX_TIMES {
            hedges.spoke(&route, Duration::from_millis(500));
        }
        assert_eq!(hedges.asked(&route, hedge(50)), Some(Duration::from_millis(500)), "what was is forgotten");
    }

    #[test]
    fn a_budget_allows_its_share_of_the_requests_and_a_burst() {
        let (hedges, route) = (Hedges::default(), "r".into());
        assert!(hedges.take(&route) && !hedges.take(&route), "one at first");
        let mut taken = 0;
        for _ in 0..1000 {
            hedges.asked(&route, hedge(50));
            taken += u32::from(hedges.take(&route));
        }
        assert_eq!(taken, 50);
        for _ in 0..1000 {
            hedges.asked(&route, hedge(50));
        }
        let burst = (0..1000).filter(|_| hedges.take(&route)).count();
        assert_eq!(burst, BURST as usize, "what was not used does not pile up for ever");
        hedges.give_back(&route);
        assert!(hedges.take(&route));
        hedges.over(&route, true);
        let counts = hedges.counts("r");
        assert_eq!((counts.won, counts.lost), (1, 0));
        assert!(counts.denied > 0);
    }
}
