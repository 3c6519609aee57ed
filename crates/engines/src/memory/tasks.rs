//! All tasks: by name, by idempotency key, and in the order of their age.

use super::lock;
use super::room::Room;
use super::shards::Shards;
use std::collections::BTreeSet;
use std::sync::Mutex;
use tidewire_core::port::{FamilyError, Filter, SubmitError, Submitted, TaskPage, Unavailable};
use tidewire_core::{Ending, State, Task, TaskId, TaskRef, TenantId, Timestamp};

/// What a task costs besides its texts: its record, and its places in the maps and the order.
const TASK_BYTES: usize = 768;
/// How many names a list takes from the order at a time, so that it holds up no submit for long.
const LIST_CHUNK: usize = 256;

#[derive(Default)]
pub(super) struct Tasks {
    records: Shards<TaskRef, Task>,
    keys: Shards<(TenantId, String), TaskId>,
    order: Mutex<Order>,
}

/// Names in the order of their age. A name stands here before its record is there, and after it is gone.
#[derive(Default)]
struct Order {
    all: BTreeSet<(TaskId, TenantId)>,
    // Those that have not ended, so that a sweep over them does not wade through all that have.
    live: BTreeSet<(TaskId, TenantId)>,
}

fn cost_bytes(task: &Task) -> usize {
    let metadata = task.spec.metadata.as_ref().map_or(0, String::len);
    // Once in the record, once in the map of keys.
    let key = task.idempotency.as_ref().map_or(0, |idempotency| 2 * idempotency.key.len());
    TASK_BYTES + task.spec.input.len() + task.spec.model.len() + metadata + key
}

impl Tasks {
    /// Keeps a task. Its log is made before its record is there: whoever looks through all tasks may run it at once.
    pub(super) fn submit(
        &self,
        task: Task,
        room: &Room,
        make_log: impl FnOnce() -> Result<(), Unavailable>,
    ) -> Result<Submitted, SubmitError> {
        let Some(idempotency) = task.idempotency.clone() else {
            return self.keep(task, room, make_log);
        };
        let key = (task.tenant, idempotency.key);
        // Held until the task is kept, so that of two submits with one key the second finds the first.
        let mut keys = self.keys.shard(&key);
        let known = keys.get(&key).and_then(|id| self.get(TaskRef { tenant: task.tenant, task: *id }));
        if let Some(known) = known {
            let same = known.idempotency.as_ref().is_some_and(|known| known.body_hash == idempotency.body_hash);
            return if same {
                Ok(Submitted { task: known, fresh: false })
            } else {
                Err(SubmitError::KeyConflict { task: known.id })
            };
        }
        let submitted = self.keep(task, room, make_log)?;
        keys.insert(key, submitted.task.id);
        Ok(submitted)
    }

    fn keep(
        &self,
        task: Task,
        room: &Room,
        make_log: impl FnOnce() -> Result<(), Unavailable>,
    ) -> Result<Submitted, SubmitError> {
        let at = task.at();
        if let Some(known) = self.get(at) {
            return Ok(Submitted { task: known, fresh: false });
        }
        if let Some(retry) = self.retry_of(&task) {
            return Ok(Submitted { task: retry, fresh: false });
        }
        room.take(cost_bytes(&task))?;
        let made = make_log().map_err(SubmitError::from);
        if let Err(refused) = made.and_then(|()| Ok(self.take_into_family(&task)?)) {
            room.give_back(cost_bytes(&task));
            return Err(refused);
        }
        {
            let mut order = lock(&self.order);
            order.all.insert((at.task, at.tenant));
            order.live.insert((at.task, at.tenant));
        }
        self.records.shard(&at).insert(at, task.clone());
        // A stop of the parent that came between the count and this found no child to stop.
        let stopped = |above: TaskRef| self.get(above).is_none_or(|above| above.stop_requested);
        if task.parent().is_some_and(stopped) || task.root().is_some_and(stopped) {
            self.change(at, Task::request_stop);
        }
        Ok(Submitted { task, fresh: true })
    }

    /// The task that tries the same dead letter again, if there is one.
    fn retry_of(&self, task: &Task) -> Option<Task> {
        let dead = TaskRef { tenant: task.tenant, task: task.spec.origin.retry_of? };
        let retry = self.get(dead)?.retried_as?;
        self.get(TaskRef { tenant: task.tenant, task: retry })
    }

    /// Counts a new task against its parent and its root, and marks the dead letter that it tries again.
    fn take_into_family(&self, task: &Task) -> Result<(), FamilyError> {
        let parent = task.parent().filter(|parent| Some(*parent) != task.root());
        for above in parent.into_iter().chain(task.root()) {
            self.change(above, |above| above.take_child(task)).ok_or(FamilyError::Unknown)??;
        }
        if let Some(dead) = task.spec.origin.retry_of {
            let dead = TaskRef { tenant: task.tenant, task: dead };
            self.change(dead, |dead| dead.retried(task.id)).ok_or(FamilyError::Unknown)??;
        }
        Ok(())
    }

    pub(super) fn get(&self, task: TaskRef) -> Option<Task> {
        self.records.shard(&task).get(&task).cloned()
    }

    /// Changes a record in place; `None` where there is none.
    pub(super) fn change<T>(&self, task: TaskRef, change: impl FnOnce(&mut Task) -> T) -> Option<T> {
        self.records.shard(&task).get_mut(&task).map(change)
    }

    /// Says whether this was the first ending; `None` where there is no such task.
    pub(super) fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Option<bool> {
        let usage = ending.usage;
        let (first, root) = self.change(task, |record| (record.finish(at, ending), record.root()))?;
        if first {
            lock(&self.order).live.remove(&(task.task, task.tenant));
            if let Some(root) = root {
                self.change(root, |root| root.charge(usage));
            }
        }
        Some(first)
    }

    /// Forgets what was asked for. Gives back how many bytes that was.
    pub(super) fn forget_input(&self, task: TaskRef) -> usize {
        let forget = |record: &mut Task| std::mem::take(&mut record.spec.input).len();
        self.change(task, forget).unwrap_or(0)
    }

    /// Forgets the task if it has ended. Gives back what it was charged.
    pub(super) fn remove_ended(&self, task: TaskRef) -> usize {
        let record = {
            let mut shard = self.records.shard(&task);
            if !shard.get(&task).is_some_and(|record| record.state.is_ended()) {
                return 0;
            }
            shard.remove(&task)
        };
        let Some(record) = record else { return 0 };
        lock(&self.order).all.remove(&(task.task, task.tenant));
        let cost = cost_bytes(&record);
        if let Some(idempotency) = record.idempotency {
            let key = (task.tenant, idempotency.key);
            let mut keys = self.keys.shard(&key);
            // A task that was submitted with the key since then keeps it.
            if keys.get(&key) == Some(&task.task) {
                keys.remove(&key);
            }
        }
        cost
    }

    pub(super) fn list(&self, filter: &Filter) -> TaskPage {
        let mut page = TaskPage::default();
        if let (Some(tenant), Some(key)) = (filter.tenant, &filter.key) {
            let key = (tenant, key.clone());
            let task = self.keys.shard(&key).get(&key).copied();
            let record = task.and_then(|task| self.get(TaskRef { tenant, task }));
            page.tasks.extend(record.filter(|record| filter.matches(record)));
            return page;
        }
        let (mut before, oldest) = (filter.newest(), filter.oldest());
        loop {
            let names = self.older(before, only_live(filter));
            for task in &names {
                if oldest.is_some_and(|oldest| task.task < oldest) {
                    return page;
                }
                before = Some(task.task);
                let found = self.records.shard(task).get(task).filter(|record| filter.matches(record)).cloned();
                let Some(found) = found else { continue };
                if page.tasks.len() == filter.limit {
                    // One more than fits: the page has a next one.
                    page.next = page.tasks.last().map(|last| last.id);
                    return page;
                }
                page.tasks.push(found);
            }
            if names.len() < LIST_CHUNK {
                return page;
            }
        }
    }

    fn older(&self, before: Option<TaskId>, only_live: bool) -> Vec<TaskRef> {
        let order = lock(&self.order);
        let names = if only_live { &order.live } else { &order.all };
        let chunk = |names: &mut dyn Iterator<Item = &(TaskId, TenantId)>| {
            names.take(LIST_CHUNK).map(|&(task, tenant)| TaskRef { tenant, task }).collect()
        };
        match before {
            Some(before) => chunk(&mut names.range(..(before, TenantId(0))).rev()),
            None => chunk(&mut names.iter().rev()),
        }
    }
}

/// Whether nothing that has ended can match.
fn only_live(filter: &Filter) -> bool {
    let live = |state: &State| !state.is_ended();
    filter.lapsed_before.is_some() || (!filter.states.is_empty() && filter.states.iter().all(live))
}
