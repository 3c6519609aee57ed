//! What a run came to: for people as a table with the control beside it, for machines as JSON.

use super::run::float;
use super::side::Sums;
use crate::report::Quantiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for, in words.
    pub load: String,
    /// The endpoint that was measured.
    pub server: SideReport,
    /// What it stands in front of, in the same run.
    pub direct: Option<SideReport>,
    /// What the endpoint adds to it.
    pub added: Option<Added>,
    /// How the concurrency was found, where it was looked for.
    pub saturation: Option<Saturation>,
}

/// One side of a run.
#[derive(Clone, Debug, Serialize)]
pub struct SideReport {
    /// Its base URL.
    pub url: String,
    /// How long its turns took together.
    pub seconds: f64,
    /// How its requests ended.
    pub requests: Answered,
    /// Why requests were refused or failed, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Requests that were answered in a second, refusals among them.
    pub requests_per_second: f64,
    /// Tokens that came.
    pub tokens: u64,
    /// Tokens that came in a second.
    pub tokens_per_second: f64,
    /// How long things took.
    pub latency_ms: Latencies,
    /// What it cost its process.
    pub cost: Option<Cost>,
    /// CPU seconds of this load generator during its turns.
    pub bench_cpu_seconds: Option<f64>,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// With a whole answer.
    pub done: u64,
    /// With 429.
    pub refused: u64,
    /// With another error, or none.
    pub failed: u64,
    /// Due while too many were under way, and left out.
    pub not_begun: u64,
}

impl Answered {
    /// All that were begun.
    pub fn all(&self) -> u64 {
        self.done + self.refused + self.failed
    }
}

/// Milliseconds, as the client saw them; in an open loop from the time that a request was due.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// To the first token of a stream (TTFT).
    pub first_token: Option<Quantiles>,
    /// From a token to the next: (last - first) / (n - 1) of each stream (TPOT).
    pub per_token: Option<Quantiles>,
    /// To the end of a whole answer.
    pub total: Option<Quantiles>,
    /// To the end of a refusal (429).
    pub refused: Option<Quantiles>,
}

/// What a side cost its process, during its turns alone.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// The process, where it is on this machine.
    pub pid: Option<u32>,
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// CPU milliseconds for each request, refusals among them.
    pub cpu_ms_per_request: Option<f64>,
    /// CPU seconds for each million tokens.
    pub cpu_seconds_per_million_tokens: Option<f64>,
    /// Memory at the end.
    pub rss_bytes: u64,
    /// The most since the process began.
    pub rss_peak_bytes: u64,
}

/// What the endpoint adds to what it stands in front of. Milliseconds are the differences of two quantiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Added {
    /// To half of the answers.
    pub total_p50_ms: Option<f64>,
    /// To the 99th of 100.
    pub total_p99_ms: Option<f64>,
    /// To half of the first tokens.
    pub first_token_p50_ms: Option<f64>,
    /// To the 99th of 100.
    pub first_token_p99_ms: Option<f64>,
    /// Its requests a second, as a share of the control's.
    pub requests_ratio: Option<f64>,
}

/// How the concurrency was found.
#[derive(Clone, Debug, Serialize)]
pub struct Saturation {
    /// The least that gets the most done.
    pub concurrency: usize,
    /// Each that was tried, and its requests a second.
    pub tried: Vec<(usize, f64)>,
}

impl SideReport {
    pub(super) fn new(
        url: String,
        sums: &Sums,
        busy: Duration,
        cost: Option<Cost>,
        bench_cpu_seconds: Option<f64>,
    ) -> Self {
        let seconds = busy.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            url,
            seconds,
            requests: sums.answered,
            reasons: sums.reasons.clone(),
            requests_per_second: float(sums.answered.all()) / seconds,
            tokens: sums.tokens,
            tokens_per_second: float(sums.tokens) / seconds,
            latency_ms: Latencies {
                first_token: sums.first_token.quantiles(),
                per_token: sums.per_token.quantiles(),
                total: sums.total.quantiles(),
                refused: sums.refused.quantiles(),
            },
            cost,
            bench_cpu_seconds,
        }
    }
}

impl Report {
    pub(super) fn new(
        load: String,
        server: SideReport,
        direct: Option<SideReport>,
        saturation: Option<Saturation>,
    ) -> Self {
        let added = direct.as_ref().map(|direct| Added::between(&server, direct));
        Self { load, server, direct, added, saturation }
    }

    /// Whether no request failed. Refusals are answers.
    pub fn is_clean(&self) -> bool {
        let sides = [Some(&self.server), self.direct.as_ref()];
        sides.into_iter().flatten().all(|side| side.requests.failed + side.requests.not_begun == 0)
    }
}

impl Added {
    fn between(server: &SideReport, direct: &SideReport) -> Self {
        let (ours, theirs) = (&server.latency_ms, &direct.latency_ms);
        let less = |ours: Option<Quantiles>, theirs: Option<Quantiles>, which: fn(Quantiles) -> f64| {
            Some(which(ours?) - which(theirs?))
        };
        let p50 = |all: Quantiles| all.p50;
        let p99 = |all: Quantiles| all.p99;
        Self {
            total_p50_ms: less(ours.total, theirs.total, p50),
            total_p99_ms: less(ours.total, theirs.total, p99),
            first_token_p50_ms: less(ours.first_token, theirs.first_token, p50),
            first_token_p99_ms: less(ours.first_token, theirs.first_token, p99),
            requests_ratio: (direct.requests_per_second > 0.0)
                .then(|| server.requests_per_second / direct.requests_per_second),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.load)?;
        if let Some(Saturation { concurrency, tried }) = &self.saturation {
            let tried: Vec<_> = tried.iter().map(|(clients, rate)| format!("{clients}: {rate:.0}")).collect();
            writeln!(out, "saturated by {concurrency} clients (requests/s by clients: {})", tried.join(", "))?;
        }
        write!(out, "{}", self.server)?;
        let Some((direct, added)) = self.direct.as_ref().zip(self.added) else { return Ok(()) };
        write!(out, "\n\nbeside it, in turns: {direct}\n\n{:14}", "added")?;
        let Added { total_p50_ms, total_p99_ms, first_token_p50_ms, first_token_p99_ms, requests_ratio } = added;
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        write!(out, "total p50 {} p99 {} ms", shown(total_p50_ms), shown(total_p99_ms))?;
        if first_token_p50_ms.is_some() {
            write!(out, "; first token p50 {} p99 {} ms", shown(first_token_p50_ms), shown(first_token_p99_ms))?;
        }
        match requests_ratio {
            Some(ratio) => write!(out, "; {:.1} % of the requests a second", 100.0 * ratio),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SideReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered { done, refused, failed, not_begun } = self.requests;
        writeln!(out, "{} ({:.1} s)", self.url, self.seconds)?;
        writeln!(out, "{:14}{:>10}{:>10}{:>10}{:>10}  ms", "", "p50", "p90", "p99", "max")?;
        let latency = &self.latency_ms;
        let rows = [
            ("first token", latency.first_token),
            ("per token", latency.per_token),
            ("total", latency.total),
            ("refused", latency.refused),
        ];
        for (name, quantiles) in rows {
            if let Some(Quantiles { p50, p90, p99, max }) = quantiles {
                writeln!(out, "{name:14}{p50:>10.3}{p90:>10.3}{p99:>10.3}{max:>10.3}")?;
            }
        }
        writeln!(out, "{:14}{done} done, {refused} refused, {failed} failed, {not_begun} not begun", "requests")?;
        for (reason, count) in &self.reasons {
            writeln!(out, "{:14}{count} x {reason}", "")?;
        }
        write!(
            out,
            "{:14}{:.0} requests, {:.0} tokens a second",
            "done", self.requests_per_second, self.tokens_per_second
        )?;
        if let Some(cost) = &self.cost {
            write!(out, "\n{:14}{:.2} CPU s", "server", cost.cpu_seconds)?;
            if let Some(per_request) = cost.cpu_ms_per_request {
                write!(out, ", {per_request:.4} ms a request")?;
            }
            if let Some(per_million) = cost.cpu_seconds_per_million_tokens {
                write!(out, ", {per_million:.1} s a million tokens")?;
            }
            write!(out, "; {} MiB, {} MiB at most", cost.rss_bytes >> 20, cost.rss_peak_bytes >> 20)?;
        }
        if let Some(seconds) = self.bench_cpu_seconds {
            write!(out, "\n{:14}{seconds:.2} CPU s", "bench")?;
        }
        Ok(())
    }
}
