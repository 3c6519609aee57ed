//! All tasks that the queue knows, and where each of them is: a plain data structure, no waiting and no I/O.

mod census;

use super::lanes::Lanes;
use super::work::Work;
use super::{Bounds, Entrant, Full, Left, Overdue, Place, Standing, Turn};
use crate::id::{TaskRef, TenantId};
use crate::task::{Priority, Task};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A refused client tries again when a tenth of what waits has gone, at least and at most so late.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A wait has outgrown its estimate when it took twice as long, and a second longer: below that nobody notices.
const OUTGROWN: Duration = Duration::from_secs(1);

/// By what the caller's clock says it is.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) monotonic: Duration,
}

/// The tasks that wait and run.
pub(super) struct Line {
    bounds: Bounds,
    next_ticket: u64,
    next_turn: u64,
    // By name, so that offers go round in an order that a test can repeat.
    works: BTreeMap<Arc<str>, Work>,
    entries: HashMap<TaskRef, Entry>,
    lanes: Lanes,
    scheduled: BTreeSet<(Timestamp, TaskRef)>,
    /// When each wait is looked at next: then it has outgrown its estimate.
    promises: BTreeSet<(Duration, TaskRef)>,
    /// Seats and tasks that wait, by tenant.
    waiting_by_tenant: HashMap<TenantId, usize>,
    waiting: usize,
    reserved: usize,
    /// Offered and running ones, by tenant.
    busy_by_tenant: HashMap<TenantId, usize>,
    busy: usize,
}

struct Entry {
    entrant: Entrant,
    at: At,
    /// When its wait is looked at, and whether an estimate was given by then.
    promise: Option<(Duration, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Gets in line at a moment.
    Scheduled(Timestamp),
    /// Waits for the lane.
    Lane,
    /// Waits for a worker.
    Line { ticket: u64 },
    /// Offered to workers.
    Offered { ticket: u64 },
    /// A worker has it.
    Running { turn: Turn, since: Duration },
    /// A worker had it and lost it without ending it.
    Away,
    /// It has ended, and is about to be forgotten.
    Ended,
}

impl At {
    fn waits(self) -> bool {
        !matches!(self, Self::Running { .. } | Self::Away | Self::Ended)
    }

    fn is_busy(self) -> bool {
        matches!(self, Self::Offered { .. } | Self::Running { .. })
    }
}

fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn uncount<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) -> usize {
    let Some(count) = counts.get_mut(key) else { return 0 };
    *count = count.saturating_sub(1);
    let left = *count;
    if left == 0 {
        counts.remove(key);
    }
    left
}

impl Line {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next_ticket: 0,
            next_turn: 0,
            works: BTreeMap::new(),
            entries: HashMap::new(),
            lanes: Lanes::default(),
            scheduled: BTreeSet::new(),
            promises: BTreeSet::new(),
            waiting_by_tenant: HashMap::new(),
            waiting: 0,
            reserved: 0,
            busy_by_tenant: HashMap::new(),
            busy: 0,
        }
    }

    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether it waits or runs here.
    pub(super) fn knows(&self, task: TaskRef) -> bool {
        self.entries.get(&task).is_some_and(|entry| entry.at != At::Away)
    }

    pub(super) fn lane(&self, tenant: TenantId, lane: &Arc<str>) -> Vec<TaskRef> {
        self.lanes.of(tenant, lane)
    }

    /// Holds room, unless the bounds are reached or the wait would outlast the deadline.
    pub(super) fn reserve(&mut self, task: &Task, now: Moment) -> Result<(), Full> {
        let of_tenant = self.waiting_by_tenant.get(&task.tenant).copied().unwrap_or(0);
        let in_all = self.waiting + self.reserved;
        for (waiting, bound) in [(in_all, self.bounds.waiting), (of_tenant, self.bounds.waiting_per_tenant)] {
            if waiting >= bound {
                return Err(Full::Bound { waiting, bound, retry_after: self.retry_after(&task.spec.waits_for()) });
            }
        }
        if task.spec.turn.start_at.is_none()
            && let Some(work) = self.works.get(&task.spec.waits_for())
            && let Some(wait) = work.wait(work.before_next(task.tenant, task.spec.turn.priority))
        {
            let patience = task.spec.deadline.since(now.wall);
            if wait > patience {
                let retry_after = self.retry_after(&task.spec.waits_for());
                return Err(Full::TooLate { wait, patience, retry_after });
            }
        }
        self.reserved += 1;
        count(&mut self.waiting_by_tenant, task.tenant);
        Ok(())
    }

    /// When a tenth of what waits for the capability will have gone.
    fn retry_after(&self, capability: &Arc<str>) -> Duration {
        let wait = self.works.get(capability).and_then(|work| work.wait(work.waiting() as u64 / 10));
        wait.unwrap_or_default().clamp(RETRY_AFTER.0, RETRY_AFTER.1)
    }

    pub(super) fn give_up(&mut self, tenant: TenantId) {
        self.reserved = self.reserved.saturating_sub(1);
        uncount(&mut self.waiting_by_tenant, &tenant);
    }

    /// Takes a task up: one that is new, or one whose worker was lost. One that waits stays where it is.
    pub(super) fn enter(&mut self, entrant: &Entrant, now: Moment) {
        let task = entrant.task;
        match self.entries.get(&task).map(|entry| entry.at) {
            Some(at) if at.waits() => return,
            Some(_) => self.put(task, At::Lane, now),
            None => {
                self.entries.insert(task, Entry { entrant: entrant.clone(), at: At::Lane, promise: None });
                self.waiting += 1;
                count(&mut self.waiting_by_tenant, task.tenant);
            }
        }
        match entrant.not_before.filter(|moment| *moment > now.wall) {
            Some(moment) => self.put(task, At::Scheduled(moment), now),
            None => self.queue_up(entrant, now),
        }
    }

    /// Into the lane, or past it into the line.
    fn queue_up(&mut self, entrant: &Entrant, now: Moment) {
        if self.lanes.enter(entrant) {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            let work = self.works.entry(entrant.capability.clone()).or_default();
            work.class(entrant.priority).insert(ticket, entrant.task, entrant.tokens);
            self.put(entrant.task, At::Line { ticket }, now);
        } else {
            self.put(entrant.task, At::Lane, now);
        }
        self.promise(entrant.task, now);
    }

    /// Moves a task, and keeps the counts and the orders that it leaves behind right.
    fn put(&mut self, task: TaskRef, to: At, now: Moment) {
        let Some(entry) = self.entries.get_mut(&task) else { return };
        let from = std::mem::replace(&mut entry.at, to);
        if !to.waits()
            && let Some((due, _)) = entry.promise.take()
        {
            self.promises.remove(&(due, task));
        }
        let (capability, priority) = (entry.entrant.capability.clone(), entry.entrant.priority);
        self.detach(task, &capability, priority, (from, to), now);
        match to {
            At::Scheduled(moment) => {
                self.scheduled.insert((moment, task));
            }
            At::Offered { .. } => {
                if let Some(work) = self.works.get_mut(&capability) {
                    work.offered += 1;
                }
            }
            At::Running { .. } => {
                if let Some(work) = self.works.get_mut(&capability) {
                    work.pace.began();
                }
            }
            At::Lane | At::Line { .. } | At::Away | At::Ended => {}
        }
        match (from.waits(), to.waits()) {
            (true, false) => {
                self.waiting -= 1;
                uncount(&mut self.waiting_by_tenant, &task.tenant);
            }
            (false, true) => {
                self.waiting += 1;
                count(&mut self.waiting_by_tenant, task.tenant);
            }
            _ => {}
        }
        match (from.is_busy(), to.is_busy()) {
            (false, true) => {
                self.busy += 1;
                count(&mut self.busy_by_tenant, task.tenant);
            }
            (true, false) => self.less_busy(task.tenant),
            _ => {}
        }
    }

    fn less_busy(&mut self, tenant: TenantId) {
        self.busy = self.busy.saturating_sub(1);
        let left = uncount(&mut self.busy_by_tenant, &tenant);
        if left + 1 >= self.bounds.running_per_tenant {
            self.works.values_mut().flat_map(Work::classes).for_each(|class| class.unblock(tenant));
        }
    }

    /// Out of whichever order the task stood in.
    fn detach(&mut self, task: TaskRef, capability: &Arc<str>, priority: Priority, (from, to): (At, At), now: Moment) {
        let work = self.works.get_mut(capability);
        match (from, work) {
            (At::Scheduled(moment), _) => {
                self.scheduled.remove(&(moment, task));
            }
            (At::Line { ticket }, Some(work)) => {
                work.class(priority).remove(ticket, task.tenant);
            }
            (At::Offered { .. }, Some(work)) => work.offered = work.offered.saturating_sub(1),
            // How long a lost worker had it says nothing of how long a run takes.
            (At::Running { .. }, Some(work)) if matches!(to, At::Away | At::Lane) => work.pace.left(),
            (At::Running { since, .. }, Some(work)) => work.pace.ended(now.monotonic.saturating_sub(since)),
            _ => {}
        }
    }

    /// The task has ended, or is not the queue's any more. Says whether it was known.
    pub(super) fn remove(&mut self, task: TaskRef, now: Moment) -> bool {
        if !self.entries.contains_key(&task) {
            return false;
        }
        self.put(task, At::Ended, now);
        let Some(entry) = self.entries.remove(&task) else { return false };
        if let Some(next) = self.lanes.leave(&entry.entrant) {
            self.queue_up(&next, now);
        }
        true
    }

    /// Tasks whose moment has come get in line. Gives back the next moment.
    pub(super) fn due(&mut self, now: Moment) -> Option<Timestamp> {
        while let Some((moment, task)) = self.scheduled.first().copied() {
            if moment > now.wall {
                return Some(moment);
            }
            self.scheduled.remove(&(moment, task));
            let Some(entrant) = self.entries.get(&task).map(|entry| entry.entrant.clone()) else { continue };
            self.queue_up(&entrant, now);
        }
        None
    }

    pub(super) fn want(&mut self, capability: &Arc<str>) {
        self.works.entry(capability.clone()).or_default().wanted += 1;
    }

    /// Capabilities with workers that wait and tasks that might go to them.
    pub(super) fn hungry(&self) -> Vec<Arc<str>> {
        let hungry = |work: &&Work| work.offered < work.wanted + self.bounds.ahead && work.waiting() > 0;
        let works = self.works.iter().filter(|(_, work)| hungry(work));
        works.map(|(capability, _)| capability.clone()).collect()
    }

    /// The next task to offer, marked as offered; `None` where none is wanted or none may run.
    pub(super) fn take_offer(&mut self, capability: &Arc<str>, now: Moment) -> Option<TaskRef> {
        let work = self.works.get_mut(capability)?;
        if work.offered >= work.wanted + self.bounds.ahead || self.busy >= self.bounds.running {
            return None;
        }
        let (busy, bound) = (&self.busy_by_tenant, self.bounds.running_per_tenant);
        let (ticket, task) = work.pop(|tenant| busy.get(&tenant).copied().unwrap_or(0) < bound)?;
        self.put(task, At::Offered { ticket }, now);
        Some(task)
    }

    /// The offer did not go out: the task waits on, at its old place.
    pub(super) fn withdraw(&mut self, task: TaskRef, now: Moment) {
        let Some(Entry { entrant, at: At::Offered { ticket }, .. }) = self.entries.get(&task) else { return };
        let (entrant, ticket) = (entrant.clone(), *ticket);
        if let Some(work) = self.works.get_mut(&entrant.capability) {
            work.class(entrant.priority).put_back(ticket, task, entrant.tokens);
        }
        self.put(task, At::Line { ticket }, now);
    }

    /// A worker has it now.
    pub(super) fn claimed(&mut self, task: TaskRef, capability: &Arc<str>, now: Moment) -> Turn {
        if let Some(work) = self.works.get_mut(capability) {
            work.wanted = work.wanted.saturating_sub(1);
        }
        self.next_turn += 1;
        let turn = Turn(self.next_turn);
        // One that was stopped meanwhile is known no more: its lease will say so.
        if let Some(At::Offered { .. }) = self.entries.get(&task).map(|entry| entry.at) {
            self.put(task, At::Running { turn, since: now.monotonic }, now);
        }
        turn
    }

    /// The worker has it no more. A turn that is over is not heard: the task was given to another since.
    pub(super) fn left(&mut self, task: TaskRef, turn: Turn, left: Left, now: Moment) {
        let Some(entry) = self.entries.get_mut(&task) else { return };
        if !matches!(entry.at, At::Running { turn: current, .. } if current == turn) {
            return;
        }
        match left {
            Left::Ended => {
                self.remove(task, now);
            }
            Left::Again { not_before } => {
                entry.entrant.not_before = Some(not_before);
                self.put(task, At::Scheduled(not_before), now);
            }
            Left::Away => self.put(task, At::Away, now),
        }
    }

    /// Where a waiting task stands.
    pub(super) fn standing(&self, task: TaskRef, now: Moment) -> Option<Standing> {
        let entry = self.entries.get(&task)?;
        let entrant = &entry.entrant;
        let work = self.works.get(&entrant.capability);
        let ahead = match (entry.at, work) {
            (At::Line { ticket }, Some(work)) => work.ahead(ticket, task.tenant, entrant.priority),
            (At::Offered { .. }, _) => return Some(Standing { place: Place(0), wait: Some(Duration::ZERO) }),
            (At::Lane, _) => return self.standing_in_lane(entrant, now),
            (At::Scheduled(moment), _) => {
                return Some(Standing { place: Place(0), wait: Some(moment.since(now.wall)) });
            }
            _ => return None,
        };
        Some(Standing { place: Place(ahead), wait: work.and_then(|work| work.wait(ahead)) })
    }

    /// Behind the lane's earlier ones, one after another.
    fn standing_in_lane(&self, entrant: &Entrant, now: Moment) -> Option<Standing> {
        let (ahead, holder) = self.lanes.ahead(entrant)?;
        let of_holder = self.standing(holder, now);
        let mean = self.works.get(&entrant.capability).and_then(|work| work.pace.mean());
        let turns = u32::try_from(ahead).unwrap_or(u32::MAX);
        let wait = mean.map(|mean| mean.saturating_mul(turns));
        let before = of_holder.map_or(Some(Duration::ZERO), |standing| standing.wait);
        let place = Place(ahead + of_holder.map_or(0, |standing| standing.place.0));
        Some(Standing { place, wait: wait.zip(before).map(|(wait, before)| wait.saturating_add(before)) })
    }

    /// Notes by when the task should have been taken.
    fn promise(&mut self, task: TaskRef, now: Moment) {
        let Some(wait) = self.standing(task, now).map(|standing| standing.wait) else { return };
        // Without an estimate it is looked at again soon.
        let patience = wait.map_or(OUTGROWN, |wait| wait.saturating_mul(2).max(wait.saturating_add(OUTGROWN)));
        let due = now.monotonic.saturating_add(patience);
        let Some(entry) = self.entries.get_mut(&task) else { return };
        if let Some((before, _)) = entry.promise.replace((due, wait.is_some())) {
            self.promises.remove(&(before, task));
        }
        self.promises.insert((due, task));
    }

    /// Tasks whose wait has outgrown its estimate, at most `limit`; each gets a new estimate.
    pub(super) fn overdue(&mut self, limit: usize, now: Moment) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        while overdue.len() < limit
            && let Some((due, task)) = self.promises.first().copied().filter(|(due, _)| *due <= now.monotonic)
        {
            self.promises.remove(&(due, task));
            let Some(entry) = self.entries.get_mut(&task) else { continue };
            let estimated = entry.promise.take().is_some_and(|(_, estimated)| estimated);
            self.promise(task, now);
            if estimated && let Some(standing) = self.standing(task, now) {
                overdue.push(Overdue { task, standing });
            }
        }
        overdue
    }
}
