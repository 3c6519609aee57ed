//! One run: connect, look at the server, load it, look again, report.

use crate::descriptors;
use crate::histogram::Histogram;
use crate::load::{self, Shared};
use crate::options::{Load, Options};
use crate::process::{self, Usage};
use crate::progress;
use crate::report::{Disk, Latencies, Report, Server, Timing};
use crate::tally::{Sums, Tally};
use crate::task::Plan;
use std::sync::Arc;
use std::time::Duration;
use tidewire_client::{ConnectError, Http, HttpError, Stopwatch};

/// Descriptors that a process needs beside its sessions' sockets.
const OTHER_DESCRIPTORS: u64 = 64;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The load makes no sense.
    #[error("{0}")]
    Load(&'static str),
    /// More sessions than this process may open sockets.
    #[error("{sessions} sessions need more descriptors than the {limit} that this process may have: see `ulimit -Hn`")]
    Descriptors {
        /// How many were asked for.
        sessions: usize,
        /// How many there may be.
        limit: u64,
    },
    /// A session could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The HTTP face.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The prompt can't be written as JSON.
    #[error("the task can't be written: {0}")]
    Task(#[from] serde_json::Error),
    /// The histograms could not be made.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Loads a server and says how it went. Run it on a runtime with all of tokio's drivers.
pub async fn run(options: Options) -> Result<Report, Error> {
    check(&options)?;
    let http = Http::new(&options.endpoint)?;
    let connecting = Stopwatch::start();
    let bar = progress::bar(options.progress, options.sessions as u64, "connecting");
    let sessions = load::connect(&options, &bar).await?;
    bar.finish_and_clear();
    let connect_time = connecting.elapsed();

    let pid = options.pid.or_else(|| process::listening(&options.endpoint));
    let bar = progress::bar(options.progress, options.tasks(), "tasks");
    let shared = Arc::new(Shared { plan: Plan::new(&options)?, tally: Tally::new()?, bar });
    let before = Snapshot::take(pid, &http).await;
    let running = Stopwatch::start();
    load::run(options.load, sessions, &shared).await;
    let run_time = running.elapsed();
    let after = Snapshot::take(pid, &http).await;
    shared.bar.finish_and_clear();

    let sums = shared.tally.sums();
    let durability = http.ready().await.ok().map(|ready| ready.durability);
    let disk = Disk { durability, ..after.disk_since(&before) };
    let server = pid.and_then(|pid| after.server_since(&before, pid, sums.tokens));
    let bench_cpu_seconds = after.own.zip(before.own).map(|(after, before)| after.cpu_seconds - before.cpu_seconds);
    Ok(report(&options, sums, (connect_time, run_time), (server, bench_cpu_seconds, disk)))
}

fn check(options: &Options) -> Result<(), Error> {
    if options.sessions == 0 {
        return Err(Error::Load("a run needs at least one session"));
    }
    if let Load::Open { per_second, .. } = options.load
        && !(per_second.is_finite() && per_second > 0.0)
    {
        return Err(Error::Load("a rate is a number over 0"));
    }
    let (sessions, limit) = (options.sessions, descriptors::raise_limit());
    if sessions as u64 + OTHER_DESCRIPTORS > limit {
        return Err(Error::Descriptors { sessions, limit });
    }
    Ok(())
}

/// The server's and our own meters at one moment.
struct Snapshot {
    server: Option<Usage>,
    own: Option<Usage>,
    fsync: Histogram,
    commit: Histogram,
}

impl Snapshot {
    async fn take(pid: Option<u32>, http: &Http) -> Self {
        // A server whose metrics can't be read is measured without them.
        let metrics = http.metrics().await.unwrap_or_default();
        Self {
            server: pid.and_then(process::usage),
            own: process::own(),
            fsync: Histogram::parse(&metrics, "tidewire_fsync_seconds"),
            commit: Histogram::parse(&metrics, "tidewire_commit_seconds"),
        }
    }

    fn disk_since(&self, before: &Self) -> Disk {
        let timing = |after: &Histogram, before: &Histogram| {
            let run = after.clone().since(before);
            let milliseconds = |share| run.quantile(share).map(|seconds| seconds * 1_000.0);
            Some(Timing { p50_ms: milliseconds(0.5)?, p99_ms: milliseconds(0.99)?, count: run.count() })
        };
        Disk {
            durability: None,
            fsync: timing(&self.fsync, &before.fsync),
            commit: timing(&self.commit, &before.commit),
        }
    }

    fn server_since(&self, before: &Self, pid: u32, tokens: u64) -> Option<Server> {
        let (after, before) = (self.server?, before.server?);
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        Some(Server {
            pid,
            cpu_seconds,
            cpu_seconds_per_million_tokens: (tokens > 0).then(|| cpu_seconds * 1e6 / float(tokens)),
            rss_connected_bytes: before.rss_bytes,
            rss_end_bytes: after.rss_bytes,
            rss_peak_bytes: after.rss_peak_bytes,
        })
    }
}

type Costs = (Option<Server>, Option<f64>, Disk);

fn report(options: &Options, sums: Sums, (connect, run): (Duration, Duration), costs: Costs) -> Report {
    let (server, bench_cpu_seconds, disk) = costs;
    Report {
        load: describe(options),
        sessions: options.sessions,
        connect_seconds: connect.as_secs_f64(),
        run_seconds: run.as_secs_f64(),
        latency_ms: Latencies {
            ack: sums.ack.quantiles(),
            first_token: sums.first_token.quantiles(),
            per_token: sums.per_token.quantiles(),
            total: sums.total.quantiles(),
        },
        tasks: sums.tasks,
        reasons: sums.reasons,
        tokens: sums.tokens,
        tokens_per_second: float(sums.tokens) / run.as_secs_f64().max(f64::MIN_POSITIVE),
        events: sums.events,
        server,
        bench_cpu_seconds,
        disk,
    }
}

/// The load in words.
fn describe(options: &Options) -> String {
    let sessions = options.sessions;
    let load = match options.load {
        Load::Closed { tasks, ramp } => {
            format!("{sessions} sessions x {tasks} tasks, begun over {} s", ramp.as_secs_f64())
        }
        Load::Open { per_second, duration } => {
            format!("{per_second} tasks a second for {} s over {sessions} sessions", duration.as_secs_f64())
        }
    };
    let answer = options.script.map(|script| format!("{} tokens every {} ms", script.tokens, script.delay.as_millis()));
    let durability = if options.transient { "transient" } else { "durable" };
    let model = options.model.as_deref().unwrap_or("the default model");
    [Some(load), answer, Some(durability.to_owned()), Some(model.to_owned())]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// A count as a float: exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}
