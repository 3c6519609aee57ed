//! What a reader that stops reading costs the others and the server: many fast readers of one live log, in passes
//! without and with readers that stand still past their sockets' buffers.
//!
//! ```text
//! cargo run --release -p tidewire-bench --example slow_reader -- URL PID [slow] [readers] [passes] [seconds] [durability]
//! ```
//! The server needs a deployment of the scripted backend alone. `slow` readers (1) stand still among `readers` (200)
//! in each of `passes` (3), after as many passes without; each plays 16 MiB over `seconds` (26). A table comes on
//! stderr, JSON on stdout. `transient` logs (`durable`) show the memory better: the tables of a durable engine fill and
//! are flushed, which moves it by 40 MiB either way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement, run by hand")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its purpose")]

use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidewire_client::{Endpoint, Http};
use tidewire_proto::{ClientFrame, Submission, WireEvent};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

const LOG_BYTES: usize = 16 << 20;
/// A word is an event. At 16 KiB, 200 readers of 26 s take 8,000 frames a second: two cores are half busy.
const WORD_BYTES: usize = 16 << 10;
const WORDS: usize = LOG_BYTES / WORD_BYTES;
/// The slow readers' receive buffer: past it, and the 4 MiB that Linux grants the sender, the server has to wait.
const SLOW_RECEIVE_BYTES: u32 = 64 << 10;
/// So long the first word waits, for all readers to be there.
const HEAD_START: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Plan {
    endpoint: Endpoint,
    pid: u32,
    slow: usize,
    readers: usize,
    passes: usize,
    delay: Duration,
    durability: String,
}

/// One pass.
#[derive(Clone, Debug, Serialize)]
struct Pass {
    slow: usize,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
    lag_max_ms: f64,
    /// Frames that the fast readers got, all together.
    frames: u64,
    rss_before_bytes: u64,
    /// When all fast readers had all, and the slow ones stood still.
    rss_after_bytes: u64,
    server_cpu_seconds: f64,
    /// Frames in which a slow reader got all, and the most events that it got as one.
    slow_frames: u64,
    slow_most_merged: u64,
}

impl Pass {
    /// Memory that the server took in the pass. It can shrink.
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    fn growth_mib(&self) -> f64 {
        (self.rss_after_bytes as f64 - self.rss_before_bytes as f64) / 1_048_576.0
    }
}

/// What comes of all passes, by their medians.
#[derive(Debug, Serialize)]
struct Report {
    log_bytes: usize,
    durability: String,
    readers: usize,
    slow: usize,
    passes: Vec<Pass>,
    lag_p99_without_ms: f64,
    lag_p99_with_ms: f64,
    lag_p99_ratio: f64,
    growth_without_mib: f64,
    growth_with_mib: f64,
    growth_per_slow_reader_mib: f64,
}

type Socket = WebSocketStream<TcpStream>;

/// A frame of the server, as far as this needs it.
#[derive(Deserialize)]
struct Frame<'a> {
    op: &'a str,
    #[serde(borrow, default)]
    events: Vec<WireEvent<'a>>,
}

/// One reader's place in the log, and what it saw on the way.
struct Reader {
    socket: Socket,
    next: u64,
    frames: u64,
    most_merged: u64,
    lags_micros: Histogram<u64>,
}

impl Reader {
    async fn connect(endpoint: &Endpoint, receive_bytes: Option<u32>) -> Self {
        let address =
            lookup_host((endpoint.host(), endpoint.port())).await.unwrap().find(std::net::SocketAddr::is_ipv4);
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(address.unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let uri = format!("ws://{}:{}/v1/ws", endpoint.host(), endpoint.port());
        let builder = ClientBuilder::new().uri(&uri).unwrap().limits(Limits::unlimited());
        let (socket, _) = builder.connect_on(stream).await.unwrap();
        let lags_micros = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        Self { socket, next: 0, frames: 0, most_merged: 0, lags_micros }
    }

    async fn follow(&mut self, log: &str) {
        let frame =
            ClientFrame::Follow { reference: None, log: log.to_owned(), after: None, epoch: None, window_ms: Some(0) };
        self.socket.send(Message::text(serde_json::to_string(&frame).unwrap())).await.unwrap();
    }

    /// Takes one frame. `false` after the last.
    async fn read(&mut self) -> bool {
        let message = self.socket.next().await.expect("the server hung up").unwrap();
        let received = now();
        let Some(text) = message.as_text() else {
            assert!(!message.is_close(), "the server hung up: {message:?}");
            return true;
        };
        let frame: Frame<'_> = serde_json::from_str(text).unwrap();
        match frame.op {
            "following" => {}
            "events" => self.take(&frame.events, received),
            "unfollowed" => return false,
            _ => panic!("unasked: {text}"),
        }
        true
    }

    fn take(&mut self, events: &[WireEvent<'_>], received: Duration) {
        self.frames += 1;
        for event in events {
            assert_eq!(event.offset, self.next, "a gap or a double");
            self.next = event.next();
            self.most_merged = self.most_merged.max(event.count);
            let lag = received.saturating_sub(Duration::from_millis(event.at));
            self.lags_micros.saturating_record(u64::try_from(lag.as_micros()).unwrap());
        }
    }

    async fn read_all(mut self) -> Self {
        while self.read().await {}
        assert!(self.next >= WORDS as u64, "the log is not whole: {}", self.next);
        self
    }
}

/// The machine's clock, which the server's `at` was read from too.
#[allow(clippy::disallowed_methods, reason = "a lag is the difference of two readings of one clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Stops after the first events, and reads on when it is told to.
async fn stand_still(mut reader: Reader, go_on: oneshot::Receiver<()>) -> Reader {
    while reader.frames == 0 {
        assert!(reader.read().await, "the log ended at once");
    }
    go_on.await.unwrap();
    reader.read_all().await
}

async fn pass(plan: &Plan, slow: usize) -> Pass {
    let rss_before_bytes = rss_bytes(plan.pid);
    let cpu_before = cpu_seconds(plan.pid);
    let (mut fast, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..plan.readers {
        fast.push(Reader::connect(&plan.endpoint, None).await);
    }
    for _ in 0..slow {
        stopped.push(Reader::connect(&plan.endpoint, Some(SLOW_RECEIVE_BYTES)).await);
    }
    let log = submit(plan).await;
    let (mut reading, mut standing, mut tell) = (JoinSet::new(), JoinSet::new(), Vec::new());
    for mut reader in stopped {
        reader.follow(&log).await;
        let (go_on, told) = oneshot::channel();
        tell.push(go_on);
        standing.spawn(stand_still(reader, told));
    }
    for mut reader in fast {
        reader.follow(&log).await;
        reading.spawn(reader.read_all());
    }
    let mut lags = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).unwrap();
    let mut frames = 0;
    // The fast ones stay connected until the memory is read, in passes with and without slow ones alike.
    let done = reading.join_all().await;
    for reader in &done {
        frames += reader.frames;
        lags.add(&reader.lags_micros).unwrap();
    }
    let rss_after_bytes = rss_bytes(plan.pid);
    let server_cpu_seconds = cpu_seconds(plan.pid) - cpu_before;
    for go_on in tell {
        go_on.send(()).unwrap();
    }
    let stood = standing.join_all().await;
    let quantile = |share| millis(lags.value_at_quantile(share));
    Pass {
        slow,
        lag_p50_ms: quantile(0.5),
        lag_p99_ms: quantile(0.99),
        lag_max_ms: millis(lags.max()),
        frames,
        rss_before_bytes,
        rss_after_bytes,
        server_cpu_seconds,
        slow_frames: stood.iter().map(|reader| reader.frames).max().unwrap_or(0),
        slow_most_merged: stood.iter().map(|reader| reader.most_merged).max().unwrap_or(0),
    }
}

async fn submit(plan: &Plan) -> String {
    // The backend puts the word's number after the seed, and a space.
    let script = serde_json::json!({ "tokens": WORDS, "seed": "w".repeat(WORD_BYTES - 5),
        "delay_ms": plan.delay.as_millis(), "first_delay_ms": HEAD_START.as_millis() });
    let input = serde_json::json!({ "messages": [{ "role": "user", "content": "go" }], "script": script });
    let input = serde_json::value::to_raw_value(&input).unwrap();
    let task = Submission { input: Some(input), durability: Some(plan.durability.clone()), ..Submission::default() };
    Http::new(&plan.endpoint).unwrap().submit(&task).await.unwrap().log
}

#[allow(clippy::cast_precision_loss, reason = "microseconds below an hour are exact in a float")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// User and system time: fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn report(plan: &Plan, passes: Vec<Pass>) -> Report {
    let of =
        |slow: bool, value: fn(&Pass) -> f64| median(passes.iter().filter(|pass| (pass.slow > 0) == slow).map(value));
    let (without, with) = (of(false, |pass| pass.lag_p99_ms), of(true, |pass| pass.lag_p99_ms));
    let (small, large) = (of(false, Pass::growth_mib), of(true, Pass::growth_mib));
    Report {
        log_bytes: LOG_BYTES,
        durability: plan.durability.clone(),
        readers: plan.readers,
        slow: plan.slow,
        lag_p99_without_ms: without,
        lag_p99_with_ms: with,
        lag_p99_ratio: with / without,
        growth_without_mib: small,
        growth_with_mib: large,
        growth_per_slow_reader_mib: (large - small) / f64::from(u32::try_from(plan.slow).unwrap()),
        passes,
    }
}

fn show(pass: &Pass) {
    eprintln!(
        "{:>5} {:>9.1} {:>9.1} {:>9.1} {:>8} {:>9.1} {:>+9.2} {:>6.1} {:>11} {:>12}",
        pass.slow,
        pass.lag_p50_ms,
        pass.lag_p99_ms,
        pass.lag_max_ms,
        pass.frames,
        millis(pass.rss_before_bytes) / 1048.576,
        pass.growth_mib(),
        pass.server_cpu_seconds,
        pass.slow_frames,
        pass.slow_most_merged,
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "slow_reader URL PID [slow] [readers] [passes] [seconds] [durability]";
    let endpoint: Endpoint = arguments.next().expect(usage).parse().unwrap();
    let pid = arguments.next().expect(usage).parse().expect(usage);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse::<usize>().expect(usage));
    let (slow, readers, passes, seconds) = (number(1), number(200), number(3), number(26));
    let durability = arguments.next().unwrap_or_else(|| "durable".to_owned());
    let delay = Duration::from_secs(seconds as u64) / u32::try_from(WORDS).unwrap();
    let plan = Plan { endpoint, pid, slow, readers, passes, delay, durability };

    eprintln!(" slow  lag p50   p99 (ms)       max   frames rss (MiB)    growth    cpu slow frames  most merged");
    // The first one fills what the server keeps in any case: hot events, memtables, the allocator's pages.
    show(&pass(&plan, 0).await);
    let mut done = Vec::new();
    for _ in 0..plan.passes {
        for slow in [0, plan.slow] {
            let pass = pass(&plan, slow).await;
            show(&pass);
            done.push(pass);
        }
    }
    let report = report(&plan, done);
    eprintln!(
        "p99 {:.1} ms without, {:.1} ms with (x{:.2}); growth {:+.2} MiB without, {:+.2} MiB with: {:+.3} MiB a slow reader",
        report.lag_p99_without_ms,
        report.lag_p99_with_ms,
        report.lag_p99_ratio,
        report.growth_without_mib,
        report.growth_with_mib,
        report.growth_per_slow_reader_mib,
    );
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
}
