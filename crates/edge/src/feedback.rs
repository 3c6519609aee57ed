//! What people think of answers: kept beside a task's log, which has ended by then, for as long as the task is kept.

use crate::Edge;
use crate::refusal::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Expect, Measurement, PutError, Record, RecordName, Shelf, Signal};
use tidewire_core::{Task, TaskId, TaskRef, TenantId};
use tidewire_proto::Code;
use tidewire_proto::feedback::Feedback;

/// Words about one answer: more than any team writes, and few enough for one record of the directory.
pub(crate) const MAX_FEEDBACK: usize = 20;

/// How often two who judge at once are let try again.
const TRIES: usize = 8;

/// How often it is looked for what is about tasks that are gone.
const SWEEP: Duration = Duration::from_mins(10);

/// How many records are listed at once.
const PAGE: usize = 500;

fn name(at: TaskRef) -> RecordName {
    RecordName { tenant: at.tenant, shelf: Shelf::Feedback, name: at.task.to_string() }
}

fn parsed(record: Option<&Record>) -> Vec<Feedback> {
    record.and_then(|record| serde_json::from_slice(&record.value).ok()).unwrap_or_default()
}

/// All that was said of a task's answer, the oldest first.
pub(crate) async fn list(edge: &Edge, at: TaskRef) -> Result<Vec<Feedback>, Refusal> {
    Ok(parsed(edge.directory.get(&name(at)).await?.as_ref()))
}

/// Keeps one more, and tells those whom it concerns: a cache lets go of an answer that was judged badly.
pub(crate) async fn add(edge: &Edge, task: &Task, feedback: Feedback) -> Result<(), Refusal> {
    let at = task.at();
    for _ in 0..TRIES {
        let found = edge.directory.get(&name(at)).await?;
        let mut all = parsed(found.as_ref());
        if all.len() >= MAX_FEEDBACK {
            let message = format!("`{}` has {MAX_FEEDBACK} words of feedback, and takes no more", task.id);
            return Err(Refusal::new(Code::InvalidRequest, message));
        }
        all.push(feedback.clone());
        let value = Bytes::from(serde_json::to_vec(&all).unwrap_or_default());
        let expect = found.map_or(Expect::Absent, |found| Expect::Version(found.version));
        match edge.directory.put(name(at), value, expect).await {
            Ok(_) => {
                edge.meter.record(Measurement::Feedback(&task.spec.capability, verdict(feedback.score)));
                edge.bus.publish(Signal::Judged { task: at, badly: feedback.score < 0.0 });
                return Ok(());
            }
            Err(PutError::Conflict { .. }) => {}
            Err(PutError::TooLarge { .. }) => {
                return Err(Refusal::new(Code::TooLarge, "all feedback of one task has 64 KiB at most"));
            }
            Err(PutError::Unavailable(error)) => return Err(error.into()),
        }
    }
    Err(Refusal::new(Code::Unavailable, "many judge this answer at once; try again"))
}

const fn verdict(score: f64) -> &'static str {
    if score > 0.0 {
        "up"
    } else if score < 0.0 {
        "down"
    } else {
        "neutral"
    }
}

/// Forgets from time to time what was said of tasks that are gone, until the server ends.
pub async fn keep(edge: Arc<Edge>) {
    loop {
        tokio::select! {
            () = edge.closing.cancelled() => return,
            () = edge.clock.sleep(SWEEP) => {}
        }
        for tenant in edge.identity.tenants() {
            if let Err(refusal) = sweep(&edge, tenant).await {
                tracing::warn!(error = %refusal.0.message, "feedback of tasks that are gone waits for the next round");
            }
        }
    }
}

async fn sweep(edge: &Edge, tenant: TenantId) -> Result<(), Refusal> {
    let mut after: Option<String> = None;
    loop {
        let page = edge.directory.list(tenant, Shelf::Feedback, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (name, _) in page {
            let Ok(task) = name.parse::<TaskId>() else { continue };
            if edge.tasks.get(TaskRef { tenant, task }).await?.is_none() {
                forget(edge, TaskRef { tenant, task }).await?;
            }
        }
    }
}

async fn forget(edge: &Edge, at: TaskRef) -> Result<(), Refusal> {
    let unremoved = |error: tidewire_core::port::RemoveRecordError| Refusal::new(Code::Unavailable, error.to_string());
    edge.directory.remove(&name(at), Expect::Anything).await.map(drop).map_err(unremoved)
}
