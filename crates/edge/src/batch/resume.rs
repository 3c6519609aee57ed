//! After a start: reporters of the batches that are not over, and an end to those that nobody was told of.

use super::{record, report};
use crate::Edge;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Filter;
use tidewire_core::{LogRef, State, TenantId};

/// How many records are listed at once.
const PAGE: usize = 500;

/// How soon it is tried again after the engine failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes up the batches of an earlier run of the server.
pub async fn resume(edge: Arc<Edge>) {
    let began = edge.clock.now();
    let mut after = None;
    loop {
        let page = match record::list(&edge, TenantId::DEFAULT, after, PAGE).await {
            Ok(page) => page,
            Err(refusal) => {
                tracing::error!(error = %refusal.0.message, "batches can't be listed");
                edge.clock.sleep(PAUSE).await;
                continue;
            }
        };
        for (log, batch) in &page {
            // A newer one has its reporter, or its caller is at it.
            if !batch.open || batch.created_at >= began {
                continue;
            }
            let taken = take_up(&edge, *log, batch.keyed).await;
            if let Err(refusal) = taken {
                tracing::error!(batch = %log.log, error = %refusal.0.message, "the batch could not be taken up");
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => after = Some(last.log),
            _ => return,
        }
    }
}

async fn take_up(edge: &Arc<Edge>, log: LogRef, keyed: bool) -> Result<(), Refusal> {
    if record::committed(edge, log).await?.is_some() {
        report::start(edge, log);
        return Ok(());
    }
    if keyed {
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
    record::forget(edge, log).await
}
