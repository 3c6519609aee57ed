//! One slice of a run: one side under load, until all that was begun has ended.

use super::options::Load;
use super::side::Side;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tidewire_client::Stopwatch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Requests that may be under way in an open loop. An endpoint that falls this far behind has failed the run, and more
/// would only measure this machine's descriptors.
const UNDER_WAY: usize = 10_000;
/// Due times that wait for the runtime. More than it takes in a second mean that the generator is what is slow.
const DUE: usize = 65_536;

/// How much of a side's load a slice is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) time: Duration,
    pub(super) requests: u64,
}

pub(super) async fn slice(load: Load, side: &Arc<Side>, share: Share) {
    match load {
        Load::Closed { concurrency } => closed(side, concurrency, share).await,
        Load::Open { per_second } => open(side, per_second, share.time).await,
    }
}

async fn closed(side: &Arc<Side>, concurrency: usize, share: Share) {
    let (watch, left) = (Stopwatch::start(), Arc::new(AtomicU64::new(share.requests)));
    let mut clients = JoinSet::new();
    for _ in 0..concurrency {
        let (side, left) = (side.clone(), left.clone());
        clients.spawn(async move {
            let another = |left: u64| left.checked_sub(1);
            while watch.elapsed() < share.time && left.fetch_update(Relaxed, Relaxed, another).is_ok() {
                side.once(Stopwatch::start()).await;
            }
        });
    }
    while clients.join_next().await.is_some() {}
}

async fn open(side: &Arc<Side>, per_second: f64, time: Duration) {
    let watch = Stopwatch::start();
    let (due, mut dues) = mpsc::channel(DUE);
    // A timer of the runtime is up to a millisecond late, which is more than a gateway adds: a thread that sleeps is
    // late by some hundredths of one.
    let clock = tokio::task::spawn_blocking(move || tick(watch, per_second, time, &due));
    let mut under_way = JoinSet::new();
    while let Some(due) = dues.recv().await {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= UNDER_WAY {
            side.not_begun();
            continue;
        }
        let side = side.clone();
        under_way.spawn(async move { side.once(watch.started_after(due)).await });
    }
    while under_way.join_next().await.is_some() {}
    // It has ended: its channel is closed.
    let _ = clock.await;
}

fn tick(watch: Stopwatch, per_second: f64, time: Duration, dues: &mpsc::Sender<Duration>) {
    for number in 0_u32.. {
        let due = Duration::from_secs_f64(f64::from(number) / per_second);
        if due >= time {
            return;
        }
        if let Some(wait) = due.checked_sub(watch.elapsed()) {
            std::thread::sleep(wait);
        }
        if dues.blocking_send(due).is_err() {
            return;
        }
    }
}
