//! Which answers have been asked for and are not there yet: a hint for whoever asks for the same, so that it waits for no
//! slot. A lie costs it a wait or a slot too many, never an answer.

use crate::id::TaskRef;
use crate::port::CacheKey;
use crate::task::Priority;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Announcements are a hint: beyond so many, tasks go without. 100 bytes each.
const MOST: usize = 100_000;

/// How long a task counts that was announced and that nobody knows yet: its commit is under way.
const COMMIT: Duration = Duration::from_secs(10);

/// Who has asked for which answer.
#[derive(Debug, Default)]
pub struct Announced(Mutex<HashMap<CacheKey, Announcement>>);

#[derive(Clone, Copy, Debug)]
struct Announcement {
    task: TaskRef,
    priority: Priority,
    at: Duration,
    /// It is in line: from then on the queue knows whether it lives.
    entered: bool,
}

impl Announcement {
    fn lives(&self, now: Duration, lives: impl Fn(TaskRef) -> bool) -> bool {
        if self.entered { lives(self.task) } else { now.saturating_sub(self.at) < COMMIT }
    }
}

impl Announced {
    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Announcement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task asks for this answer: whether another one, at least as pressing and still alive, has before. If not, this is
    /// the one. `lives`: whether the queue knows a task.
    pub fn announce(
        &self,
        key: CacheKey,
        (task, priority): (TaskRef, Priority),
        now: Duration,
        lives: impl Fn(TaskRef) -> bool,
    ) -> bool {
        let mut all = self.lock();
        let is_there = |known: &Announcement| known.lives(now, &lives);
        if let Some(known) = all.get(&key)
            && known.priority <= priority
            && is_there(known)
        {
            return true;
        }
        if all.len() >= MOST {
            all.retain(|_, known| is_there(known));
        }
        if all.len() < MOST {
            all.insert(key, Announcement { task, priority, at: now, entered: false });
        }
        false
    }

    /// Whether the one who asked first is on its way to a slot.
    pub fn is_awaited(&self, key: CacheKey, now: Duration, lives: impl Fn(TaskRef) -> bool) -> bool {
        let known = self.lock().get(&key).copied();
        known.is_some_and(|known| known.lives(now, lives))
    }

    /// The task is in line.
    pub fn entered(&self, key: CacheKey, task: TaskRef) {
        if let Some(known) = self.lock().get_mut(&key).filter(|known| known.task == task) {
            known.entered = true;
        }
    }

    /// The task has ended, or will never be.
    pub fn over(&self, key: CacheKey, task: TaskRef) {
        let mut all = self.lock();
        if all.get(&key).is_some_and(|known| known.task == task) {
            all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Durability, TaskId, TenantId};
    use crate::time::Timestamp;

    #[test]
    fn the_first_that_lives_is_the_one_unless_a_more_pressing_one_comes() {
        let announced = Announced::default();
        let task = |number| {
            let task = TaskId::new(Timestamp::from_millis(number), u128::from(number), Durability::Transient);
            TaskRef { tenant: TenantId(1), task }
        };
        let key = CacheKey([1; 32]);
        let late = Duration::from_mins(1);
        let normal = |number| (task(number), Priority::Normal);
        assert!(!announced.announce(key, normal(1), Duration::ZERO, |_| false));
        assert!(announced.announce(key, normal(2), Duration::ZERO, |_| false), "its commit may be under way");
        announced.entered(key, task(1));
        assert!(announced.announce(key, normal(3), late, |_| true));
        assert!(!announced.announce(key, (task(4), Priority::Interactive), late, |_| true));
        announced.entered(key, task(4));
        assert!(!announced.announce(key, normal(5), late + late, |_| false), "it is gone");
        announced.over(key, task(4));
        assert!(announced.is_awaited(key, late + late, |_| false), "another one's word");
        announced.over(key, task(5));
        assert!(!announced.is_awaited(key, late + late, |_| true));
    }
}
