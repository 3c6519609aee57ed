//! Each session submits, reads to the end, and submits the next.

use super::Shared;
use std::sync::Arc;
use std::time::Duration;
use tidewire_client::{Driver, Session, Stopwatch};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(super) async fn run(sessions: Vec<(Session, Driver)>, tasks: usize, ramp: Duration, shared: &Arc<Shared>) {
    let apart = ramp / u32::try_from(sessions.len().max(1)).unwrap_or(u32::MAX);
    let mut running = JoinSet::new();
    for (at, (session, driver)) in (0_u32..).zip(sessions) {
        // Driver and work share one task: an event wakes one, not two.
        let work = work(session, apart * at, tasks, shared.clone());
        running.spawn(async move { tokio::join!(biased; driver.run(), work) });
    }
    while running.join_next().await.is_some() {}
}

async fn work(session: Session, begin: Duration, tasks: usize, shared: Arc<Shared>) {
    sleep(begin).await;
    for _ in 0..tasks {
        shared.plan.task(&session, Stopwatch::start(), &shared.tally).await;
        shared.bar.inc(1);
    }
    shared.tally.session(session.counts());
}
