//! What all sessions saw, added up as each task ends.

use crate::report::{Events, Quantiles, Tasks};
use crate::task::{Failure, Seen};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_client::Counts;

/// Longer times count as this one. A task may take a day, but nobody waits for a bench that long.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Three significant digits: a time is right to a thousandth.
const DIGITS: u8 = 3;
/// Kinds of failure that are told apart.
const REASONS: usize = 20;

/// Shared by all sessions of a run. Each locks it once a task.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Sums>);

#[derive(Clone, Debug)]
pub(crate) struct Sums {
    pub(crate) ack: Timings,
    pub(crate) first_token: Timings,
    pub(crate) per_token: Timings,
    pub(crate) total: Timings,
    pub(crate) tokens: u64,
    pub(crate) tasks: Tasks,
    pub(crate) events: Events,
    pub(crate) reasons: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Timings(Histogram<u64>);

impl Timings {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).map(Self)
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_MICROS));
    }

    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        // Microseconds below an hour are exact in a float.
        #[allow(clippy::cast_precision_loss)]
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let at = |share: f64| millis(self.0.value_at_quantile(share));
        (!self.0.is_empty()).then(|| Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: millis(self.0.max()) })
    }
}

impl Tally {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self(Mutex::new(Sums {
            ack: Timings::new()?,
            first_token: Timings::new()?,
            per_token: Timings::new()?,
            total: Timings::new()?,
            tokens: 0,
            tasks: Tasks::default(),
            events: Events::default(),
            reasons: BTreeMap::new(),
        })))
    }

    /// A task came to its end, or was given up.
    pub(crate) fn task(&self, seen: &Seen) {
        let tokens = seen.check.tokens();
        let faults = seen.check.faults();
        let mut sums = self.lock();
        let times = [(seen.ack, Kind::Ack), (seen.first_text, Kind::First), (seen.total, Kind::Total)];
        for (time, kind) in times.into_iter().filter_map(|(time, kind)| Some((time?, kind))) {
            sums.timings(kind).record(time);
        }
        if let (Some(first), Some(last)) = (seen.first_text, seen.last_text)
            && let Some(gaps) = u32::try_from(tokens).ok().and_then(|tokens| tokens.checked_sub(1)).filter(|n| *n > 0)
        {
            sums.per_token.record(last.saturating_sub(first) / gaps);
        }
        sums.tokens += tokens;
        sums.events.lost += faults.lost;
        sums.events.doubled += faults.doubled;
        sums.events.out_of_order += faults.out_of_order;
        sums.outcome(seen);
    }

    /// A session came to its end.
    pub(crate) fn session(&self, counts: Counts) {
        let mut sums = self.lock();
        let events = &mut sums.events;
        // The session mends these, so that no reader sees them; the server should not have sent them.
        events.doubled += counts.duplicates;
        events.out_of_order += counts.gaps;
        events.unreadable += counts.unreadable;
        events.reconnects += counts.reconnects;
        events.started_over += counts.started_over;
        events.fell_behind += counts.fell_behind;
    }

    /// A task was due and was not begun, because too many were under way.
    pub(crate) fn not_begun(&self) {
        self.lock().tasks.not_begun += 1;
    }

    pub(crate) fn sums(&self) -> Sums {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        // A session that panicked has lost its own task, not the sums of the others.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Ack,
    First,
    Total,
}

impl Sums {
    fn timings(&mut self, kind: Kind) -> &mut Timings {
        match kind {
            Kind::Ack => &mut self.ack,
            Kind::First => &mut self.first_token,
            Kind::Total => &mut self.total,
        }
    }

    fn outcome(&mut self, seen: &Seen) {
        let end = seen.check.end();
        let mut reason = None;
        match (&seen.failure, end.map(|end| end.state.as_str())) {
            (Some(Failure::Refused(why)), _) => {
                self.tasks.refused += 1;
                reason = Some(why.clone());
            }
            (Some(Failure::Unfinished(why)), None) => {
                self.tasks.unfinished += 1;
                reason = Some(why.clone());
            }
            (_, Some("done")) => self.tasks.done += 1,
            (_, Some("stopped")) => self.tasks.stopped += 1,
            (_, Some(_)) => {
                self.tasks.failed += 1;
                reason = end.and_then(|end| end.error.clone());
            }
            (None, None) => {
                // The server said that the log has ended, and sent no `end` event.
                self.tasks.unfinished += 1;
                self.events.lost += 1;
                reason = Some("no end event".to_owned());
            }
        }
        if let Some(reason) = reason
            && (self.reasons.len() < REASONS || self.reasons.contains_key(&reason))
        {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}
