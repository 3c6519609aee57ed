//! What a request of a route will use, by what those before it did: how long answers get, and by how much estimates of
//! inputs are off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an answer is taken to be before its route has ended so many tasks: longer than most answers, and a cent of the
/// dearest models.
const FIRST_OUTPUT_TOKENS: u64 = 1024;

/// Tasks that a route must have ended before its own answers are believed: the 95th percentile of fewer is the longest.
const ENOUGH: u32 = 20;

/// At so many remembered answers each counts half: the newest some hundreds decide.
const MEMORY: u32 = 512;

/// Which part of the answers stays within the forecast.
const PERCENT: u64 = 95;

/// Steps of the histogram for each doubling: the forecast is at most 19 % above the percentile.
const STEPS: u32 = 4;

/// Lengths up to 2^20 tokens: longer than any model's answer.
const BUCKETS: usize = 20 * STEPS as usize + 1;

/// How far an estimate is corrected: scripts of one token for each byte lie within, and a liar does not run away with it.
const RATIO: (f64, f64) = (0.25, 4.0);

/// How much the newest report counts: a change of what a route is used for has told after some ten tasks.
const WEIGHT: f64 = 0.1;

/// Routes that are told apart. Where names are passed through to an upstream, anybody makes up new ones.
const MAX_ROUTES: usize = 4096;

/// Learns from ended tasks what the next ones will use. Shared by who asks and who tells; it never waits long.
#[derive(Debug, Default)]
pub struct Forecast(Mutex<HashMap<Arc<str>, Route>>);

#[derive(Debug)]
struct Route {
    answers: [u32; BUCKETS],
    count: u32,
    /// The percentile, recomputed with each answer.
    output_tokens: u64,
    /// Reported tokens for each estimated one.
    ratio: f64,
}

impl Default for Route {
    fn default() -> Self {
        Self { answers: [0; BUCKETS], count: 0, output_tokens: FIRST_OUTPUT_TOKENS, ratio: 1.0 }
    }
}

impl Forecast {
    /// How long the next answer gets: 19 of 20 are no longer. At most what the request allows.
    pub fn output_tokens(&self, route: &str, max_tokens: Option<u64>) -> u64 {
        let expected = self.routes().get(route).map_or(FIRST_OUTPUT_TOKENS, |route| route.output_tokens);
        expected.min(max_tokens.unwrap_or(u64::MAX))
    }

    /// An estimate of input tokens, corrected by what upstreams have reported.
    pub fn input_tokens(&self, route: &str, estimated: u64) -> u64 {
        let ratio = self.routes().get(route).map_or(1.0, |route| route.ratio);
        // Far below where a float loses whole numbers.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let corrected = (estimated as f64 * ratio).ceil() as u64;
        corrected
    }

    /// An answer has ended by itself.
    pub fn answered(&self, route: &str, output_tokens: u64) {
        self.learn(route, |route| route.answered(output_tokens));
    }

    /// An upstream reported how many tokens it read, of a request that was estimated at so many.
    pub fn reported(&self, route: &str, estimated: u64, input_tokens: u64) {
        if estimated > 0 && input_tokens > 0 {
            self.learn(route, |route| route.reported(estimated, input_tokens));
        }
    }

    fn learn(&self, name: &str, learn: impl FnOnce(&mut Route)) {
        let mut routes = self.routes();
        if let Some(route) = routes.get_mut(name) {
            learn(route);
        } else if routes.len() < MAX_ROUTES {
            learn(routes.entry(name.into()).or_default());
        }
    }

    fn routes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Route>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn answered(&mut self, tokens: u64) {
        if self.count >= MEMORY {
            for answers in &mut self.answers {
                *answers /= 2;
            }
            self.count = self.answers.iter().sum();
        }
        self.answers[bucket(tokens)] += 1;
        self.count += 1;
        if self.count < ENOUGH {
            return;
        }
        let within = (u64::from(self.count) * PERCENT).div_ceil(100);
        let mut seen = 0;
        for (index, answers) in self.answers.iter().enumerate() {
            seen += u64::from(*answers);
            if seen >= within {
                self.output_tokens = upper(index);
                return;
            }
        }
    }

    #[allow(clippy::cast_precision_loss)] // Token counts are far below where a float loses whole numbers.
    fn reported(&mut self, estimated: u64, reported: u64) {
        let ratio = reported as f64 / estimated as f64;
        self.ratio = (self.ratio + WEIGHT * (ratio - self.ratio)).clamp(RATIO.0, RATIO.1);
    }
}

/// The bucket of a length: that of the smallest upper bound which holds it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bucket(tokens: u64) -> usize {
    let step = ((tokens.max(1) as f64).log2() * f64::from(STEPS)).ceil() as usize;
    step.min(BUCKETS - 1)
}

/// The longest answer of a bucket.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn upper(bucket: usize) -> u64 {
    (bucket as f64 / f64::from(STEPS)).exp2().floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_route_starts_at_the_default_and_learns_its_own_answers() {
        let (forecast, route) = (Forecast::default(), "r");
        assert_eq!(forecast.output_tokens("r", None), FIRST_OUTPUT_TOKENS);
        assert_eq!(forecast.output_tokens("r", Some(16)), 16, "what the request allows bounds it");
        for _ in 0..ENOUGH - 1 {
            forecast.answered(route, 100);
        }
        assert_eq!(forecast.output_tokens("r", None), FIRST_OUTPUT_TOKENS, "too few to be believed");
        forecast.answered(route, 100);
        let learnt = forecast.output_tokens("r", None);
        assert!((100..=119).contains(&learnt), "{learnt}");
    }

    #[test]
    fn old_answers_fade() {
        let (forecast, route) = (Forecast::default(), "r");
        (0..2 * MEMORY).for_each(|_| forecast.answered(route, 4000));
        (0..6 * MEMORY).for_each(|_| forecast.answered(route, 10));
        assert!(forecast.output_tokens("r", None) <= 12);
    }

    #[test]
    fn estimates_are_corrected_by_reports_and_no_further_than_the_bounds() {
        let (forecast, route) = (Forecast::default(), "r");
        (0..100).for_each(|_| forecast.reported(route, 100, 150));
        assert!((149..=151).contains(&forecast.input_tokens("r", 100)));
        (0..100).for_each(|_| forecast.reported(route, 1, 1_000_000));
        assert_eq!(forecast.input_tokens("r", 100), 400);
        (0..100).for_each(|_| forecast.reported(route, 1_000_000, 1));
        assert_eq!(forecast.input_tokens("r", 100), 25);
        assert_eq!(forecast.input_tokens("another", 100), 100);
    }

    #[test]
    fn no_more_routes_are_told_apart_than_the_bound() {
        let forecast = Forecast::default();
        (0..MAX_ROUTES + 10).for_each(|n| forecast.answered(&n.to_string(), 1));
        assert_eq!(forecast.routes().len(), MAX_ROUTES);
    }

    proptest! {
        #[test]
        fn nineteen_of_twenty_answers_stay_within(mut answers in prop::collection::vec(1_u64..100_000, 20..500)) {
            let (forecast, route) = (Forecast::default(), "r");
            for tokens in &answers {
                forecast.answered(route, *tokens);
            }
            let expected = forecast.output_tokens("r", None);
            answers.sort_unstable();
            let percentile = answers[(answers.len() * 95).div_ceil(100) - 1];
            prop_assert!(expected >= percentile, "{expected} below {percentile}");
            prop_assert!(expected * 100 <= percentile * 119 + 100, "{expected} far above {percentile}");
        }
    }
}
