//! What becomes of batches over time. After a start: reporters of those that are not over, and an end to those that
//! nobody was told of. Later on: those that ended long ago are forgotten.

use super::{Record, record, report};
use crate::Edge;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Filter;
use tidewire_core::{LogRef, State, TenantId, Timestamp};

/// How many records are listed at once.
const PAGE: usize = 500;

/// How soon it is tried again after the engine failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How often retention is looked to.
const EXPIRY: Duration = Duration::from_mins(10);

/// Takes up the batches of an earlier run of the server, and from then on forgets those that ended longer ago than
/// `age`, until the server ends.
pub async fn keep(edge: Arc<Edge>, age: Duration) {
    let all = async {
        each(&edge, Round::TakeUp { began: edge.clock.now() }).await;
        loop {
            edge.clock.sleep(EXPIRY).await;
            each(&edge, Round::Forget { age }).await;
        }
    };
    tokio::select! {
        () = edge.closing.cancelled() => {}
        () = all => {}
    }
}

/// What is done with each batch.
#[derive(Clone, Copy)]
enum Round {
    /// Those of an earlier run are taken up: a newer one has its reporter, or its caller is at it.
    TakeUp { began: Timestamp },
    /// Those that ended longer ago are forgotten.
    Forget { age: Duration },
}

impl Round {
    async fn see_to(self, edge: &Arc<Edge>, log: LogRef, batch: &Record) -> Result<(), Refusal> {
        match self {
            Self::TakeUp { began } if batch.open && batch.created_at < began => take_up(edge, log, batch).await,
            Self::TakeUp { .. } => Ok(()),
            Self::Forget { age } => {
                let now = edge.clock.now();
                if batch.open || now.since(batch.created_at) < age {
                    return Ok(());
                }
                match record::read_progress(edge, log).await? {
                    (_, Some((ended, _))) if now.since(ended) < age => Ok(()),
                    _ => record::forget(edge, log, batch).await,
                }
            }
        }
    }
}

/// Goes through all batches.
async fn each(edge: &Arc<Edge>, round: Round) {
    for tenant in edge.identity.tenants() {
        each_of(edge, tenant, round).await;
    }
}

async fn each_of(edge: &Arc<Edge>, tenant: TenantId, round: Round) {
    let mut after = None;
    loop {
        let page = match record::list(edge, tenant, after, PAGE).await {
            Ok(page) => page,
            Err(refusal) => {
                tracing::error!(error = %refusal.0.message, "batches can't be listed");
                edge.clock.sleep(PAUSE).await;
                continue;
            }
        };
        after = page.last().filter(|_| page.len() == PAGE).map(|(last, _)| last.log);
        for (log, batch) in page {
            if let Err(refusal) = round.see_to(edge, log, &batch).await {
                tracing::error!(batch = %log.log, error = %refusal.0.message, "the batch waits for the next round");
            }
        }
        if after.is_none() {
            return;
        }
    }
}

async fn take_up(edge: &Arc<Edge>, log: LogRef, batch: &Record) -> Result<(), Refusal> {
    if record::committed(edge, log).await?.is_some() {
        report::start(edge, log);
        return Ok(());
    }
    if batch.key.is_some() {
        // Its caller was not told, and comes back with the key.
        return Ok(());
    }
    tracing::warn!(batch = %log.log, "a crash came before the batch was acknowledged: its tasks are stopped");
    let mut filter = Filter {
        tenant: Some(log.tenant),
        states: vec![State::Queued, State::Running],
        batch: Some(log.log),
        limit: PAGE,
        ..Filter::default()
    };
    loop {
        let page = edge.tasks.list(&filter).await?;
        for task in page.tasks {
            crate::stop::request_stop(edge, task.at()).await?;
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    record::forget(edge, log, batch).await
}
