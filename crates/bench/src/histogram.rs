//! Histograms of the server's metrics: read from Prometheus text, and what a run added to them.

use std::collections::BTreeMap;

/// How many observations were at most so large, by bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// By the bound's bits: positive floats sort as their bits do. The last one is infinity.
    cumulative: BTreeMap<u64, f64>,
}

impl Histogram {
    /// The histogram of this name, over all its labels.
    pub(crate) fn parse(metrics: &str, name: &str) -> Self {
        let mut cumulative: BTreeMap<u64, f64> = BTreeMap::new();
        let bucket = |line: &str| -> Option<(f64, f64)> {
            let (labels, rest) = line.strip_prefix(name)?.strip_prefix("_bucket{")?.split_once('}')?;
            let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, rest.split_ascii_whitespace().next()?.parse().ok()?))
        };
        for (bound, count) in metrics.lines().filter_map(bucket) {
            *cumulative.entry(bound.to_bits()).or_default() += count;
        }
        Self { cumulative }
    }

    /// What came after `before`; all of it, if the server has begun to count anew since.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        if self.count() < before.count() {
            return self;
        }
        for (bound, count) in &mut self.cumulative {
            *count -= before.cumulative.get(bound).copied().unwrap_or(0.0);
        }
        self
    }

    pub(crate) fn count(&self) -> f64 {
        self.cumulative.values().next_back().copied().unwrap_or(0.0)
    }

    /// The value that this share of the observations do not exceed, as straight a line through its bucket as
    /// Prometheus' `histogram_quantile` draws.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = self.count() * share;
        if rank <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for (bits, count) in &self.cumulative {
            let bound = f64::from_bits(*bits);
            if *count >= rank {
                let inside = (rank - below) / (count - below).max(f64::MIN_POSITIVE);
                return Some(if bound.is_finite() { lower + (bound - lower) * inside } else { lower });
            }
            (lower, below) = (bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_s_share_of_a_histogram_is_the_difference() {
        let text = |small: u32, all: u32| {
            format!(
                "# TYPE tidewire_fsync_seconds histogram\n\
                 tidewire_fsync_seconds_sum 1.0\n\
                 tidewire_fsync_seconds_bucket{{engine=\"a\",le=\"0.001\"}} {small}\n\
                 tidewire_fsync_seconds_bucket{{engine=\"a\",le=\"0.01\"}} {all}\n\
                 tidewire_fsync_seconds_bucket{{engine=\"a\",le=\"+Inf\"}} {all}\n\
                 tidewire_fsync_seconds_other_bucket{{le=\"+Inf\"}} 99\n"
            )
        };
        let before = Histogram::parse(&text(100, 100), "tidewire_fsync_seconds");
        let run = Histogram::parse(&text(150, 200), "tidewire_fsync_seconds").since(&before);
        assert!((run.count() - 100.0).abs() < 1e-9);
        assert!((run.quantile(0.5).unwrap() - 0.001).abs() < 1e-9);
        assert!((run.quantile(0.75).unwrap() - 0.0055).abs() < 1e-9);
        let restarted = Histogram::parse(&text(3, 4), "tidewire_fsync_seconds").since(&before);
        assert!((restarted.count() - 4.0).abs() < 1e-9);
        assert_eq!(Histogram::parse("", "tidewire_fsync_seconds").quantile(0.5), None);
    }
}
