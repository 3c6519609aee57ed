//! Tasks that have not ended, in memory: what workers lease and renew, and what is looked through several
//! times a second for lapsed leases. Ended ones are on disk only.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tidewire_core::port::Filter;
use tidewire_core::{State, Task, TaskId, TaskRef};

/// Inputs of live tasks are kept in memory up to this, so that a lease needs no disk; beyond it they are read
/// again. Enough for 60,000 requests of 2 KiB.
const MAX_INPUT_BYTES: usize = 128 * 1024 * 1024;
/// How many tasks a list looks at before it lets the committer in.
const SCAN_STEP: usize = 1024;

/// A live task.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its record, the input left out.
    pub(super) task: Task,
    /// Its input; `None` where it is only on disk.
    pub(super) input: Option<Bytes>,
}

/// All live tasks, as far as they are committed.
#[derive(Default)]
pub(super) struct Live {
    tasks: RwLock<BTreeMap<TaskId, Arc<Entry>>>,
    input_bytes: AtomicUsize,
}

impl Live {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<TaskId, Arc<Entry>>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<TaskId, Arc<Entry>>> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, task: TaskRef) -> Option<Arc<Entry>> {
        self.read().get(&task.task).filter(|entry| entry.task.tenant == task.tenant).cloned()
    }

    /// Changes a task's record in place.
    pub(super) fn update<T>(&self, task: TaskRef, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut tasks = self.write();
        let entry = tasks.get_mut(&task.task).filter(|entry| entry.task.tenant == task.tenant)?;
        Some(change(Arc::make_mut(entry)))
    }

    /// Takes up committed entries: live ones are kept, ended ones let go of.
    pub(super) fn show(&self, entries: impl ExactSizeIterator<Item = Entry>) {
        if entries.len() == 0 {
            return;
        }
        let mut tasks = self.write();
        for mut entry in entries {
            let before = tasks.get(&entry.task.id).map_or(0, |known| input_bytes(known));
            self.input_bytes.fetch_sub(before, Ordering::Relaxed);
            if entry.task.state.is_ended() {
                tasks.remove(&entry.task.id);
                continue;
            }
            if self.input_bytes.load(Ordering::Relaxed) + input_bytes(&entry) > MAX_INPUT_BYTES {
                entry.input = None;
            }
            self.input_bytes.fetch_add(input_bytes(&entry), Ordering::Relaxed);
            tasks.insert(entry.task.id, Arc::new(entry));
        }
    }

    /// Lets go of an input that was erased.
    pub(super) fn forget_input(&self, task: TaskRef) {
        let freed = self.update(task, |entry| entry.input.take().map_or(0, |input| input.len()));
        self.input_bytes.fetch_sub(freed.unwrap_or(0), Ordering::Relaxed);
    }

    /// All of them.
    pub(super) fn refs(&self) -> Vec<TaskRef> {
        self.read().values().map(|entry| entry.task.at()).collect()
    }

    /// Takes up what a store holds that was opened again. A lease that was given out and had not reached the disk
    /// leaves its fence and its attempt behind: its worker may still be there, and no other lease may have them.
    pub(super) fn restart(&self, entries: Vec<Entry>) {
        let mut tasks = self.write();
        let before = std::mem::take(&mut *tasks);
        self.input_bytes.store(0, Ordering::Relaxed);
        for mut entry in entries {
            if let Some(known) = before.get(&entry.task.id)
                && known.task.fence > entry.task.fence
            {
                entry.task.fence = known.task.fence;
                entry.task.attempts = known.task.attempts;
                entry.task.state = known.task.state;
                entry.task.not_before = known.task.not_before;
            }
            tasks.insert(entry.task.id, Arc::new(entry));
        }
    }

    /// The newest `limit` that match.
    pub(super) fn list(&self, filter: &Filter, limit: usize) -> Vec<Task> {
        let mut found = Vec::new();
        let mut before = filter.newest().map_or(Bound::Unbounded, Bound::Excluded);
        let oldest = filter.oldest();
        loop {
            let tasks = self.read();
            let mut looked_at = None;
            for (id, entry) in tasks.range((Bound::Unbounded, before)).rev().take(SCAN_STEP) {
                if oldest.is_some_and(|oldest| *id < oldest) {
                    return found;
                }
                looked_at = Some(*id);
                if filter.matches(&entry.task) {
                    found.push(entry.task.clone());
                    if found.len() == limit {
                        return found;
                    }
                }
            }
            match looked_at {
                Some(id) => before = Bound::Excluded(id),
                None => return found,
            }
        }
    }

    /// How many are queued, and how many are running.
    pub(super) fn count(&self) -> (usize, usize) {
        let tasks = self.read();
        let queued = tasks.values().filter(|entry| entry.task.state == State::Queued).count();
        (queued, tasks.len() - queued)
    }
}

fn input_bytes(entry: &Entry) -> usize {
    entry.input.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::{Durability, OnDisconnect, Spec, TenantId, Timestamp};

    fn entry(number: u64) -> Entry {
        let id = TaskId::new(Timestamp::from_millis(number), 0, Durability::Durable);
        let spec = Spec {
            model: "m".into(),
            capability: "c".into(),
            input: Bytes::new(),
            on_disconnect: OnDisconnect::Continue,
            deadline: Timestamp::default(),
            max_attempts: 1,
            ..Spec::default()
        };
        Entry { task: Task::new(id, TenantId(1), spec, Timestamp::default()), input: Some(Bytes::from_static(b"in")) }
    }

    #[test]
    fn a_list_passes_over_more_tasks_than_it_looks_at_in_one_step() {
        let live = Live::default();
        let count = SCAN_STEP as u64 * 2 + 10;
        let entries: Vec<_> = (0..count).map(entry).collect();
        live.show(entries.into_iter());
        let all = live.list(&Filter::default(), usize::MAX);
        assert_eq!(all.len() as u64, count);
        assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    }

    #[test]
    fn inputs_of_tasks_that_are_gone_are_no_longer_counted() {
        let live = Live::default();
        live.show([0, 1, 2].map(entry).into_iter());
        let mut ended = entry(1);
        ended.task.state = State::Done;
        live.show([ended, entry(2)].into_iter());
        live.forget_input(entry(0).task.at());
        assert_eq!(live.input_bytes.load(Ordering::Relaxed), 2);
    }
}
