//! Listing tasks: live ones from memory, ended ones from disk, merged newest first.

use super::store::{Store, Trouble, pair, parse_task};
use super::{Opened, key, seal};
use fjall::{Iter, Readable, Snapshot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tidewire_core::port::{Filter, TaskPage};
use tidewire_core::{State, Task, TaskId, TaskRef, TenantId};

/// How many ended records a page looks at before it is given short, with the place to go on from: about
/// 50 ms.
const MAX_LOOKED_AT: usize = 10_000;

/// A page, without inputs.
pub(super) fn page(shared: &Opened, filter: &Filter) -> Result<TaskPage, Trouble> {
    if let (Some(tenant), Some(key)) = (filter.tenant, &filter.key) {
        let holder = shared.store.holder(tenant, key)?;
        let task = holder.map(|(task, _)| one(shared, TaskRef { tenant, task })).transpose()?.flatten();
        return Ok(TaskPage { tasks: task.filter(|task| filter.matches(task)).into_iter().collect(), next: None });
    }
    // Live ones first: a task that ends in between is then found twice and not never.
    let mut tasks = shared.live.list(filter, filter.limit.saturating_add(1));
    let mut looked_upto = None;
    if wants_ended(filter) {
        let ended = Ended::new(&shared.store, filter);
        looked_upto = ended.collect(filter, &mut tasks)?;
    }
    tasks.sort_by_key(|task| (Reverse(task.id), !task.state.is_ended()));
    tasks.dedup_by_key(|task| task.id);
    // What lies beyond the last record looked at is not known yet.
    if let Some(id) = looked_upto {
        tasks.retain(|task| task.id >= id);
    }
    let mut next = looked_upto;
    if tasks.len() > filter.limit {
        tasks.truncate(filter.limit);
        next = tasks.last().map(|task| task.id);
    }
    Ok(TaskPage { tasks, next })
}

/// A task's record, live or ended.
fn one(shared: &Opened, task: TaskRef) -> Result<Option<Task>, Trouble> {
    match shared.live.get(task) {
        Some(entry) => Ok(Some(entry.task.clone())),
        None => shared.store.task(&shared.store.snapshot(), task),
    }
}

fn wants_ended(filter: &Filter) -> bool {
    filter.lapsed_before.is_none()
        && (filter.states.is_empty() || filter.states.iter().any(|state: &State| state.is_ended()))
}

/// Ended tasks of one tenant or of all, newest first.
struct Ended {
    tenants: Vec<Iter>,
}

impl Ended {
    fn new(store: &Store, filter: &Filter) -> Self {
        let at = store.snapshot();
        let tenants = match filter.tenant {
            Some(tenant) => vec![tenant],
            None => tenants(store, &at),
        };
        let tenants = tenants.into_iter().map(|tenant| {
            let first = match filter.oldest() {
                Some(task) => key::task(TaskRef { tenant, task }).to_vec(),
                None => key::tenant(tenant).to_vec(),
            };
            let end = match (filter.newest(), tenant.0.checked_add(1)) {
                (Some(task), _) => key::task(TaskRef { tenant, task }).to_vec(),
                (None, Some(next)) => key::tenant(TenantId(next)).to_vec(),
                (None, None) => vec![u8::MAX; key::TASK_BYTES + 1],
            };
            // A range that ends before it begins is an empty one.
            at.range(&store.tasks, first.clone()..end.max(first))
        });
        Self { tenants: tenants.collect() }
    }

    /// Adds what matches, until the page is full. Where it stops short of that: the last record looked at.
    fn collect(mut self, filter: &Filter, tasks: &mut Vec<Task>) -> Result<Option<TaskId>, Trouble> {
        // The newest record of each tenant that is not looked at yet, the newest of all on top.
        let mut newest = BinaryHeap::new();
        for place in 0..self.tenants.len() {
            newest.extend(self.pull(place)?.map(|(task, value)| (task.task, place, task.tenant, value)));
        }
        let (mut found, mut looked_at) = (0, 0);
        while let Some((task, place, tenant, value)) = newest.pop() {
            let at = TaskRef { tenant, task };
            let body = seal::open(&key::task(at), &value);
            let body = body.map_err(|_| Trouble::damaged(format!("the record of {task}")))?;
            let record = parse_task(&body, at)?;
            if filter.matches(&record) {
                tasks.push(record);
                found += 1;
            }
            looked_at += 1;
            if found > filter.limit {
                return Ok(None);
            }
            if looked_at == MAX_LOOKED_AT {
                return Ok(Some(task));
            }
            newest.extend(self.pull(place)?.map(|(task, value)| (task.task, place, task.tenant, value)));
        }
        Ok(None)
    }

    fn pull(&mut self, place: usize) -> Result<Option<(TaskRef, bytes::Bytes)>, Trouble> {
        let Some(record) = self.tenants[place].next_back() else { return Ok(None) };
        let (key, value) = pair(record)?;
        let task = key::parse_task(&key).ok_or_else(|| Trouble::damaged("the key of a task"))?;
        Ok(Some((task, value)))
    }
}

/// Every tenant that has an ended task, found by leaping from one to the next.
fn tenants(store: &Store, at: &Snapshot) -> Vec<TenantId> {
    let mut tenants = Vec::new();
    let mut from = Some(TenantId(0));
    while let Some(tenant) = from {
        let next = at.range(&store.tasks, key::tenant(tenant)..).next();
        let found = next.and_then(|record| record.key().ok()).and_then(|key| key::parse_task(&key));
        tenants.extend(found.map(|task| task.tenant));
        from = found.and_then(|task| task.tenant.0.checked_add(1)).map(TenantId);
    }
    tenants
}
