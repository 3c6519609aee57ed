//! What waits for one capability: three priorities, a window of what is offered, and a pace.

use super::fair::Fair;
use super::pace::Pace;
use crate::id::{TaskRef, TenantId};
use crate::task::Priority;
use std::time::Duration;

/// A priority that waits goes next after so many tasks of higher ones went before it: a sixteenth keeps it alive,
/// and delays the higher ones by no more.
const PASSED_OVER: u32 = 16;

#[derive(Default)]
pub(super) struct Work {
    classes: [Fair; 3],
    /// How often each priority was passed over while it waited.
    passed: [u32; 3],
    /// Workers that wait for a task.
    pub(super) wanted: usize,
    /// Tasks that are offered and not claimed.
    pub(super) offered: usize,
    pub(super) pace: Pace,
}

impl Work {
    pub(super) fn class(&mut self, priority: Priority) -> &mut Fair {
        &mut self.classes[priority as usize]
    }

    pub(super) fn classes(&mut self) -> &mut [Fair] {
        &mut self.classes
    }

    pub(super) fn waiting(&self) -> usize {
        self.classes.iter().map(Fair::len).sum()
    }

    /// The next task: of the highest priority, unless a lower one was passed over too often.
    pub(super) fn pop(&mut self, may: impl Fn(TenantId) -> bool) -> Option<(u64, TaskRef)> {
        let starved = (1..self.classes.len()).rev().find(|&place| self.passed[place] >= PASSED_OVER);
        let order = starved.into_iter().chain(0..self.classes.len());
        for place in order {
            if let Some(next) = self.classes[place].pop(&may) {
                self.passed[place] = 0;
                for lower in place + 1..self.classes.len() {
                    if self.classes[lower].len() > 0 {
                        self.passed[lower] += 1;
                    }
                }
                return Some(next);
            }
        }
        None
    }

    /// How many go before a waiting task, an estimate.
    pub(super) fn ahead(&self, ticket: u64, tenant: TenantId, priority: Priority) -> u64 {
        let own = self.classes[priority as usize].ahead(ticket, tenant).unwrap_or(0);
        self.offered as u64 + self.higher(priority) + own
    }

    /// How many would go before one more task.
    pub(super) fn before_next(&self, tenant: TenantId, priority: Priority) -> u64 {
        self.offered as u64 + self.higher(priority) + self.classes[priority as usize].before_next(tenant)
    }

    fn higher(&self, priority: Priority) -> u64 {
        self.classes[..priority as usize].iter().map(|class| class.len() as u64).sum()
    }

    /// How long one waits that has so many ahead.
    pub(super) fn wait(&self, ahead: u64) -> Option<Duration> {
        if ahead < self.wanted.saturating_sub(self.offered) as u64 {
            return Some(Duration::ZERO);
        }
        self.pace.wait(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Durability, TaskId};
    use crate::time::Timestamp;

    fn task(number: u64) -> TaskRef {
        let id = TaskId::new(Timestamp::from_millis(1), u128::from(number), Durability::Durable);
        TaskRef { tenant: TenantId::DEFAULT, task: id }
    }

    #[test]
    fn a_higher_priority_goes_first_and_a_lower_one_still_gets_its_share() {
        let mut work = Work::default();
        for number in 0..100 {
            work.class(Priority::Bulk).insert(number, task(number), 1);
            work.class(Priority::Interactive).insert(100 + number, task(100 + number), 1);
        }
        let order: Vec<u64> = (0..34).filter_map(|_| work.pop(|_| true)).map(|(ticket, _)| ticket).collect();
        assert!(order[..16].iter().all(|ticket| *ticket >= 100), "{order:?}");
        assert_eq!((order[16], order[33]), (0, 1), "{order:?}");
        assert_eq!(work.ahead(50, TenantId::DEFAULT, Priority::Bulk), 68 + 48);
    }
}
