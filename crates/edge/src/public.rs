//! Results that anybody may read, and any HTTP cache may keep: which they are, and how caches in front are told that one is
//! no more.
//!
//! A record of the directory names each of them. It belongs to the server itself, because who reads it has no tenant: the
//! task's id is all that there is, and 79 bits of it can't be guessed.

use crate::Edge;
use crate::refusal::Refusal;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Expect, PutError, RecordName, RemoveRecordError, Shelf};
use tidewire_core::route::PublicTimes;
use tidewire_core::{Task, TaskId, TaskRef, TenantId, Timestamp};
use tidewire_proto::public::{Evicted, KEY_BYTES};

/// How often records of tasks that retention has deleted are looked for. Until then they cost some bytes and answer 404.
const SWEEP: Duration = Duration::from_mins(10);

/// Records that are looked at in one go.
const PAGE: usize = 500;

/// How results are kept by caches, and who tells these to forget one.
pub struct Public {
    /// For how long.
    pub caching: Caching,
    /// The caches in front.
    pub caches: Arc<dyn Caches>,
}

impl Default for Public {
    /// No caches in front that could be told anything.
    fn default() -> Self {
        Self { caching: Caching::default(), caches: Arc::new(NoCaches) }
    }
}

/// For how long a result is kept where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// By a browser, which nobody can tell to forget it.
    pub max_age: Duration,
    /// By caches that many share.
    pub shared_max_age: Duration,
    /// How long after that one may be served while it is asked for anew.
    pub stale_while_revalidate: Duration,
    /// How long after that one may be served where the server does not answer.
    pub stale_if_error: Duration,
}

impl Default for Caching {
    /// A minute, so that even a cache that can't be told forgets a result soon; a day over an outage.
    fn default() -> Self {
        Self {
            max_age: Duration::ZERO,
            shared_max_age: Duration::from_mins(1),
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::from_hours(24),
        }
    }
}

impl Caching {
    /// The same, but for what a route says otherwise.
    pub(crate) fn but(self, route: PublicTimes) -> Self {
        Self {
            max_age: route.max_age.unwrap_or(self.max_age),
            shared_max_age: route.shared_max_age.unwrap_or(self.shared_max_age),
            stale_while_revalidate: route.stale_while_revalidate.unwrap_or(self.stale_while_revalidate),
            stale_if_error: route.stale_if_error.unwrap_or(self.stale_if_error),
        }
    }
}

/// HTTP caches in front of the server.
pub trait Caches: Send + Sync {
    /// Tells each of them to forget something, and waits for that, for a bounded time.
    fn evict(&self, what: Eviction) -> BoxFuture<'static, Vec<Evicted>>;
}

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Paths below the server's root; none where all that has a key is meant.
    pub paths: Vec<String>,
    /// A surrogate key: what has it in its header `Surrogate-Key`.
    pub key: String,
}

/// There are none.
pub struct NoCaches;

impl Caches for NoCaches {
    fn evict(&self, _: Eviction) -> BoxFuture<'static, Vec<Evicted>> {
        Box::pin(async { Vec::new() })
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    tenant: TenantId,
    at: Timestamp,
}

fn name(task: TaskId) -> RecordName {
    RecordName { tenant: TenantId::SYSTEM, shelf: Shelf::Public, name: task.to_string() }
}

/// Where a public result is read.
pub(crate) fn path(task: TaskId) -> String {
    format!("/v1/public/{task}")
}

/// From now on anybody may read it.
pub(crate) async fn publish(edge: &Edge, at: TaskRef) -> Result<(), Refusal> {
    let record = serde_json::to_vec(&Record { tenant: at.tenant, at: edge.clock.now() }).unwrap_or_default();
    match edge.directory.put(name(at.task), record.into(), Expect::Anything).await {
        Ok(_) | Err(PutError::Conflict { .. } | PutError::TooLarge { .. }) => Ok(()),
        Err(PutError::Unavailable(error)) => Err(error.into()),
    }
}

/// From now on nobody may, and the caches in front forget it.
pub(crate) async fn unpublish(edge: &Edge, at: TaskRef) -> Result<Vec<Evicted>, Refusal> {
    match edge.directory.remove(&name(at.task), Expect::Anything).await {
        Ok(_) | Err(RemoveRecordError::Conflict { .. }) => {}
        Err(RemoveRecordError::Unavailable(error)) => return Err(error.into()),
    }
    // Also where it was not public any more: whoever asks again wants to be sure.
    Ok(evict(edge, at.task).await)
}

/// The caches in front forget a task's result.
pub(crate) async fn evict(edge: &Edge, task: TaskId) -> Vec<Evicted> {
    let path = path(task);
    let paths = vec![format!("{path}.txt"), format!("{path}.json"), path];
    edge.public.caches.evict(Eviction { paths, key: task_key(task) }).await
}

/// Whose a public result is; none where it is not public.
pub(crate) async fn find(edge: &Edge, task: TaskId) -> Result<Option<TaskRef>, Refusal> {
    let record = edge.directory.get(&name(task)).await?;
    let record = record.and_then(|record| serde_json::from_slice::<Record>(&record.value).ok());
    Ok(record.map(|record| TaskRef { tenant: record.tenant, task }))
}

/// The surrogate keys of a result: by each of them it can be evicted. They tell which results belong together, not whose
/// they are.
pub(crate) fn keys(task: &Task) -> [String; 3] {
    let tenant = task.tenant.0.to_be_bytes();
    let route = [&tenant[..], task.spec.model.as_bytes()].concat();
    [task_key(task.id), opaque("tenant", &tenant), opaque("route", &route)]
}

fn task_key(task: TaskId) -> String {
    opaque("task", &task.to_bytes())
}

fn opaque(kind: &str, of: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("tidewire 2026 surrogate key");
    hasher.update(kind.as_bytes()).update(&[0]).update(of);
    let hash = hasher.finalize().to_hex();
    format!("{kind}-{}", &hash[..KEY_BYTES])
}

/// Forgets results whose tasks retention has deleted, until the server closes.
pub async fn sweep(edge: Arc<Edge>) {
    loop {
        tokio::select! {
            () = edge.closing.cancelled() => return,
            () = edge.clock.sleep(SWEEP) => {}
        }
        if let Err(error) = forget(&edge).await {
            tracing::warn!(%error, "records of public results can't be swept");
        }
    }
}

async fn forget(edge: &Edge) -> Result<(), tidewire_core::port::Unavailable> {
    let mut after: Option<String> = None;
    loop {
        let page = edge.directory.list(TenantId::SYSTEM, Shelf::Public, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (id, record) in page {
            let task = id.parse::<TaskId>().ok().zip(serde_json::from_slice::<Record>(&record.value).ok());
            let Some((task, Record { tenant, at })) = task else { continue };
            // A task's record is written after this one.
            let is_old = edge.clock.now().since(at) > SWEEP;
            if is_old && edge.tasks.get(TaskRef { tenant, task }).await?.is_none() {
                // Of this version: a task's id never comes again, so nobody else has written it meanwhile.
                let _ = edge.directory.remove(&name(task), Expect::Version(record.version)).await;
            }
        }
    }
}
