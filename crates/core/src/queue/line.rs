//! The order of waiting tasks, as a plain data structure: no clock, no waiting, no I/O.

use super::{Bounds, Full, Place};
use crate::id::{TaskRef, TenantId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Worth a try again: about as long as a short answer takes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The tasks that wait, by capability, in order.
pub(super) struct Line {
    bounds: Bounds,
    next_ticket: u64,
    lines: HashMap<Arc<str>, Waiting>,
    places: HashMap<TaskRef, (Arc<str>, u64)>,
    reserved: usize,
    by_tenant: HashMap<TenantId, usize>,
}

#[derive(Default)]
struct Waiting {
    /// Not offered yet, by ticket.
    unoffered: BTreeMap<u64, TaskRef>,
    /// Offered and not claimed, by ticket.
    offered: BTreeMap<u64, TaskRef>,
}

impl Line {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next_ticket: 0,
            lines: HashMap::new(),
            places: HashMap::new(),
            reserved: 0,
            by_tenant: HashMap::new(),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    pub(super) fn reserve(&mut self, tenant: TenantId) -> Result<(), Full> {
        let in_all = self.places.len() + self.reserved;
        let of_tenant = self.by_tenant.get(&tenant).copied().unwrap_or(0);
        for (waiting, bound) in [(in_all, self.bounds.waiting), (of_tenant, self.bounds.waiting_per_tenant)] {
            if waiting >= bound {
                return Err(Full { waiting, bound, retry_after: RETRY_AFTER });
            }
        }
        self.reserved += 1;
        *self.by_tenant.entry(tenant).or_default() += 1;
        Ok(())
    }

    pub(super) fn give_up(&mut self, tenant: TenantId) {
        self.reserved = self.reserved.saturating_sub(1);
        self.uncount(tenant);
    }

    fn uncount(&mut self, tenant: TenantId) {
        if let Some(count) = self.by_tenant.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                self.by_tenant.remove(&tenant);
            }
        }
    }

    pub(super) fn enter(&mut self, task: TaskRef, capability: &Arc<str>) -> Place {
        if let Some(place) = self.place(task) {
            return place;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let waiting = self.lines.entry(capability.clone()).or_default();
        let ahead = waiting.unoffered.len() + waiting.offered.len();
        waiting.unoffered.insert(ticket, task);
        self.places.insert(task, (capability.clone(), ticket));
        *self.by_tenant.entry(task.tenant).or_default() += 1;
        Place(ahead as u64)
    }

    /// Takes the task out; gives back its capability, whose window may have room now.
    pub(super) fn leave(&mut self, task: TaskRef) -> Option<Arc<str>> {
        let (capability, ticket) = self.places.remove(&task)?;
        if let Some(waiting) = self.lines.get_mut(&capability) {
            waiting.unoffered.remove(&ticket);
            waiting.offered.remove(&ticket);
        }
        self.uncount(task.tenant);
        Some(capability)
    }

    pub(super) fn has_room_in_window(&self, capability: &Arc<str>) -> bool {
        self.lines
            .get(capability)
            .is_some_and(|waiting| waiting.offered.len() < self.bounds.window && !waiting.unoffered.is_empty())
    }

    /// The next task to offer, marked as offered; `None` where the window is full or nobody waits.
    pub(super) fn take_offer(&mut self, capability: &Arc<str>) -> Option<TaskRef> {
        let waiting = self.lines.get_mut(capability)?;
        if waiting.offered.len() >= self.bounds.window {
            return None;
        }
        let (ticket, task) = waiting.unoffered.pop_first()?;
        waiting.offered.insert(ticket, task);
        Some(task)
    }

    /// The offer did not go out: the task waits on, at its old place.
    pub(super) fn withdraw(&mut self, task: TaskRef) {
        let Some((capability, ticket)) = self.places.get(&task) else {
            return;
        };
        if let Some(waiting) = self.lines.get_mut(capability)
            && waiting.offered.remove(ticket).is_some()
        {
            waiting.unoffered.insert(*ticket, task);
        }
    }

    /// How many are ahead. Tickets of tasks that were taken out from between count too: an estimate.
    pub(super) fn place(&self, task: TaskRef) -> Option<Place> {
        let (capability, ticket) = self.places.get(&task)?;
        let waiting = self.lines.get(capability)?;
        let first = waiting.offered.first_key_value().or_else(|| waiting.unoffered.first_key_value())?;
        let ahead = waiting.offered.len() + waiting.unoffered.len() - 1;
        Some(Place(ticket.saturating_sub(*first.0).min(ahead as u64)))
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

    fn line(waiting: usize, window: usize) -> Line {
        Line::new(Bounds { waiting, waiting_per_tenant: waiting, window })
    }

    #[test]
    fn tasks_are_offered_in_the_order_they_came_and_no_more_than_the_window() {
        let mut line = line(10, 2);
        let gpu: Arc<str> = "gpu".into();
        for number in 0..4u64 {
            assert_eq!(line.enter(task(number), &gpu), Place(number));
        }
        assert_eq!(line.take_offer(&gpu), Some(task(0)));
        assert_eq!(line.take_offer(&gpu), Some(task(1)));
        assert_eq!(line.take_offer(&gpu), None, "the window is full");
        assert_eq!(line.place(task(3)), Some(Place(3)));
        line.leave(task(0));
        assert_eq!(line.take_offer(&gpu), Some(task(2)));
        assert_eq!(line.place(task(3)), Some(Place(2)));
    }

    #[test]
    fn a_full_line_refuses_until_somebody_leaves() {
        let mut line = line(2, 8);
        let gpu: Arc<str> = "gpu".into();
        line.reserve(TenantId::DEFAULT).unwrap();
        line.give_up(TenantId::DEFAULT);
        line.enter(task(0), &gpu);
        line.reserve(TenantId::DEFAULT).unwrap();
        assert_eq!(line.reserve(TenantId::DEFAULT).unwrap_err().bound, 2, "a seat that is held counts");
        line.give_up(TenantId::DEFAULT);
        line.leave(task(0));
        line.reserve(TenantId::DEFAULT).unwrap();
    }

    #[test]
    fn an_offer_that_did_not_go_out_keeps_its_place() {
        let mut line = line(10, 8);
        let gpu: Arc<str> = "gpu".into();
        line.enter(task(0), &gpu);
        line.enter(task(1), &gpu);
        let first = line.take_offer(&gpu).unwrap();
        line.withdraw(first);
        assert_eq!(line.take_offer(&gpu), Some(task(0)));
    }

    #[test]
    fn a_task_that_is_in_line_enters_once() {
        let mut line = line(10, 8);
        let gpu: Arc<str> = "gpu".into();
        line.enter(task(0), &gpu);
        line.enter(task(0), &gpu);
        assert_eq!(line.waiting(), 1);
    }
}
