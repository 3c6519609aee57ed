//! Many tasks at once, and one log that reports their progress.
//!
//! ```text
//!  admit all ──▶ hold room for all ──▶ record ──▶ commit each ──▶ log: `batch` ──▶ ack ──▶ reporter: `progress`, `end`
//! ```
//!
//! All or nothing up to the commits: a task that can't be admitted, or has no room, refuses the batch. After the record a
//! crash may leave some tasks committed. With an idempotency key the caller repeats itself and gets the rest; without one
//! nobody was told of them, and the next start stops them.

mod record;
mod report;
mod resume;

pub(crate) use record::{Record, committed, find, list, newest, read_progress};
pub use resume::keep;

use crate::Edge;
use crate::admission::admit;
use crate::identity::Caller;
use crate::quote::{Admitted, Hold};
use crate::refusal::Refusal;
use crate::submit::{hold, take_held};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tidewire_core::port::{Append, AppendError, Left, Writer};
use tidewire_core::queue::Seat;
use tidewire_core::task::Idempotency;
use tidewire_core::{Durability, Entry, Epoch, Kind, LogId, LogRef, Task};
use tidewire_proto::batch::{BatchSubmission, BatchTasks};
use tidewire_proto::{Code, Submission};

/// The most tasks of a batch: their ids fit one event with room to spare, and its reporter watches each.
pub(crate) const MAX_TASKS: usize = 10_000;

/// How many of them are committed at once: enough to share a sync, few enough to leave room for others.
const AT_ONCE: usize = 64;

/// The largest `metadata`, as a task's.
const MAX_METADATA_BYTES: usize = 4096;

/// A committed batch.
pub(crate) struct Accepted {
    pub(crate) log: LogRef,
    pub(crate) epoch: Epoch,
    pub(crate) tasks: Vec<String>,
    /// The idempotency key was known.
    pub(crate) known: bool,
    /// What is left of the limits of whoever pays for it.
    pub(crate) left: Left,
}

/// Takes a batch.
pub(crate) async fn submit(
    edge: &Arc<Edge>,
    caller: &Caller,
    submission: BatchSubmission,
) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let count = submission.tasks.len();
    if !(1..=MAX_TASKS).contains(&count) {
        return Err(invalid(format!("a batch has 1 to {MAX_TASKS} tasks, not {count}")));
    }
    let metadata = submission.metadata.as_ref().map(|raw| raw.get().to_owned());
    if metadata.as_ref().is_some_and(|text| text.len() > MAX_METADATA_BYTES || !text.starts_with('{')) {
        return Err(invalid(format!("`metadata` is a JSON object of at most {MAX_METADATA_BYTES} bytes")));
    }
    let tenant = caller.tenant;
    let hash = hash(&submission);
    let fresh = fresh(edge);
    let (id, known) = match &submission.idempotency_key {
        Some(key) => record::claim(edge, tenant, key, fresh, hash).await?,
        None => (fresh, false),
    };
    let log = LogRef { tenant, log: id };
    if known && let Some((epoch, tasks)) = record::committed(edge, log).await? {
        return Ok(Accepted { log, epoch, tasks, known: true, left: Left::default() });
    }
    let mut tasks = Vec::with_capacity(count);
    for (index, fields) in submission.tasks.into_iter().enumerate() {
        let mut admitted =
            one(edge, caller, fields, submission.defaults.as_ref()).await.map_err(|refusal| at(index, refusal))?;
        admitted.task.spec.origin.batch = Some(id);
        if submission.idempotency_key.is_some() {
            admitted.task.idempotency = Some(Idempotency { key: format!("{id}/{index}"), body_hash: hash });
        }
        tasks.push(admitted);
    }
    let record = Record {
        created_at: edge.clock.now(),
        total: count as u64,
        open: true,
        key: submission.idempotency_key.clone(),
        retry_of: None,
        metadata,
    };
    commit(edge, log, record, tasks).await
}

/// A name for a batch.
pub(crate) fn fresh(edge: &Edge) -> LogId {
    LogId::shared(edge.clock.now(), random(edge), Durability::Durable)
}

/// Takes tasks that were admitted already, as a batch of this name.
pub(crate) async fn take(edge: &Arc<Edge>, log: LogRef, mut tasks: Vec<Admitted>) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    for admitted in &mut tasks {
        admitted.task.spec.origin.batch = Some(log.log);
    }
    let (created_at, total) = (edge.clock.now(), tasks.len() as u64);
    let record = Record { created_at, total, open: true, key: None, retry_of: None, metadata: None };
    commit(edge, log, record, tasks).await
}

/// Tries a batch's failed tasks again, or those of them that are named: as a batch of its own.
pub(crate) async fn retry(edge: &Arc<Edge>, caller: &Caller, of: LogRef, dead: Vec<Task>) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    if dead.is_empty() {
        return Err(Refusal::new(Code::NotDeadLetter, "none of the batch's tasks has failed and was not tried again"));
    }
    let first = find(edge, of).await?;
    let id = fresh(edge);
    let log = LogRef { tenant: of.tenant, log: id };
    let again = |dead| crate::retry::again(edge, caller, dead, Some(id));
    let tasks: Vec<Admitted> = dead.iter().map(again).collect::<Result<_, _>>()?;
    let record = Record {
        created_at: edge.clock.now(),
        total: tasks.len() as u64,
        open: true,
        key: None,
        retry_of: Some(of.log),
        metadata: first.metadata,
    };
    commit(edge, log, record, tasks).await
}

async fn commit(edge: &Arc<Edge>, log: LogRef, record: Record, mut tasks: Vec<Admitted>) -> Result<Accepted, Refusal> {
    let seats: Vec<Seat> = tasks.iter().map(|admitted| hold(edge, &admitted.task)).collect::<Result<_, _>>()?;
    let reserved = reserve(edge, &mut tasks).await?;
    record::put(edge, log, &record).await?;
    let held = seats.into_iter().zip(reserved).zip(tasks);
    let commits = held.map(|((seat, reserved), admitted)| take_held(edge, seat, reserved, admitted.task));
    let accepted: Vec<_> = stream::iter(commits).buffered(AT_ONCE).try_collect().await?;
    let ids: Vec<String> = accepted.iter().map(|accepted| accepted.task.id.to_string()).collect();
    let epoch = edge.log.create(log).await?;
    let event = serde_json::to_vec(&BatchTasks { tasks: ids.clone() }).unwrap_or_default();
    let entries = vec![Entry::new(edge.clock.now(), Kind::Batch, event)];
    match edge.log.append(Append { log, writer: open(0), entries }).await {
        // Taken: a caller that repeats itself with its key was here before.
        Ok(_) | Err(AppendError::RankTaken { .. } | AppendError::Ended { .. }) => {}
        Err(error) => {
            return Err(Refusal::new(Code::Unavailable, format!("the batch could not be recorded: {error}")));
        }
    }
    report::start(edge, log);
    let left = accepted.last().map(|accepted| accepted.left).unwrap_or_default();
    Ok(Accepted { log, epoch, tasks: ids, known: false, left })
}

/// Reserves what all of them will use, or nothing.
async fn reserve(edge: &Edge, tasks: &mut [Admitted]) -> Result<Vec<Hold>, Refusal> {
    let mut reserved: Vec<Hold> = Vec::with_capacity(tasks.len());
    for (index, admitted) in tasks.iter_mut().enumerate() {
        match admitted.reserve(edge).await {
            Ok(hold) => reserved.push(hold),
            Err(refusal) => {
                for hold in reserved {
                    hold.give_back().await;
                }
                return Err(at(index, refusal));
            }
        }
    }
    Ok(reserved)
}

/// One of the batch's own fields over the defaults.
async fn one(
    edge: &Edge,
    caller: &Caller,
    fields: serde_json::Map<String, serde_json::Value>,
    defaults: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<Admitted, Refusal> {
    let mut all = defaults.cloned().unwrap_or_default();
    all.extend(fields);
    // Raw JSON only comes from text.
    let text = serde_json::to_string(&all).unwrap_or_default();
    let submission: Submission = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    if submission.idempotency_key.is_some() {
        return Err(invalid("`idempotency_key` belongs to the batch, not to its tasks"));
    }
    if submission.durability.as_deref() == Some("transient") || submission.parent.is_some() {
        return Err(invalid("the tasks of a batch are durable and have no parent"));
    }
    admit(edge, caller, submission).await
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

/// Says which task a refusal is about.
fn at(index: usize, mut refusal: Refusal) -> Refusal {
    refusal.0.message = format!("tasks[{index}]: {}", refusal.0.message);
    refusal
}

fn random(edge: &Edge) -> u128 {
    (u128::from(edge.clock.random()) << 64) | u128::from(edge.clock.random())
}

/// A hash of what was asked for, the key aside: the same after a restart of the same build.
fn hash(submission: &BatchSubmission) -> u64 {
    let keyless = BatchSubmission { idempotency_key: None, ..submission.clone() };
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(&keyless).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// An append that the log takes once: its rank says how many tasks are reported with it.
fn open(reported: usize) -> Writer {
    Writer::Open { rank: Some(format!("{reported:08}").into()) }
}
