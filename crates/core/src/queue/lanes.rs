//! Lanes: tasks of a tenant that run one after another. One of a lane's tasks holds it, from the moment when it
//! gets in line until it has ended, its retries included; the others wait for it here.

use super::Entrant;
use crate::id::{TaskId, TaskRef, TenantId};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What goes first in a lane: one that steers, then the earlier one.
type Rank = (bool, Timestamp, TaskId);

#[derive(Default)]
pub(super) struct Lanes(HashMap<(TenantId, Arc<str>), Lane>);

struct Lane {
    holder: TaskRef,
    waiting: BTreeMap<Rank, Entrant>,
}

fn rank(entrant: &Entrant) -> Rank {
    (!entrant.steers, entrant.submitted_at, entrant.task.task)
}

impl Lanes {
    /// Gives the lane to the task if nobody holds it; else the task waits for it. Says whether it may get in line.
    pub(super) fn enter(&mut self, entrant: &Entrant) -> bool {
        let Some(name) = &entrant.lane else { return true };
        let key = (entrant.task.tenant, name.clone());
        let lane = self.0.entry(key).or_insert_with(|| Lane { holder: entrant.task, waiting: BTreeMap::new() });
        if lane.holder == entrant.task {
            return true;
        }
        lane.waiting.insert(rank(entrant), entrant.clone());
        false
    }

    /// The task has ended. Gives back the one that holds the lane now and is to get in line.
    pub(super) fn leave(&mut self, entrant: &Entrant) -> Option<Entrant> {
        let key = (entrant.task.tenant, entrant.lane.clone()?);
        let lane = self.0.get_mut(&key)?;
        if lane.holder != entrant.task {
            lane.waiting.remove(&rank(entrant));
            return None;
        }
        if let Some((_, next)) = lane.waiting.pop_first() {
            lane.holder = next.task;
            return Some(next);
        }
        self.0.remove(&key);
        None
    }

    /// Who holds a lane, and who waits for it, in order.
    pub(super) fn of(&self, tenant: TenantId, lane: &Arc<str>) -> Vec<TaskRef> {
        let lane = self.0.get(&(tenant, lane.clone()));
        let tasks = lane
            .into_iter()
            .flat_map(|lane| std::iter::once(lane.holder).chain(lane.waiting.values().map(|entrant| entrant.task)));
        tasks.collect()
    }

    /// How many of the lane go before the task, the holder included, and who that is.
    pub(super) fn ahead(&self, entrant: &Entrant) -> Option<(u64, TaskRef)> {
        let lane = self.0.get(&(entrant.task.tenant, entrant.lane.clone()?))?;
        Some((lane.waiting.range(..rank(entrant)).count() as u64 + 1, lane.holder))
    }
}
