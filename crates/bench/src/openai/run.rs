//! A run: warm both sides up, find the concurrency if asked to, then ask them in turns.

use super::load::{self, Share};
use super::options::{Length, Load, Options, Target};
use super::report::{Cost, Report, Saturation, SideReport};
use super::side::Side;
use crate::descriptors;
use crate::process::{self, Usage};
use crate::run::Error;
use std::sync::Arc;
use std::time::Duration;
use tidewire_client::{Endpoint, Http, Stopwatch};

/// Turns of each side where requests are counted, not time.
const TURNS: u64 = 10;
/// Requests that each side answers before any is counted: they open connections and fill caches.
const WARM_UP: u64 = 50;
/// What has not been answered by then is not worth waiting for.
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);
/// Clients that warm a side up.
const WARMING: usize = 8;
/// Descriptors that a process needs beside its connections.
const OTHER_DESCRIPTORS: u64 = 64;
/// How much better twice the concurrency must be to go on: less is noise.
const WORTH_IT: f64 = 1.03;

/// Loads an endpoint and says how it went.
pub async fn run(options: Options) -> Result<Report, Error> {
    check(&options)?;
    let server = Measured::new(&options.target, options.pid, &options)?;
    let direct = options.direct.as_ref().map(|target| Measured::new(target, None, &options)).transpose()?;
    let mut sides: Vec<Measured> = [Some(server), direct].into_iter().flatten().collect();
    for side in &sides {
        let share = Share { time: WARM_UP_LIMIT, requests: WARM_UP };
        load::slice(Load::Closed { concurrency: warming(options.load) }, &side.side, share).await;
        side.side.forget()?;
    }
    let (load, saturation) = if options.saturate { saturate(&options, &sides[0]).await? } else { (options.load, None) };
    for share in turns(&options) {
        for side in &mut sides {
            side.turn(load, share).await;
        }
    }
    let mut reports = sides.iter().map(Measured::report);
    let server = reports.next().ok_or(Error::Load("no side was measured"))?;
    Ok(Report::new(describe(&options, load), server, reports.next(), saturation))
}

fn check(options: &Options) -> Result<(), Error> {
    match (options.load, options.length) {
        (Load::Closed { concurrency: 0 }, _) => return Err(Error::Load("a run needs at least one client")),
        (Load::Closed { concurrency }, _) => {
            let (connections, limit) = (concurrency as u64, descriptors::raise_limit());
            if 2 * connections + OTHER_DESCRIPTORS > limit {
                return Err(Error::Descriptors { sessions: concurrency, limit });
            }
        }
        (Load::Open { per_second }, _) if !(per_second.is_finite() && per_second > 0.0) => {
            return Err(Error::Load("a rate is a number over 0"));
        }
        (Load::Open { .. }, Length::Requests(_)) => {
            return Err(Error::Load("with a rate say how long, not how many requests"));
        }
        (Load::Open { .. }, _) => {
            descriptors::raise_limit();
        }
    }
    if options.slice.is_zero() { Err(Error::Load("a slice takes some time")) } else { Ok(()) }
}

fn warming(load: Load) -> usize {
    match load {
        Load::Closed { concurrency } => concurrency.min(WARMING),
        Load::Open { .. } => WARMING,
    }
}

/// How much is in each turn of a side.
fn turns(options: &Options) -> Vec<Share> {
    match options.length {
        Length::Time(time) => {
            let turns = time.as_secs_f64() / options.slice.as_secs_f64();
            // A person waits for far fewer.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let turns = (turns.round() as u64).max(1);
            let each = time / u32::try_from(turns).unwrap_or(u32::MAX);
            (0..turns).map(|_| Share { time: each, requests: u64::MAX }).collect()
        }
        Length::Requests(requests) => {
            let turns = if options.direct.is_some() { TURNS.min(requests.max(1)) } else { 1 };
            let until = |turn| requests * turn / turns;
            (0..turns).map(|turn| Share { time: Duration::MAX, requests: until(turn + 1) - until(turn) }).collect()
        }
    }
}

/// Doubles the clients until more of them get no more done.
async fn saturate(options: &Options, measured: &Measured) -> Result<(Load, Option<Saturation>), Error> {
    let Load::Closed { concurrency: most } = options.load else {
        return Err(Error::Load("saturation is found by a closed loop: give --concurrency, not --rate"));
    };
    let (mut best, mut tried, mut clients) = ((1, 0.0), Vec::new(), 1);
    loop {
        let watch = Stopwatch::start();
        let share = Share { time: options.slice, requests: u64::MAX };
        load::slice(Load::Closed { concurrency: clients }, &measured.side, share).await;
        let rate = float(measured.side.sums().answered.all()) / watch.elapsed().as_secs_f64();
        measured.side.forget()?;
        tried.push((clients, rate));
        if rate > best.1 * WORTH_IT {
            best = (clients, rate);
        }
        // One step without a gain may be the machine's weather; two are not.
        if clients >= most || clients >= 4 * best.0 {
            break;
        }
        clients = (2 * clients).min(most);
    }
    Ok((Load::Closed { concurrency: best.0 }, Some(Saturation { concurrency: best.0, tried })))
}

/// A side and its process.
struct Measured {
    side: Arc<Side>,
    pid: Option<u32>,
    /// Asked for CPU seconds where the process is not on this machine.
    http: Option<Http>,
    busy: Duration,
    cpu_seconds: Option<f64>,
    bench_cpu_seconds: Option<f64>,
    last: Option<Usage>,
}

impl Measured {
    fn new(target: &Target, pid: Option<u32>, options: &Options) -> Result<Self, Error> {
        let pid = pid.or_else(|| process::listening(&target.base));
        let http = if pid.is_none() { root(target).map(|root| Http::new(&root)).transpose()? } else { None };
        Ok(Self {
            side: Arc::new(Side::new(target, options)?),
            pid,
            http,
            busy: Duration::ZERO,
            cpu_seconds: None,
            bench_cpu_seconds: None,
            last: None,
        })
    }

    async fn turn(&mut self, load: Load, share: Share) {
        let (before, own) = (self.usage().await, process::own());
        let watch = Stopwatch::start();
        load::slice(load, &self.side, share).await;
        self.busy += watch.elapsed();
        self.last = self.usage().await;
        let used = |after: Option<Usage>, before: Option<Usage>| Some(after?.cpu_seconds - before?.cpu_seconds);
        let add = |sum: &mut Option<f64>, more: Option<f64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0.0) + more);
            }
        };
        add(&mut self.cpu_seconds, used(self.last, before));
        add(&mut self.bench_cpu_seconds, used(process::own(), own));
    }

    async fn usage(&self) -> Option<Usage> {
        match (self.pid, &self.http) {
            (Some(pid), _) => process::usage(pid),
            (None, Some(http)) => process::told(&http.metrics().await.ok()?),
            (None, None) => None,
        }
    }

    fn report(&self) -> SideReport {
        let sums = self.side.sums();
        let cost = self.cpu_seconds.zip(self.last).map(|(cpu_seconds, last)| Cost {
            pid: self.pid,
            cpu_seconds,
            cpu_ms_per_request: per(cpu_seconds * 1e3, sums.answered.all()),
            cpu_seconds_per_million_tokens: per(cpu_seconds * 1e6, sums.tokens),
            rss_bytes: last.rss_bytes,
            rss_peak_bytes: last.rss_peak_bytes,
        });
        SideReport::new(self.side.target.base.url().to_owned(), &sums, self.busy, cost, self.bench_cpu_seconds)
    }
}

/// Where a tidewire has its metrics: beside its `/v1`.
fn root(target: &Target) -> Option<Endpoint> {
    let root: Endpoint = target.base.url().strip_suffix("/v1")?.parse().ok()?;
    Some(root.with_key(target.key.as_deref()))
}

fn per(amount: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| amount / float(count))
}

/// A count as a float: exact below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// The load in words.
fn describe(options: &Options, load: Load) -> String {
    let load = match load {
        Load::Closed { concurrency } => format!("{concurrency} clients, each asks again when it is answered"),
        Load::Open { per_second } => format!("{per_second} requests due a second"),
    };
    let length = match options.length {
        Length::Time(time) => format!("{} s", time.as_secs_f64()),
        Length::Requests(requests) => format!("{requests} requests"),
    };
    let turns = if options.direct.is_some() { " for each side, in turns" } else { "" };
    let form = if options.stream { "streamed" } else { "in one piece" };
    format!("{load}; {length}{turns}; answers {form}; {}", options.model)
}
