//! The two ways to load a server: sessions that each wait for their answer, and tasks that are due by the clock.

mod closed;
mod open;

use crate::options::{Load, Options};
use crate::tally::Tally;
use crate::task::Plan;
use indicatif::ProgressBar;
use std::sync::Arc;
use tidewire_client::{ConnectError, Driver, Session};
use tokio::task::JoinSet;

/// Connections that are made at the same time. A listener's queue holds 128 to 4,096.
const CONNECTING: usize = 128;

/// What all sessions of a run share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) tally: Tally,
    pub(crate) bar: ProgressBar,
}

/// Opens all sessions. Their drivers do not run yet: until the run begins there is nothing to say.
pub(crate) async fn connect(options: &Options, bar: &ProgressBar) -> Result<Vec<(Session, Driver)>, ConnectError> {
    let session = tidewire_client::Options { window_ms: options.window_ms, ..tidewire_client::Options::default() };
    let mut opened = Vec::with_capacity(options.sessions);
    let mut opening = JoinSet::new();
    for _ in 0..options.sessions {
        if opening.len() == CONNECTING {
            opened.extend(next(&mut opening).await?);
            bar.inc(1);
        }
        let endpoint = options.endpoint.clone();
        opening.spawn(async move { Session::open(&endpoint, session).await });
    }
    while !opening.is_empty() {
        opened.extend(next(&mut opening).await?);
        bar.inc(1);
    }
    Ok(opened)
}

type Opened = Result<(Session, Driver), ConnectError>;

async fn next(opening: &mut JoinSet<Opened>) -> Result<Option<(Session, Driver)>, ConnectError> {
    // A task that panicked has printed why, and leaves one session less.
    opening.join_next().await.and_then(Result::ok).transpose()
}

/// Runs the load to its end.
pub(crate) async fn run(load: Load, sessions: Vec<(Session, Driver)>, shared: &Arc<Shared>) {
    match load {
        Load::Closed { tasks, ramp } => closed::run(sessions, tasks, ramp, shared).await,
        Load::Open { per_second, duration } => open::run(sessions, per_second, duration, shared).await,
    }
}
