//! How many durable 1 KB appends a second the embedded engine takes, from 512 writers at once, and beside it the bare
//! store that it stands on: the same bytes, grouped into commits the same way, and nothing else done.
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
use tokio::sync::{mpsc, oneshot};

const EVENT_BYTES: usize = 1024;
/// As many changes as the engine's committer takes at once.
const BARE_ROUND: usize = 4096;

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

/// What a writer of the bare store asks: so many values, and to be told once they are durable.
struct Put {
    values: usize,
    done: oneshot::Sender<()>,
}

/// The bare store: one thread takes what waits, writes it as one batch, syncs, and answers.
fn store(path: &Path, mut puts: mpsc::Receiver<Put>) -> Vec<Duration> {
    let db = fjall::Database::builder(path).manual_journal_persist(true).open().unwrap();
    let options = || fjall::KeyspaceCreateOptions::default().manual_journal_persist(true);
    let keyspace = db.keyspace("values", options).unwrap();
    let (value, mut next, mut waiting, mut syncs) = (vec![b'x'; EVENT_BYTES], 0u64, Vec::new(), Vec::new());
    while puts.blocking_recv_many(&mut waiting, BARE_ROUND) > 0 {
        let mut batch = db.batch();
        for put in &waiting {
            for _ in 0..put.values {
                batch.insert(&keyspace, next.to_be_bytes(), &value[..]);
                next += 1;
            }
        }
        let began = Instant::now();
        batch.commit().unwrap();
        db.persist(fjall::PersistMode::SyncData).unwrap();
        syncs.push(began.elapsed());
        for put in waiting.drain(..) {
            let _ = put.done.send(());
        }
    }
    syncs
}

async fn measure_bare(path: &Path, together: usize, writers: usize, seconds: u64) {
    let (sender, puts) = mpsc::channel::<Put>(BARE_ROUND);
    let path = path.to_owned();
    let store = std::thread::spawn(move || store(&path, puts));
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let write = |sender: mpsc::Sender<Put>| async move {
        let (mut values, mut acks) = (0u64, Vec::new());
        while Instant::now() < until {
            let sent = Instant::now();
            let (done, is_done) = oneshot::channel();
            let _ = sender.send(Put { values: together, done }).await;
            is_done.await.unwrap();
            values += together as u64;
            acks.push(sent.elapsed());
        }
        (values, acks)
    };
    let running: Vec<_> = (0..writers).map(|_| tokio::spawn(write(sender.clone()))).collect();
    drop(sender);
    let (mut values, mut acks) = (0, Vec::new());
    for writer in running {
        let (count, mut times) = writer.await.unwrap();
        values += count;
        acks.append(&mut times);
    }
    let took = began.elapsed();
    let syncs = store.join().unwrap();
    println!(
        "bare store, {together} an append: {} values/s; {} commits; ack {}; disk {}",
        u128::from(values) * 1000 / took.as_millis(),
        syncs.len(),
        p50_and_p99(acks.into_iter()),
        p50_and_p99(syncs.into_iter()),
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, writers) = (number(5), usize::try_from(number(512)).unwrap());
    for together in [1, 16, 100] {
        let directory = tempfile::tempdir_in(&root).unwrap();
        measure_bare(directory.path(), together, writers, seconds).await;
    }
    for (mode, together) in [(Mode::Fsync, 1), (Mode::Fsync, 16), (Mode::Fsync, 100), (Mode::Write, 1)] {
        let directory = tempfile::tempdir_in(&root).unwrap();
        measure(directory.path(), mode, together, writers, seconds).await;
    }
}
