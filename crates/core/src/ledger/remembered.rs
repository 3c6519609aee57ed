//! Which tasks were settled lately, so that settling one again is noticed.

use crate::id::TaskRef;
use std::collections::{HashSet, VecDeque};

/// How many settled tasks are remembered: about 16 MB. A settlement is repeated seconds after the first, when a reaper
/// replays it, and not a quarter of a million tasks later.
pub const REMEMBERED: usize = 256 * 1024;

/// The last tasks that were settled.
#[derive(Debug, Default)]
pub struct Remembered {
    tasks: HashSet<TaskRef>,
    order: VecDeque<TaskRef>,
}

impl Remembered {
    /// Remembers a task. `false` where it is remembered already.
    pub fn insert(&mut self, task: TaskRef) -> bool {
        if !self.tasks.insert(task) {
            return false;
        }
        self.order.push_back(task);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
        true
    }

    /// Remembers a task no longer: it was not settled after all.
    pub fn forget(&mut self, task: TaskRef) {
        // Its place in the order stays: it costs the next one of this name its time at worst.
        self.tasks.remove(&task);
    }

    /// Whether a task is remembered.
    pub fn contains(&self, task: TaskRef) -> bool {
        self.tasks.contains(&task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, TaskId, TenantId, Timestamp};

    #[test]
    fn the_oldest_are_forgotten() {
        let mut remembered = Remembered::default();
        let task = |number: usize| TaskRef {
            tenant: TenantId::DEFAULT,
            task: TaskId::new(Timestamp::from_millis(1), number as u128, Durability::Transient),
        };
        for number in 0..=REMEMBERED {
            assert!(remembered.insert(task(number)));
        }
        assert_eq!((remembered.tasks.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!remembered.insert(task(REMEMBERED)) && !remembered.contains(task(0)));
    }
}
