//! The account book: sums by tenant, and which tasks are in them.

use std::collections::{HashMap, HashSet, VecDeque};
use tidewire_core::port::Totals;
use tidewire_core::{TaskRef, TenantId, Usage};

/// How many settled tasks are remembered, so that settling again is noticed: about 16 MB. A settlement is
/// repeated seconds after the first, when a reaper replays it, and not a quarter of a million tasks later.
const REMEMBERED: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct Accounts {
    totals: HashMap<TenantId, Totals>,
    settled: HashSet<TaskRef>,
    order: VecDeque<TaskRef>,
}

impl Accounts {
    /// Says whether this was the first time.
    pub(super) fn settle(&mut self, task: TaskRef, usage: Usage) -> bool {
        if !self.settled.insert(task) {
            return false;
        }
        self.order.push_back(task);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.settled.remove(&oldest);
        }
        let totals = self.totals.entry(task.tenant).or_default();
        totals.tasks += 1;
        totals.usage = totals.usage.plus(usage);
        true
    }

    pub(super) fn totals(&self, tenant: TenantId) -> Totals {
        self.totals.get(&tenant).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::{Durability, TaskId, Timestamp};

    #[test]
    fn the_oldest_settlements_are_forgotten_and_stay_in_the_totals() {
        let mut accounts = Accounts::default();
        let task = |number: usize| TaskRef {
            tenant: TenantId::DEFAULT,
            task: TaskId::new(Timestamp::from_millis(1), number as u128, Durability::Transient),
        };
        for number in 0..=REMEMBERED {
            assert!(accounts.settle(task(number), Usage::default()));
        }
        assert_eq!(accounts.settled.len(), REMEMBERED);
        assert!(!accounts.settle(task(REMEMBERED), Usage::default()));
        assert_eq!(accounts.totals(TenantId::DEFAULT).tasks, REMEMBERED as u64 + 1);
    }
}
