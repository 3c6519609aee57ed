//! A tenant's lanes by their newest task, as a list of conversations shows them, and who waits for one to change.
//!
//! There is no index of lanes: the newest tasks are looked through. Those who wait for the same tenant's lanes share one look.

use crate::Edge;
use crate::refusal::Refusal;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::port::{Filter, Signal};
use tidewire_core::task::State;
use tidewire_core::{Task, TaskId, TenantId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Tasks that are listed at once, and how often: the newest 10,000 of a tenant's lanes are looked at, some 50 ms. A lane whose
/// tasks are all older is not listed.
const TASKS_AT_ONCE: usize = 500;
const LISTS: usize = 20;

/// Lists that are kept while somebody waits, each at most some 2 MB. Whoever waits beyond these looks for themselves.
const KEPT: usize = 32;

/// A kept list is looked at anew after so long, whatever was heard: a signal may be lost.
const FRESH: Duration = Duration::from_secs(30);

/// What is seen of a lane.
pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    /// How many tasks of it were looked at.
    pub(crate) tasks: u64,
    /// The newest of them.
    pub(crate) last: TaskId,
    /// When that one was submitted, and how it stands.
    pub(crate) last_at: Timestamp,
    pub(crate) state: State,
    /// The oldest of them.
    pub(crate) first: TaskId,
}

/// Who waits for news of lanes.
pub struct Lanes {
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    room: Arc<Semaphore>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { tenants: Mutex::default(), room: Arc::new(Semaphore::new(KEPT)) }
    }
}

/// One tenant, while somebody waits.
struct Tenant {
    changes: watch::Sender<u64>,
    kept: tokio::sync::Mutex<Option<Kept>>,
}

/// What was seen after so many changes.
struct Kept {
    changes: u64,
    at: Duration,
    lanes: Arc<[Lane]>,
    _room: OwnedSemaphorePermit,
}

impl Lanes {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of whoever waits for this tenant's lanes, and lets go of those for whom nobody waits any more.
    fn tenant(&self, tenant: TenantId) -> Arc<Tenant> {
        let mut tenants = self.tenants();
        tenants.retain(|known, one| *known == tenant || Arc::strong_count(one) > 1);
        let new = || Arc::new(Tenant { changes: watch::Sender::new(0), kept: tokio::sync::Mutex::default() });
        tenants.entry(tenant).or_insert_with(new).clone()
    }

    fn changed(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenants().get(&tenant) {
            tenant.changes.send_modify(|changes| *changes += 1);
        }
    }
}

/// Somebody who waits for a tenant's lanes to change.
pub(crate) struct Waiter {
    tenant: Arc<Tenant>,
    changes: watch::Receiver<u64>,
}

impl Waiter {
    /// Hears of what happens from now on.
    pub(crate) fn new(edge: &Edge, tenant: TenantId) -> Self {
        let tenant = edge.lanes.tenant(tenant);
        let changes = tenant.changes.subscribe();
        Self { tenant, changes }
    }

    /// The lanes as they are now, as one look has them that all share.
    pub(crate) async fn look(&mut self, edge: &Edge, tenant: TenantId) -> Result<Arc<[Lane]>, Refusal> {
        let mut kept = self.tenant.kept.lock().await;
        // Before the look: what happens meanwhile is seen by the next one.
        let changes = *self.changes.borrow_and_update();
        let now = edge.clock.monotonic();
        let known = kept.as_ref().filter(|kept| kept.changes == changes && now.saturating_sub(kept.at) < FRESH);
        if let Some(known) = known {
            return Ok(known.lanes.clone());
        }
        // First: it gives back the room that the new one takes.
        *kept = None;
        let lanes: Arc<[Lane]> = look(edge, tenant, "").await?.into();
        if let Ok(room) = edge.lanes.room.clone().try_acquire_owned() {
            *kept = Some(Kept { changes, at: now, lanes: lanes.clone(), _room: room });
        }
        Ok(lanes)
    }

    /// What was heard until now is no news any more: the waiter looks for itself.
    pub(crate) fn mark(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits until something has happened since the last look.
    pub(crate) async fn news(&mut self) {
        // Its sender lives as long as this does.
        let _ = self.changes.changed().await;
    }
}

/// Lanes that begin so, newest first.
pub(crate) async fn look(edge: &Edge, tenant: TenantId, prefix: &str) -> Result<Vec<Lane>, Refusal> {
    let mut filter = Filter {
        tenant: Some(tenant),
        shadows: Some(false),
        lane_prefix: Some(prefix.to_owned()),
        limit: TASKS_AT_ONCE,
        ..Filter::default()
    };
    let (mut lanes, mut places): (Vec<Lane>, HashMap<Arc<str>, usize>) = (Vec::new(), HashMap::new());
    for _ in 0..LISTS {
        let page = edge.tasks.list(&filter).await?;
        for task in page.tasks {
            let Some(name) = task.spec.turn.lane.clone() else { continue };
            if let Some(seen) = places.get(&name).and_then(|place| lanes.get_mut(*place)) {
                seen.tasks += 1;
                seen.first = task.id;
                continue;
            }
            places.insert(name.clone(), lanes.len());
            let Task { id, submitted_at, state, .. } = task;
            lanes.push(Lane { name, tasks: 1, last: id, last_at: submitted_at, state, first: id });
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    Ok(lanes)
}

/// Hears of what happens in lanes, and tells those who wait, until the server ends.
pub async fn keep(edge: Arc<Edge>) {
    let mut signals = edge.bus.subscribe();
    loop {
        tokio::select! {
            () = edge.closing.cancelled() => return,
            signal = signals.next() => match signal {
                Some(Signal::Lane(tenant)) => edge.lanes.changed(tenant),
                Some(Signal::Grew { .. } | Signal::Stop(_) | Signal::Judged { .. }) => {}
                None => signals = edge.bus.subscribe(),
            },
        }
    }
}
