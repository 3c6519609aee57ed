//! What operators look at while it happens: percentiles of the last minute, rates of the last ten seconds, counts since the
//! start, and an hour of history. Beside the Prometheus histograms, whose buckets are too wide to read a figure off, and which
//! somebody else has to keep.
//!
//! Recording is a lock and an addition, because it is on an ack's path: 16 ns, and 41 ns where two threads do nothing else. All of
//! it takes some 700 kB, however much is recorded: 12 kB for each slot of each kind of time, and 200 kB for the hour.

use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::cache::Source;
use tidewire_core::port::{Limited, Measurement};
use tidewire_core::{Money, Timestamp};
use tidewire_proto::operations::{CacheSection, History, Latency, Point, Refusals};

/// How long one slot takes what is measured, and from one point of the history to the next: a chart of an hour has as many
/// points as a small screen has pixels.
pub(crate) const SLOT: Duration = Duration::from_secs(10);

/// Slots that percentiles are taken over: the one that is being filled and five before it, so 50 to 60 s.
const SLOTS: usize = 6;

/// Points that are kept: an hour.
const POINTS: usize = 360;

/// The longest time that is told apart, in microseconds; what is longer counts as this. Ten minutes, as the longest deadlines.
const LONGEST_US: u64 = 600_000_000;

/// Figures are exact to 1 %.
const DIGITS: u8 = 2;

/// What is measured as a time, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    Ack,
    FirstToken,
    PerToken,
    FirstResult,
    DeliveryLag,
    Total,
    Fsync,
}

impl Timed {
    const ALL: [Self; 7] =
        [Self::Ack, Self::FirstToken, Self::PerToken, Self::FirstResult, Self::DeliveryLag, Self::Total, Self::Fsync];

    const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::FirstToken => "ttft",
            Self::PerToken => "tpot",
            Self::FirstResult => "ttar",
            Self::DeliveryLag => "delivery_lag",
            Self::Total => "total",
            Self::Fsync => "fsync",
        }
    }

    /// Whether the history has it.
    const fn is_kept(self) -> bool {
        !matches!(self, Self::Total | Self::Fsync)
    }
}

/// The last minute of one kind of time.
struct Minute {
    slots: Vec<Histogram<u32>>,
    now: usize,
}

impl Default for Minute {
    fn default() -> Self {
        let slot = || {
            // Fails only for bounds that make no sense; then nothing is recorded.
            Histogram::new_with_bounds(1, LONGEST_US, DIGITS).ok()
        };
        Self { slots: (0..SLOTS).filter_map(|_| slot()).collect(), now: 0 }
    }
}

impl Minute {
    fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(slot) = self.slots.get_mut(self.now) {
            slot.saturating_record(micros);
        }
    }

    /// Ends a slot, and begins the next in the place of the oldest. Half and 99 % of the one that has ended.
    fn turn(&mut self) -> Option<(f64, f64)> {
        let ended = self.slots.get(self.now).filter(|slot| !slot.is_empty());
        let seen = ended.map(|slot| (millis(slot.value_at_quantile(0.5)), millis(slot.value_at_quantile(0.99))));
        self.now = (self.now + 1) % SLOTS;
        if let Some(slot) = self.slots.get_mut(self.now) {
            slot.reset();
        }
        seen
    }

    fn latency(&self) -> Option<Latency> {
        let mut filled = self.slots.iter().filter(|slot| !slot.is_empty());
        let mut all = filled.next()?.clone();
        for slot in filled {
            // They have the same bounds.
            let _ = all.add(slot);
        }
        let quantile = |quantile| millis(all.value_at_quantile(quantile));
        Some(Latency { count: all.len(), p50_ms: quantile(0.5), p95_ms: quantile(0.95), p99_ms: quantile(0.99) })
    }
}

// Times are far below 2^53 microseconds.
#[allow(clippy::cast_precision_loss)]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// What only rises, since the start.
#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    tasks: AtomicU64,
    failed: AtomicU64,
    commits: AtomicU64,
    queue_full: AtomicU64,
    rate_limited: AtomicU64,
    budget_exceeded: AtomicU64,
    retries: AtomicU64,
    hits: AtomicU64,
    stale: AtomicU64,
    joined: AtomicU64,
    misses: AtomicU64,
    semantic_hits: AtomicU64,
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What was counted by the last turn, so that the next one knows what came since.
#[derive(Clone, Copy, Default)]
struct Before {
    tokens: u64,
    tasks: u64,
    failed: u64,
    commits: u64,
    cost: Money,
}

/// Rates over the last whole slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) tokens_per_second: f64,
    pub(crate) commits_per_second: f64,
}

#[derive(Default)]
struct Kept {
    before: Option<Before>,
    rates: Option<Rates>,
    /// Each with its moment, oldest first.
    points: VecDeque<(Timestamp, Values)>,
}

type Values = Vec<(&'static str, Option<f64>)>;

/// What is read off when a slot ends.
#[derive(Clone, Copy)]
pub(crate) struct Turned {
    pub(crate) at: Timestamp,
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    /// All that was ever settled.
    pub(crate) cost: Money,
}

/// See above.
#[derive(Default)]
pub(crate) struct Live {
    minutes: [Mutex<Minute>; Timed::ALL.len()],
    counts: Counts,
    connections: AtomicI64,
    kept: Mutex<Kept>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in between leaves one measurement half counted.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn time(&self, what: Timed, took: Duration) {
        locked(&self.minutes[what as usize]).record(took);
    }

    pub(super) fn committed(&self, fsync: Option<Duration>) {
        count(&self.counts.commits, 1);
        if let Some(fsync) = fsync {
            self.time(Timed::Fsync, fsync);
        }
    }

    pub(super) fn record(&self, measurement: Measurement<'_>) {
        let counts = &self.counts;
        match measurement {
            Measurement::Ack(took) => self.time(Timed::Ack, took),
            Measurement::FirstToken(took) => self.time(Timed::FirstToken, took),
            Measurement::PerToken(took) => self.time(Timed::PerToken, took),
            Measurement::SeenFirstResult(took) => self.time(Timed::FirstResult, took),
            Measurement::DeliveryLag(took) => self.time(Timed::DeliveryLag, took),
            Measurement::Total(took) => {
                self.time(Timed::Total, took);
                count(&counts.tasks, 1);
            }
            Measurement::OutputTokens(tokens) => count(&counts.tokens, tokens),
            Measurement::Served(_, _, Some(_)) => count(&counts.failed, 1),
            Measurement::Retry => count(&counts.retries, 1),
            Measurement::QueueFull => count(&counts.queue_full, 1),
            Measurement::OverLimit(Limited::CostPerDay | Limited::CostPerMonth) => count(&counts.budget_exceeded, 1),
            Measurement::OverLimit(_) => count(&counts.rate_limited, 1),
            Measurement::Connected => {
                self.connections.fetch_add(1, Ordering::Relaxed);
            }
            Measurement::Disconnected => {
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
            Measurement::Answered(_, Source::Hit) => count(&counts.hits, 1),
            Measurement::Answered(_, Source::Stale) => count(&counts.stale, 1),
            Measurement::Answered(_, Source::Joined) => count(&counts.joined, 1),
            Measurement::Answered(_, Source::Miss) => count(&counts.misses, 1),
            Measurement::Semantic(_, "hit") => count(&counts.semantic_hits, 1),
            _ => {}
        }
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> u64 {
        u64::try_from(self.connections.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The last minute's, of what was measured in it.
    pub(crate) fn latencies(&self) -> BTreeMap<String, Latency> {
        let all = Timed::ALL.into_iter().filter(|timed| *timed != Timed::Fsync);
        all.filter_map(|timed| Some((timed.name().to_owned(), self.latency(timed)?))).collect()
    }

    /// The disk's part of a commit, in the last minute.
    pub(crate) fn fsync(&self) -> Option<Latency> {
        self.latency(Timed::Fsync)
    }

    fn latency(&self, what: Timed) -> Option<Latency> {
        locked(&self.minutes[what as usize]).latency()
    }

    /// Those of the last whole slot; none before the first has ended.
    pub(crate) fn rates(&self) -> Option<Rates> {
        locked(&self.kept).rates
    }

    /// What went wrong, as far as it is counted here.
    pub(crate) fn refusals(&self) -> Refusals {
        let counts = &self.counts;
        Refusals {
            queue_full: read(&counts.queue_full),
            rate_limited: read(&counts.rate_limited),
            budget_exceeded: read(&counts.budget_exceeded),
            retries: read(&counts.retries),
            disk_failures: 0,
        }
    }

    /// Where answers came from.
    pub(crate) fn answers(&self) -> CacheSection {
        let counts = &self.counts;
        CacheSection {
            hits: read(&counts.hits),
            stale: read(&counts.stale),
            joined: read(&counts.joined),
            misses: read(&counts.misses),
            semantic_hits: read(&counts.semantic_hits),
            ..CacheSection::default()
        }
    }

    /// Ends a slot, and makes a point of it. Called every [`SLOT`].
    pub(crate) fn turn(&self, turned: &Turned) {
        let mut values = Values::new();
        for timed in Timed::ALL {
            let seen = locked(&self.minutes[timed as usize]).turn();
            if let Some((half, most)) = names(timed) {
                values.push((half, seen.map(|seen| seen.0)));
                values.push((most, seen.map(|seen| seen.1)));
            }
        }
        let counts = &self.counts;
        let now = Before {
            tokens: read(&counts.tokens),
            tasks: read(&counts.tasks),
            failed: read(&counts.failed),
            commits: read(&counts.commits),
            cost: turned.cost,
        };
        let mut kept = locked(&self.kept);
        let before = kept.before.replace(now).unwrap_or_default();
        let tokens_per_second = per_second(now.tokens - before.tokens);
        kept.rates = Some(Rates { tokens_per_second, commits_per_second: per_second(now.commits - before.commits) });
        values.extend([
            ("waiting", Some(level(turned.waiting as u64))),
            ("running", Some(level(turned.running as u64))),
            ("connections", Some(level(self.connections()))),
            ("tokens_per_second", Some(tokens_per_second)),
            ("tasks_per_second", Some(per_second(now.tasks - before.tasks))),
            ("failed_per_second", Some(per_second(now.failed - before.failed))),
            ("cost_usd_per_hour", Some(now.cost.minus(before.cost).dollars() * SLOTS_PER_HOUR)),
        ]);
        if kept.points.len() == POINTS {
            kept.points.pop_front();
        }
        kept.points.push_back((turned.at, values));
    }

    /// What was settled before this process counts as no cost of its first slot.
    pub(crate) fn begin(&self, cost: Money) {
        locked(&self.kept).before = Some(Before { cost, ..Before::default() });
    }

    /// The last hour.
    pub(crate) fn history(&self) -> History {
        let kept = locked(&self.kept);
        let mut series: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for (_, values) in &kept.points {
            for (name, value) in values {
                series.entry((*name).to_owned()).or_default().push(*value);
            }
        }
        let end = kept.points.back().map_or(0, |(at, _)| at.as_millis());
        History { step_ms: u64::try_from(SLOT.as_millis()).unwrap_or(u64::MAX), end, series }
    }

    /// Points after this moment, oldest first.
    pub(crate) fn points_after(&self, end: u64) -> Vec<Point> {
        let kept = locked(&self.kept);
        let new = kept.points.iter().skip_while(|(at, _)| at.as_millis() <= end);
        let point = |(at, values): &(Timestamp, Values)| Point {
            at: at.as_millis(),
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        };
        new.map(point).collect()
    }
}

const SLOTS_PER_HOUR: f64 = 360.0;

/// What a series of the history is called; none where there is none.
fn names(timed: Timed) -> Option<(&'static str, &'static str)> {
    timed.is_kept().then_some(match timed {
        Timed::Ack => ("ack_p50", "ack_p99"),
        Timed::FirstToken => ("ttft_p50", "ttft_p99"),
        Timed::PerToken => ("tpot_p50", "tpot_p99"),
        Timed::FirstResult => ("ttar_p50", "ttar_p99"),
        Timed::DeliveryLag => ("delivery_lag_p50", "delivery_lag_p99"),
        Timed::Total => ("total_p50", "total_p99"),
        Timed::Fsync => ("fsync_p50", "fsync_p99"),
    })
}

// For people: what a float loses of a count above 2^53 makes no difference.
#[allow(clippy::cast_precision_loss)]
fn level(count: u64) -> f64 {
    count as f64
}

fn per_second(count: u64) -> f64 {
    level(count) / SLOT.as_secs_f64()
}

#[cfg(test)]
mod tests;
