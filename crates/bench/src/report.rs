//! What a run came to: for people as a page, for machines as JSON.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for, in words.
    pub load: String,
    /// WebSocket connections.
    pub sessions: usize,
    /// How long connecting them took.
    pub connect_seconds: f64,
    /// From the first task's start to the last one's end.
    pub run_seconds: f64,
    /// How the tasks ended.
    pub tasks: Tasks,
    /// Why tasks failed, were refused or have no end, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// How long things took.
    pub latency_ms: Latencies,
    /// Tokens that came.
    pub tokens: u64,
    /// Tokens that came in a second.
    pub tokens_per_second: f64,
    /// What was wrong with the events; all of it should be 0.
    pub events: Events,
    /// What it cost the server, where its process is on this machine.
    pub server: Option<Server>,
    /// CPU seconds of this load generator: near one for each second of the run, it measures itself.
    pub bench_cpu_seconds: Option<f64>,
    /// The server's disk, from its metrics.
    pub disk: Disk,
}

/// How the tasks ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tasks {
    /// With their whole answer.
    pub done: u64,
    /// With an error.
    pub failed: u64,
    /// By a stop.
    pub stopped: u64,
    /// The server did not take them.
    pub refused: u64,
    /// Acknowledged, and no end came.
    pub unfinished: u64,
    /// Due while too many were under way, and left out.
    pub not_begun: u64,
}

/// Milliseconds, as the user saw them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// From the submit to its ack.
    pub ack: Option<Quantiles>,
    /// From the submit to the first text.
    pub first_token: Option<Quantiles>,
    /// From a token to the next: (last - first) / (n - 1) of each task.
    pub per_token: Option<Quantiles>,
    /// From the submit to the end.
    pub total: Option<Quantiles>,
}

/// Shares of all observations, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// Half.
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// All.
    pub max: f64,
}

/// What was wrong with the events.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Events {
    /// Offsets or words that never came.
    pub lost: u64,
    /// Offsets or words that came twice.
    pub doubled: u64,
    /// Frames that did not follow the one before, events out of place, words that were torn.
    pub out_of_order: u64,
    /// Frames that could not be read.
    pub unreadable: u64,
    /// Connections made anew after a cut.
    pub reconnects: u64,
    /// Logs that the server could not resume.
    pub started_over: u64,
    /// Times that this load generator was too slow for a log.
    pub fell_behind: u64,
}

/// What the run cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// CPU seconds during the run, connecting left out.
    pub cpu_seconds: f64,
    /// And what that is for each million tokens.
    pub cpu_seconds_per_million_tokens: Option<f64>,
    /// Memory with all sessions open, before the first task.
    pub rss_connected_bytes: u64,
    /// Memory at the end.
    pub rss_end_bytes: u64,
    /// The most since the process began.
    pub rss_peak_bytes: u64,
}

/// The server's disk during the run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disk {
    /// `fsync` or `write`, where the server says.
    pub durability: Option<String>,
    /// Each fsync, as (p50, p99) in milliseconds and how many there were.
    pub fsync: Option<Timing>,
    /// Each commit, which one fsync may serve many of.
    pub commit: Option<Timing>,
}

/// A histogram of the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timing {
    /// Half, in milliseconds.
    pub p50_ms: f64,
    /// 99 in 100, in milliseconds.
    pub p99_ms: f64,
    /// How many.
    pub count: f64,
}

impl Report {
    /// Whether every event of every acknowledged task came once, in its place.
    pub fn is_clean(&self) -> bool {
        let Events { lost, doubled, out_of_order, unreadable, .. } = self.events;
        lost + doubled + out_of_order + unreadable + self.tasks.unfinished == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.load)?;
        let sessions = Grouped(self.sessions as u64);
        writeln!(
            out,
            "{sessions} sessions connected in {:.1} s, ran for {:.1} s",
            self.connect_seconds, self.run_seconds
        )?;
        writeln!(out, "\n{:14}{:>10}{:>10}{:>10}{:>10}  ms", "", "p50", "p90", "p99", "max")?;
        let latency = &self.latency_ms;
        row(out, "ack", latency.ack)?;
        row(out, "first token", latency.first_token)?;
        row(out, "per token", latency.per_token)?;
        row(out, "total", latency.total)?;
        let per_second = self.tokens_per_second;
        writeln!(out, "\n{:14}{} ({per_second:.0} a second)", "tokens", Grouped(self.tokens))?;
        self.write_tasks(out)?;
        self.write_costs(out)?;
        let Events { lost, doubled, out_of_order, unreadable, reconnects, started_over, fell_behind } = self.events;
        writeln!(
            out,
            "{:14}{lost} lost, {doubled} doubled, {out_of_order} out of order, {unreadable} unreadable",
            "events"
        )?;
        write!(out, "{:14}{reconnects} reconnects, {started_over} started over, {fell_behind} fell behind", "sessions")
    }
}

impl Report {
    fn write_tasks(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tasks { done, failed, stopped, refused, unfinished, not_begun } = self.tasks;
        write!(out, "{:14}{} done, {failed} failed, {stopped} stopped", "tasks", Grouped(done))?;
        writeln!(out, ", {refused} refused, {unfinished} unfinished, {not_begun} not begun")?;
        for (reason, count) in &self.reasons {
            writeln!(out, "{:14}{count} x {reason}", "")?;
        }
        Ok(())
    }

    fn write_costs(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.server {
            let Server { pid, cpu_seconds, rss_connected_bytes, rss_end_bytes, rss_peak_bytes, .. } = *server;
            write!(out, "{:14}pid {pid}: {cpu_seconds:.2} CPU s", "server")?;
            if let Some(per_million) = server.cpu_seconds_per_million_tokens {
                write!(out, ", {per_million:.1} a million tokens")?;
            }
            let mebibytes = [rss_connected_bytes, rss_end_bytes, rss_peak_bytes].map(|bytes| bytes >> 20);
            let [connected, end, peak] = mebibytes;
            writeln!(out, "; {connected} MiB connected, {end} MiB at the end, {peak} MiB at most")?;
        }
        if let Some(seconds) = self.bench_cpu_seconds {
            writeln!(out, "{:14}{seconds:.2} CPU s", "bench")?;
        }
        for (name, timing) in [("fsync", self.disk.fsync), ("commit", self.disk.commit)] {
            if let Some(Timing { p50_ms, p99_ms, count }) = timing {
                writeln!(out, "{name:14}p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms ({count:.0} times)")?;
            }
        }
        if let Some(durability) = &self.disk.durability {
            writeln!(out, "{:14}{durability}", "durability")?;
        }
        Ok(())
    }
}

fn row(out: &mut fmt::Formatter<'_>, name: &str, quantiles: Option<Quantiles>) -> fmt::Result {
    match quantiles {
        Some(Quantiles { p50, p90, p99, max }) => {
            writeln!(out, "{name:14}{p50:>10.1}{p90:>10.1}{p99:>10.1}{max:>10.1}")
        }
        None => writeln!(out, "{name:14}{:>10}{:>10}{:>10}{:>10}", "-", "-", "-", "-"),
    }
}

/// A number with a comma at every third digit.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        out.pad(&grouped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }
}
