//! Whose turn it is among tenants: start-time fair queueing (Goyal, Vin and Cheng, 1996) by estimated tokens.
//!
//! Each tenant's tasks stand in the order they came. The tenant whose next task would *start* earliest in virtual
//! time goes first; a task moves its tenant's next start on by its tokens. A tenant that was away starts now: it
//! waits for no other tenant's backlog, and gets nothing for the time when it was away.

use crate::id::{TaskRef, TenantId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How many tenants a place in line looks at; beyond them it is scaled up. An estimate in any case.
const LOOKED_AT: usize = 256;

/// How many tenants' old finish times are kept before those that no longer matter are let go of.
const FINISHES: usize = 1024;

/// Tasks of one capability and priority that wait, in the order that is fair.
#[derive(Default)]
pub(super) struct Fair {
    tenants: HashMap<TenantId, Share>,
    /// The next start of each tenant that may run, and its first task's ticket.
    heads: BTreeSet<(u64, u64, TenantId)>,
    /// Tenants with as many running tasks as they may have.
    blocked: HashSet<TenantId>,
    /// Where the last task to be served started.
    virtual_time: u64,
    /// Where the last served task of each tenant ends in virtual time.
    finishes: HashMap<TenantId, u64>,
    len: usize,
}

struct Share {
    start: u64,
    /// By ticket.
    waiting: BTreeMap<u64, Waiting>,
    tokens: u64,
    /// Numbers tasks as they come, so that a place needs no counting. Begins in the middle, so that one that is put
    /// back gets a number before the first.
    next_number: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    task: TaskRef,
    tokens: u64,
    number: u64,
}

impl Share {
    fn first_ticket(&self) -> u64 {
        self.waiting.first_key_value().map_or(u64::MAX, |(ticket, _)| *ticket)
    }

    /// How many of its own stand before the task with this number; ones that were taken out count too.
    fn before(&self, number: u64) -> u64 {
        let first = self.waiting.first_key_value().map_or(number, |(_, waiting)| waiting.number);
        number.saturating_sub(first).min(self.waiting.len() as u64)
    }

    fn mean_tokens(&self) -> u64 {
        (self.tokens / (self.waiting.len() as u64).max(1)).max(1)
    }
}

impl Fair {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more task of a tenant, behind its others.
    pub(super) fn insert(&mut self, ticket: u64, task: TaskRef, tokens: u64) {
        self.stand(ticket, task, tokens, |share| {
            share.next_number += 1;
            share.next_number - 1
        });
    }

    fn stand(&mut self, ticket: u64, task: TaskRef, tokens: u64, number: impl FnOnce(&mut Share) -> u64) {
        let tokens = tokens.max(1);
        let start = self.virtual_time.max(self.finishes.get(&task.tenant).copied().unwrap_or(0));
        let share = self.tenants.entry(task.tenant).or_insert_with(|| Share {
            start,
            waiting: BTreeMap::new(),
            tokens: 0,
            next_number: 1 << 32,
        });
        self.heads.remove(&(share.start, share.first_ticket(), task.tenant));
        let number = number(share);
        share.waiting.insert(ticket, Waiting { task, tokens, number });
        share.tokens += tokens;
        self.len += 1;
        self.show_head(task.tenant);
    }

    /// Takes a task out, whoever's turn it is. Says whether it was there.
    pub(super) fn remove(&mut self, ticket: u64, tenant: TenantId) -> bool {
        let Some(share) = self.tenants.get_mut(&tenant) else { return false };
        let head = (share.start, share.first_ticket(), tenant);
        let Some(gone) = share.waiting.remove(&ticket) else { return false };
        share.tokens -= gone.tokens;
        self.len -= 1;
        self.heads.remove(&head);
        self.show_head(tenant);
        true
    }

    /// The first task of the tenant whose turn it is, among those that `may` run. One that may not is passed over
    /// until [`Fair::unblock`].
    pub(super) fn pop(&mut self, may: impl Fn(TenantId) -> bool) -> Option<(u64, TaskRef)> {
        loop {
            let (start, ticket, tenant) = self.heads.pop_first()?;
            if !may(tenant) {
                self.blocked.insert(tenant);
                continue;
            }
            let share = self.tenants.get_mut(&tenant)?;
            let served = share.waiting.remove(&ticket)?;
            share.tokens -= served.tokens;
            share.start = start.saturating_add(served.tokens);
            self.virtual_time = start;
            self.finishes.insert(tenant, share.start);
            self.len -= 1;
            self.show_head(tenant);
            self.forget_old_finishes();
            return Some((ticket, served.task));
        }
    }

    /// The task was not served after all: it stands where it stood.
    pub(super) fn put_back(&mut self, ticket: u64, task: TaskRef, tokens: u64) {
        let tokens = tokens.max(1);
        if let Some(finish) = self.finishes.get_mut(&task.tenant) {
            *finish = finish.saturating_sub(tokens);
        }
        if let Some(share) = self.tenants.get_mut(&task.tenant) {
            self.heads.remove(&(share.start, share.first_ticket(), task.tenant));
            share.start = share.start.saturating_sub(tokens);
        }
        self.stand(ticket, task, tokens, |share| {
            let first = share.waiting.first_key_value().map(|(_, waiting)| waiting.number);
            first.unwrap_or(share.next_number).saturating_sub(1)
        });
    }

    /// The tenant may run again.
    pub(super) fn unblock(&mut self, tenant: TenantId) {
        if self.blocked.remove(&tenant) {
            self.show_head(tenant);
        }
    }

    /// How many are served before this task, an estimate: its tenant's earlier ones, and of each other tenant those
    /// whose start in virtual time comes before its own.
    pub(super) fn ahead(&self, ticket: u64, tenant: TenantId) -> Option<u64> {
        let mine = self.tenants.get(&tenant)?;
        let own = mine.before(mine.waiting.get(&ticket)?.number);
        let start = mine.start.saturating_add(own.saturating_mul(mine.mean_tokens()));
        Some((own + self.of_others(tenant, start, ticket)).min((self.len as u64).saturating_sub(1)))
    }

    /// How many would be served before one more task of the tenant.
    pub(super) fn before_next(&self, tenant: TenantId) -> u64 {
        let (own, start) = match self.tenants.get(&tenant) {
            Some(mine) => (mine.waiting.len() as u64, mine.start.saturating_add(mine.tokens)),
            None => (0, self.virtual_time.max(self.finishes.get(&tenant).copied().unwrap_or(0))),
        };
        own + self.of_others(tenant, start, u64::MAX)
    }

    fn of_others(&self, tenant: TenantId, start: u64, ticket: u64) -> u64 {
        let (mut ahead, mut looked_at) = (0u64, 0u64);
        for (_, share) in self.tenants.iter().filter(|(other, _)| **other != tenant).take(LOOKED_AT) {
            looked_at += 1;
            if share.start < start || (share.start == start && share.first_ticket() < ticket) {
                let before = (start - share.start) / share.mean_tokens() + 1;
                ahead += before.min(share.waiting.len() as u64);
            }
        }
        let others = self.tenants.keys().filter(|other| **other != tenant).count() as u64;
        if looked_at < others { ahead.saturating_mul(others) / looked_at.max(1) } else { ahead }
    }

    /// Puts the tenant's first task up for its turn, or lets go of a tenant that has none.
    fn show_head(&mut self, tenant: TenantId) {
        let Some(share) = self.tenants.get(&tenant) else { return };
        if share.waiting.is_empty() {
            self.tenants.remove(&tenant);
            self.blocked.remove(&tenant);
        } else if !self.blocked.contains(&tenant) {
            self.heads.insert((share.start, share.first_ticket(), tenant));
        }
    }

    fn forget_old_finishes(&mut self) {
        if self.finishes.len() > FINISHES.max(2 * self.tenants.len()) {
            let (now, tenants) = (self.virtual_time, &self.tenants);
            self.finishes.retain(|tenant, finish| *finish > now || tenants.contains_key(tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Durability, TaskId};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn task(tenant: u32, number: u64) -> TaskRef {
        let task = TaskId::new(Timestamp::from_millis(1), u128::from(number), Durability::Durable);
        TaskRef { tenant: TenantId(tenant), task }
    }

    fn served(fair: &mut Fair) -> Option<u32> {
        fair.pop(|_| true).map(|(_, task)| task.tenant.0)
    }

    #[test]
    fn a_tenant_that_comes_late_is_next_however_much_another_one_has_queued() {
        let mut fair = Fair::default();
        for number in 0..10_000 {
            fair.insert(number, task(1, number), 300);
        }
        assert_eq!((served(&mut fair), served(&mut fair)), (Some(1), Some(1)));
        fair.insert(10_000, task(2, 10_000), 300);
        assert!(fair.ahead(10_000, TenantId(2)).unwrap() <= 1);
        assert_eq!(served(&mut fair), Some(2));
    }

    #[test]
    fn a_tenant_gets_nothing_for_the_time_when_it_was_away() {
        let mut fair = Fair::default();
        for number in 0..100 {
            fair.insert(number, task(1, number), 10);
        }
        for _ in 0..50 {
            served(&mut fair);
        }
        for number in 100..200 {
            fair.insert(number, task(2, number), 10);
        }
        let turns: Vec<u32> = (0..20).filter_map(|_| served(&mut fair)).collect();
        assert_eq!(turns.iter().filter(|&&tenant| tenant == 2).count(), 10, "{turns:?}");
    }

    #[test]
    fn tasks_that_are_taken_out_cost_their_tenant_nothing() {
        let mut fair = Fair::default();
        for number in 0..1000 {
            fair.insert(number, task(1, number), 100);
        }
        for number in 0..1000 {
            assert!(fair.remove(number, TenantId(1)));
        }
        fair.insert(1000, task(2, 1000), 100);
        fair.insert(1001, task(1, 1001), 100);
        fair.insert(1002, task(2, 1002), 100);
        assert_eq!((served(&mut fair), served(&mut fair)), (Some(2), Some(1)));
    }

    #[test]
    fn a_tenant_that_may_run_no_more_is_passed_over_until_it_may() {
        let mut fair = Fair::default();
        fair.insert(0, task(1, 0), 1);
        fair.insert(1, task(2, 1), 1);
        assert_eq!(fair.pop(|tenant| tenant.0 != 1).map(|(_, task)| task.tenant.0), Some(2));
        assert_eq!(served(&mut fair), None, "blocked until it is told otherwise");
        fair.unblock(TenantId(1));
        assert_eq!(served(&mut fair), Some(1));
    }

    #[test]
    fn one_that_was_put_back_is_served_next_and_paid_once() {
        let mut fair = Fair::default();
        fair.insert(0, task(1, 0), 5);
        fair.insert(1, task(1, 1), 5);
        let (ticket, first) = fair.pop(|_| true).unwrap();
        fair.put_back(ticket, first, 5);
        assert_eq!(fair.ahead(1, TenantId(1)), Some(1));
        assert_eq!(fair.pop(|_| true), Some((ticket, first)));
    }

    proptest! {
        /// Over any stretch in which two tenants both have tasks, neither gets ahead of the other by more than
        /// one task of each (the bound of the method's authors).
        #[test]
        fn no_tenant_gets_ahead_by_more_than_a_task(tokens in prop::collection::vec((1u64..500, 1u64..500), 2..60)) {
            let mut fair = Fair::default();
            for (number, (a, b)) in (0..).step_by(2).zip(&tokens) {
                fair.insert(number, task(1, number), *a);
                fair.insert(number + 1, task(2, number + 1), *b);
            }
            let cost = |task: TaskRef, ticket: u64| {
                let (a, b) = tokens[usize::try_from(ticket / 2).unwrap()];
                if task.tenant.0 == 1 { (a, 0) } else { (0, b) }
            };
            let most = tokens.iter().map(|(a, b)| a + b).max().unwrap() * 2;
            let mut sums = (0, 0);
            let mut counts = [0; 3];
            while let Some((ticket, task)) = fair.pop(|_| true) {
                let (a, b) = cost(task, ticket);
                sums = (sums.0 + a, sums.1 + b);
                counts[task.tenant.0 as usize] += 1;
                if counts[1] < tokens.len() && counts[2] < tokens.len() {
                    prop_assert!(u64::abs_diff(sums.0, sums.1) <= most, "{sums:?}");
                }
            }
            prop_assert_eq!(counts, [0, tokens.len(), tokens.len()]);
        }
    }
}
