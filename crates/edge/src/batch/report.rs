//! The reporter of a batch: watches its tasks, and writes into its log as they end. Each append carries as its rank how
//! many tasks are reported with it, and the log takes none twice: of two reporters one writes, and the other one reads.

use super::{open, record};
use crate::Edge;
use crate::refusal::Refusal;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Append, AppendError, Cursor, ReadError};
use tidewire_core::{Ending, Entry, Failure, Kind, LogRef, Outcome, Task, TaskRef, Usage};
use tidewire_proto::WireError;
use tidewire_proto::batch::{BatchTasks, Progress};

/// How soon a reporter tries again after the engine failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon a task is looked at again whose log is over and whose record is not: another engine keeps it.
const LAG: Duration = Duration::from_millis(100);

/// How many ends are reported in one append: those that are there at the same time share a commit.
const TOLD_AT_ONCE: usize = 256;

/// How much of the log is read at once.
const PAGE_BYTES: usize = 1024 * 1024;

/// Reports on a batch until it is over or the server ends.
pub(super) fn start(edge: &Arc<Edge>, log: LogRef) {
    let edge = edge.clone();
    edge.tracker.clone().spawn(async move {
        tokio::select! {
            () = edge.closing.cancelled() => {}
            () = persist(&edge, log) => {}
        }
    });
}

async fn persist(edge: &Edge, log: LogRef) {
    while let Err(refusal) = report(edge, log).await {
        tracing::warn!(batch = %log.log, error = %refusal.0.message, "the batch's progress waits for the engine");
        edge.clock.sleep(PAUSE).await;
    }
}

/// How far the batch has come.
#[derive(Default)]
struct Standing {
    tasks: Vec<String>,
    reported: HashSet<String>,
    done: u64,
    failed: u64,
    stopped: u64,
    ended: bool,
}

impl Standing {
    fn count(&mut self, outcome: &str) {
        match outcome {
            "done" => self.done += 1,
            "failed" => self.failed += 1,
            _ => self.stopped += 1,
        }
    }
}

async fn report(edge: &Edge, log: LogRef) -> Result<(), Refusal> {
    let mut standing = replay(edge, log).await?;
    if !standing.ended {
        let mut usage = Usage::default();
        let ends = FuturesUnordered::new();
        for (index, task) in standing.tasks.iter().enumerate() {
            if let Ok(id) = task.parse() {
                ends.push(ended(edge, index, TaskRef { tenant: log.tenant, task: id }));
            }
        }
        let mut ends = ends.ready_chunks(TOLD_AT_ONCE);
        while let Some(ended) = ends.next().await {
            let mut news = Vec::with_capacity(ended.len());
            for end in ended {
                let end = end?;
                let spent = end.record.as_ref().and_then(|record| record.ended.as_ref());
                usage = usage.plus(spent.map(|(_, ending)| ending.usage).unwrap_or_default());
                if !standing.reported.contains(&end.task) {
                    news.push(end);
                }
            }
            tell(edge, log, &mut standing, news).await?;
        }
        drop(ends);
        finish(edge, log, &standing, usage).await?;
    }
    record::close(edge, log).await
}

/// What the log says already.
async fn replay(edge: &Edge, log: LogRef) -> Result<Standing, Refusal> {
    let state = edge.log.state(log).await?;
    let mut standing = Standing { ended: state.ended, ..Standing::default() };
    let mut cursor = Cursor { epoch: state.epoch, next: state.first };
    while cursor.next < state.tail {
        let page = edge.log.read(log, cursor, PAGE_BYTES).await?;
        let Some(last) = page.events.last() else { break };
        cursor.next = last.offset.plus(1);
        for event in &page.events {
            match event.kind {
                Kind::Batch => {
                    let tasks: Option<BatchTasks> = serde_json::from_slice(&event.data).ok();
                    standing.tasks = tasks.map(|tasks| tasks.tasks).unwrap_or_default();
                }
                Kind::Progress => {
                    if let Ok(progress) = serde_json::from_slice::<Progress>(&event.data) {
                        standing.count(&progress.state);
                        standing.reported.insert(progress.task);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(standing)
}

/// A task that has ended.
struct Ended {
    index: usize,
    task: String,
    /// `None` where it has expired.
    record: Option<Task>,
}

/// Waits for a task's end.
async fn ended(edge: &Edge, index: usize, at: TaskRef) -> Result<Ended, Refusal> {
    match edge.log.watch(at.log()).await {
        Ok(mut watch) => watch.over().await,
        Err(ReadError::Unknown) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        let record = edge.tasks.get(at).await?;
        if record.as_ref().is_none_or(|record| record.state.is_ended()) {
            return Ok(Ended { index, task: at.task.to_string(), record });
        }
        // The log's watch also ends when the engine lets go of it; then this is how the task's end is seen.
        edge.clock.sleep(LAG).await;
    }
}

/// Writes that tasks have ended.
async fn tell(edge: &Edge, log: LogRef, standing: &mut Standing, news: Vec<Ended>) -> Result<(), Refusal> {
    if news.is_empty() {
        return Ok(());
    }
    let mut entries = Vec::with_capacity(news.len());
    for Ended { index, task, record } in news {
        let (state, error) = outcome(record.as_ref());
        standing.count(&state);
        standing.reported.insert(task.clone());
        let progress = Progress {
            task,
            index,
            state,
            error,
            done: standing.done,
            failed: standing.failed,
            stopped: standing.stopped,
            total: standing.tasks.len() as u64,
        };
        let data = serde_json::to_vec(&progress).unwrap_or_default();
        entries.push(Entry::new(edge.clock.now(), Kind::Progress, data));
    }
    let append = Append { log, writer: open(standing.reported.len()), entries };
    // Refused where another reporter was faster, or this one's answer got lost: it begins again from what is there.
    edge.log.append(append).await.map(drop).map_err(|error| unwritten(&error))
}

/// As what a task has ended, and why it failed.
fn outcome(record: Option<&Task>) -> (String, Option<WireError>) {
    let Some(record) = record else {
        let gone = WireError::new(tidewire_proto::Code::UnknownTask, "the task has expired");
        return ("failed".to_owned(), Some(gone));
    };
    let error = record.failure().map(|failure| WireError {
        code: failure.code.clone(),
        message: failure.message.clone(),
        retry_after_ms: None,
    });
    (record.state.name().to_owned(), error)
}

async fn finish(edge: &Edge, log: LogRef, standing: &Standing, usage: Usage) -> Result<(), Refusal> {
    let (state, error) = match (standing.failed, standing.stopped) {
        (0, 0) => (Outcome::Done, None),
        (0, _) => (Outcome::Stopped, None),
        (failed, _) => {
            let message =
                format!("{failed} of {} tasks failed; retry the batch to try them again", standing.tasks.len());
            (Outcome::Failed, Some(Failure::new("batch_incomplete", message)))
        }
    };
    let ending = Ending {
        state,
        error,
        finish_reason: None,
        stop_sequence: None,
        usage,
        deployment: None,
        attempts: 0,
        cache: None,
    };
    let append = Append { log, writer: open(standing.tasks.len() + 1), entries: Vec::new() };
    match edge.log.end(append, ending).await {
        Ok(_) | Err(AppendError::Ended { .. }) => Ok(()),
        Err(error) => Err(unwritten(&error)),
    }
}

fn unwritten(error: &AppendError) -> Refusal {
    Refusal::new(tidewire_proto::Code::Unavailable, error.to_string())
}
