//! Metrics in Prometheus' text format, and the server's own log.

use crate::config::LogFormat;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewire_core::port::{Measurement, Meter};
use tracing_subscriber::EnvFilter;

/// All that is measured.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    ack: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    total: Histogram,
    commit: Histogram,
    fsync: Histogram,
    output_tokens: Counter,
    retries: Counter,
    queue_full: Counter,
    waiting: Gauge,
    running: Gauge,
    connections: Gauge,
    memory_bytes: Gauge,
    memory_bound_bytes: Gauge,
    takes_changes: Gauge,
    data_free_bytes: Gauge,
    disk_failures: Counter,
    disk_recoveries: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tidewire");
        // From 0.1 ms, doubling, to 3.5 minutes: an ack lies at the lower end, a long answer at the upper one.
        let mut seconds = |name: &str, help: &str| {
            let histogram = Histogram::new(exponential_buckets(0.0001, 2.0, 22));
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        let ack = seconds("ack", "From a submit's receipt to its ack");
        let first_token = seconds("ttft", "From a task's receipt to the commit of its first token");
        let per_token = seconds("tpot", "Time per output token, the mean over a task");
        let total = seconds("task", "From a task's receipt to its end");
        let commit = seconds("commit", "A group commit of the engine, its sync included");
        let fsync = seconds("fsync", "The disk's part of a group commit");
        let mut count = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let output_tokens = count("output_tokens", "Output tokens of tasks that ended");
        let retries = count("retries", "Attempts that failed and were followed by another");
        let queue_full = count("queue_full", "Submits refused because too many tasks wait");
        let disk_failures = count("disk_failures", "Times the engine stopped taking changes because its disk failed");
        let disk_recoveries = count("disk_recoveries", "Times it took them again by itself");
        let mut level = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let waiting = level("tasks_waiting", "Tasks that wait");
        let running = level("tasks_running", "Tasks that run");
        let connections = level("connections", "Open connections");
        let memory_bytes = level("transient_bytes", "Memory that transient tasks and logs take");
        let memory_bound_bytes = level("transient_bound_bytes", "Memory that they may take");
        let takes_changes = level("takes_changes", "1 while new work is taken, as /readyz says");
        let data_free_bytes = level("data_free_bytes", "What the disk of the data directory has free");
        Self {
            registry: Mutex::new(registry),
            ack,
            first_token,
            per_token,
            total,
            commit,
            fsync,
            output_tokens,
            retries,
            queue_full,
            waiting,
            running,
            connections,
            memory_bytes,
            memory_bound_bytes,
            takes_changes,
            data_free_bytes,
            disk_failures,
            disk_recoveries,
        }
    }

    /// A group commit is done.
    pub(crate) fn committed(&self, whole: Duration, fsync: Option<Duration>) {
        self.commit.observe(whole.as_secs_f64());
        if let Some(fsync) = fsync {
            self.fsync.observe(fsync.as_secs_f64());
        }
    }

    /// Everything, as Prometheus' text format.
    pub(crate) fn text(&self, levels: &Levels) -> String {
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
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing to a string can't fail.
        let _ = encode(&mut out, &registry);
        out
    }
}

/// What is read off at the moment of asking.
pub(crate) struct Levels {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) transient_bytes: usize,
    pub(crate) transient_bound_bytes: usize,
    pub(crate) takes_changes: bool,
    /// 0 where there is no data directory.
    pub(crate) data_free_bytes: u64,
    pub(crate) disk_failures_and_recoveries: (u64, u64),
}

impl Meter for Metrics {
    fn record(&self, measurement: Measurement) {
        let seconds = |histogram: &Histogram, took: Duration| histogram.observe(took.as_secs_f64());
        match measurement {
            Measurement::Ack(took) => seconds(&self.ack, took),
            Measurement::FirstToken(took) => seconds(&self.first_token, took),
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
            Measurement::Connected => {
                self.connections.inc();
            }
            Measurement::Disconnected => {
                self.connections.dec();
            }
        }
    }
}

/// Under this name llama.cpp's own log arrives.
const LLAMA: &str = "llama-cpp-2";

/// What is logged, which may change.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl LogFilter {
    /// Directives as a filter.
    pub(crate) fn parse(filter: &str) -> Result<EnvFilter, String> {
        // llama.cpp tells every tensor that it loads; whoever wants to hear that names it in the filter.
        let quiet = if filter.contains(LLAMA) { String::new() } else { format!(",{LLAMA}=error") };
        EnvFilter::try_new(format!("{filter}{quiet}")).map_err(|error| format!("`log.filter` can't be read: {error}"))
    }

    /// From now on this.
    pub(crate) fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

/// Sends the server's log to stderr.
pub(crate) fn start_log(format: LogFormat, filter: &str) -> Result<LogFilter, String> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(LogFilter::parse(filter)?)
        .with_writer(std::io::stderr)
        // It would be told on stderr, and a thread that can't write there panics: a log on a full disk must not end
        // the thread that waits for the disk.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A handle fails only once the log is gone, and then there is nothing to filter.
    Ok(match format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
        }
    })
}
