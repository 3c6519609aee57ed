//! How many durable 1 KB appends a second the embedded engine takes, from 512 writers at once.
//!
//! ```text
//! cargo run --release -p tidewire-engines --example commits -- [directory] [seconds] [writers]
//! ```
//! The directory must be on the disk that is to be measured: a memory file system syncs nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, run by hand")]
#![allow(clippy::disallowed_methods, reason = "it measures on the real clock, and joins the tasks that it spawns")]

use bytes::Bytes;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidewire_core::port::{Append, Clock, EventLog, Writer};
use tidewire_core::{Durability, Entry, Fence, Kind, LogRef, Offset, TenantId, Timestamp};
use tidewire_engines::embedded::{CommitTiming, Config, Engine, Mode};

const EVENT_BYTES: usize = 1024;

/// The machine's clock.
struct SystemClock {
    began: Instant,
    draws: AtomicU64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(wait))
    }

    fn random(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// One writer, one log: appends until the time is over. How many events, and how long each append took.
async fn write(engine: Engine, log: LogRef, together: usize, until: Instant) -> (u64, Vec<Duration>) {
    engine.create(log).await.unwrap();
    let entry = Entry::new(Timestamp::from_millis(1), Kind::Text, Bytes::from(vec![b'x'; EVENT_BYTES]));
    let (mut acks, mut expect) = (Vec::new(), Offset(0));
    while Instant::now() < until {
        let writer = Writer::Leased { fence: Fence(1), expect };
        let append = Append { log, writer, entries: vec![entry.clone(); together] };
        let sent = Instant::now();
        expect = engine.append(append).await.unwrap().to;
        acks.push(sent.elapsed());
    }
    (expect.0, acks)
}

fn p50_and_p99(times: impl Iterator<Item = Duration>) -> String {
    let mut sorted: Vec<_> = times.collect();
    sorted.sort_unstable();
    let at = |percent| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {:.1?} p99 {:.1?}", at(50), at(99))
}

async fn measure(path: &Path, mode: Mode, together: usize, writers: usize, seconds: u64) {
    let timings = Arc::new(Mutex::new(Vec::<CommitTiming>::new()));
    let heard = timings.clone();
    let on_commit = Arc::new(move |timing| heard.lock().unwrap().push(timing));
    let clock = Arc::new(SystemClock { began: Instant::now(), draws: AtomicU64::new(1) });
    let config = Config { mode, on_commit: Some(on_commit), ..Config::new(path) };
    let (engine, recovered) = Engine::open(config, clock.clone()).unwrap();
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let log = || LogRef { tenant: TenantId(1), log: clock.task_id(Durability::Durable).log() };
    let running: Vec<_> = (0..writers).map(|_| tokio::spawn(write(engine.clone(), log(), together, until))).collect();
    let (mut events, mut acks) = (0, Vec::new());
    for writer in running {
        let (count, mut times) = writer.await.unwrap();
        events += count;
        acks.append(&mut times);
    }
    let took = began.elapsed();
    engine.shutdown().await;
    let timings = timings.lock().unwrap();
    println!(
        "{mode:?}, {together} an append: {} events/s; {} commits of {} appends; ack {}; disk {}; beside it {}; open {:.0?}",
        u128::from(events) * 1000 / took.as_millis(),
        timings.len(),
        acks.len() / timings.len().max(1),
        p50_and_p99(acks.into_iter()),
        p50_and_p99(timings.iter().map(|timing| timing.disk)),
        p50_and_p99(timings.iter().map(|timing| timing.whole.saturating_sub(timing.disk))),
        recovered.took,
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, writers) = (number(5), usize::try_from(number(512)).unwrap());
    for (mode, together) in [(Mode::Fsync, 1), (Mode::Fsync, 16), (Mode::Fsync, 100), (Mode::Write, 1)] {
        let directory = tempfile::tempdir_in(&root).unwrap();
        measure(directory.path(), mode, together, writers, seconds).await;
    }
}
