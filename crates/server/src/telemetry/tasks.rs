//! What is measured of tasks, connections, queue and disk: one figure each for the whole server.

use super::Levels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;
use tidewire_core::port::{Limited, Measurement};

pub(super) struct Tasks {
    ack: Histogram,
    first_token: Histogram,
    seen_token: Histogram,
    seen_result: Histogram,
    per_token: Histogram,
    total: Histogram,
    commit: Histogram,
    fsync: Histogram,
    delivery_lag: Histogram,
    output_tokens: Counter,
    retries: Counter,
    queue_full: Counter,
    rate_limited: Counter,
    budget_exceeded: Counter,
    waiting: Gauge,
    running: Gauge,
    connections: Gauge,
    memory_bytes: Gauge,
    memory_bound_bytes: Gauge,
    takes_changes: Gauge,
    data_free_bytes: Gauge,
    disk_failures: Counter,
    disk_recoveries: Counter,
    shadows: ByRoute,
    feedback: ByRoute,
}

/// A route, and one of a few words. Both come from the configuration and from here: no label is a client's.
type ByRoute = Family<[(&'static str, String); 2], Counter>;

fn labels(route: &str, name: &'static str, value: &str) -> [(&'static str, String); 2] {
    [("route", route.to_owned()), (name, value.to_owned())]
}

impl Tasks {
    pub(super) fn new(registry: &mut Registry) -> Self {
        // From 0.1 ms, doubling, to 3.5 minutes: an ack lies at the lower end, a long answer at the upper one.
        let mut seconds = |name: &str, help: &str| {
            let histogram = Histogram::new(exponential_buckets(0.0001, 2.0, 22));
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        let ack = seconds("ack", "From a submit's receipt to its ack");
        let first_token = seconds("ttft", "From a task's receipt to the commit of its first token");
        let seen_token = seconds("client_ttft", "From a submit to the first token, as the user's program saw it");
        let seen_result =
            seconds("client_ttar", "From a submit to the first frame with something of the answer, as the user saw it");
        let per_token = seconds("tpot", "Time per output token, the mean over a task");
        let total = seconds("task", "From a task's receipt to its end");
        let commit = seconds("commit", "A group commit of the engine, its sync included");
        let fsync = seconds("fsync", "The disk's part of a group commit");
        let delivery_lag =
            seconds("delivery_lag", "From an event's moment to its follower's connection, caught up ones");
        let mut count = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let output_tokens = count("output_tokens", "Output tokens of tasks that ended");
        let retries = count("retries", "Attempts that failed and were followed by another");
        let queue_full = count("queue_full", "Submits refused because too many tasks wait");
        let rate_limited = count("rate_limited", "Submits refused because a limit by the minute was used up");
        let budget_exceeded = count("budget_exceeded", "Submits refused because a budget was used up");
        let disk_failures = count("disk_failures", "Times the engine stopped taking changes because its disk failed");
        let disk_recoveries = count("disk_recoveries", "Times it took them again by itself");
        let mut by_route = |name: &str, help: &str| {
            let family = ByRoute::default();
            registry.register(name, help, family.clone());
            family
        };
        let shadows = by_route("shadows", "Requests run once more on another route, by how that ended");
        let feedback = by_route("feedback", "Judgements of answers");
        let mut level = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            ack,
            first_token,
            seen_token,
            seen_result,
            per_token,
            total,
            commit,
            fsync,
            delivery_lag,
            output_tokens,
            retries,
            queue_full,
            rate_limited,
            budget_exceeded,
            disk_failures,
            disk_recoveries,
            shadows,
            feedback,
            waiting: level("tasks_waiting", "Tasks that wait"),
            running: level("tasks_running", "Tasks that run"),
            connections: level("connections", "Open connections"),
            memory_bytes: level("transient_bytes", "Memory that transient tasks and logs take"),
            memory_bound_bytes: level("transient_bound_bytes", "Memory that they may take"),
            takes_changes: level("takes_changes", "1 while new work is taken, as /readyz says"),
            data_free_bytes: level("data_free_bytes", "What the disk of the data directory has free"),
        }
    }

    pub(super) fn committed(&self, whole: Duration, fsync: Option<Duration>) {
        self.commit.observe(whole.as_secs_f64());
        if let Some(fsync) = fsync {
            self.fsync.observe(fsync.as_secs_f64());
        }
    }

    pub(super) fn set(&self, levels: &Levels) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.set(gauge(levels.waiting));
        self.running.set(gauge(levels.running));
        self.memory_bytes.set(gauge(levels.transient_bytes));
        self.memory_bound_bytes.set(gauge(levels.transient_bound_bytes));
        self.takes_changes.set(i64::from(levels.takes_changes));
        self.data_free_bytes.set(i64::try_from(levels.data_free_bytes).unwrap_or(i64::MAX));
        let (failures, recoveries) = levels.disk_failures_and_recoveries;
        self.disk_failures.inc_by(failures.saturating_sub(self.disk_failures.get()));
        self.disk_recoveries.inc_by(recoveries.saturating_sub(self.disk_recoveries.get()));
    }

    pub(super) fn record(&self, measurement: Measurement<'_>) {
        let seconds = |histogram: &Histogram, took: Duration| histogram.observe(took.as_secs_f64());
        match measurement {
            Measurement::Ack(took) => seconds(&self.ack, took),
            Measurement::FirstToken(took) => seconds(&self.first_token, took),
            Measurement::SeenFirstToken(took) => seconds(&self.seen_token, took),
            Measurement::SeenFirstResult(took) => seconds(&self.seen_result, took),
            Measurement::PerToken(took) => seconds(&self.per_token, took),
            Measurement::Total(took) => seconds(&self.total, took),
            Measurement::OutputTokens(tokens) => {
                self.output_tokens.inc_by(tokens);
            }
            Measurement::Retry => {
                self.retries.inc();
            }
            Measurement::QueueFull => {
                self.queue_full.inc();
            }
            Measurement::OverLimit(Limited::CostPerDay | Limited::CostPerMonth) => {
                self.budget_exceeded.inc();
            }
            Measurement::OverLimit(_) => {
                self.rate_limited.inc();
            }
            Measurement::DeliveryLag(took) => seconds(&self.delivery_lag, took),
            Measurement::Connected => {
                self.connections.inc();
            }
            Measurement::Disconnected => {
                self.connections.dec();
            }
            Measurement::ServedFirstToken(..)
            | Measurement::ServedPerToken(..)
            | Measurement::Served(..)
            | Measurement::Asked(..)
            | Measurement::Answered(..)
            | Measurement::Semantic(..)
            | Measurement::Traced(_)
            | Measurement::Guarded { .. } => {}
            Measurement::Shadow(route, outcome) => {
                self.shadows.get_or_create(&labels(route, "outcome", outcome)).inc();
            }
            Measurement::Feedback(route, score) => {
                self.feedback.get_or_create(&labels(route, "score", score)).inc();
            }
        }
    }
}
