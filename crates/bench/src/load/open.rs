//! Tasks are due at fixed times, whatever became of those before.

use super::Shared;
use std::sync::Arc;
use std::time::Duration;
use tidewire_client::{Driver, Session, Stopwatch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Tasks that may be under way. A server that falls this far behind has failed the run, and more would only
/// measure this machine's memory.
const UNDER_WAY: usize = 100_000;

pub(super) async fn run(sessions: Vec<(Session, Driver)>, per_second: f64, duration: Duration, shared: &Arc<Shared>) {
    let mut drivers = JoinSet::new();
    let handles: Vec<Session> = sessions
        .into_iter()
        .map(|(session, driver)| {
            drivers.spawn(driver.run());
            session
        })
        .collect();
    let begin = Stopwatch::start();
    let mut under_way = JoinSet::new();
    for (number, session) in (0_u32..).zip(handles.iter().cycle()) {
        let due = Duration::from_secs_f64(f64::from(number) / per_second);
        if due >= duration {
            break;
        }
        // A timer takes a millisecond even for no time at all, and a task that is due does not wait for it.
        match due.checked_sub(begin.elapsed()) {
            Some(wait) => sleep(wait).await,
            None => tokio::task::yield_now().await,
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= UNDER_WAY {
            shared.tally.not_begun();
            continue;
        }
        let (session, shared) = (session.clone(), shared.clone());
        under_way.spawn(async move {
            shared.plan.task(&session, begin.started_after(due), &shared.tally).await;
            shared.bar.inc(1);
        });
    }
    while under_way.join_next().await.is_some() {}
    for session in handles {
        shared.tally.session(session.counts());
    }
    while drivers.join_next().await.is_some() {}
}
