//! The queue: who runs next, how many may wait and run, and where each stands in line.
//!
//! ```text
//!  submit ──▶ scheduled ──▶ lane ──▶ line (priority, then fair among tenants) ──▶ offered ──▶ running ──▶ ended
//!                 ▲                                                                              │
//!                 └───────────────────────────── backoff between attempts ◀─────────────────────┘
//! ```
//!
//! Its tasks are committed in the [`TaskStore`](crate::port::TaskStore); what is here is their order, rebuilt
//! after a restart. It offers to [`Dispatch`] only what workers wait for, so that order, bounds and places stay
//! its own whatever carries the tasks, and a task that comes late and should go first does.

mod entrant;
mod fair;
mod lanes;
mod line;
mod pace;
#[cfg(test)]
mod tests;
mod work;

pub use entrant::Entrant;

use crate::id::{TaskRef, TenantId};
use crate::port::{Clock, Dispatch, Unavailable};
use crate::task::{Priority, Task};
use crate::time::Timestamp;
use line::{Line, Moment};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How much may wait and run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tasks waiting, in all.
    pub waiting: usize,
    /// Tasks waiting of one tenant.
    pub waiting_per_tenant: usize,
    /// Tasks running, in all.
    pub running: usize,
    /// Tasks running of one tenant.
    pub running_per_tenant: usize,
    /// Tasks of one capability that are offered before a worker waits for one. Nothing, where the workers are in this
    /// process; a few, where an offer travels.
    pub ahead: usize,
}

impl Default for Bounds {
    /// 100,000 waiting tasks are about 200 MB with their requests. What runs is bounded by the workers' slots.
    fn default() -> Self {
        Self {
            waiting: 100_000,
            waiting_per_tenant: 100_000,
            running: usize::MAX,
            running_per_tenant: usize::MAX,
            ahead: 0,
        }
    }
}

/// How many tasks are ahead, an estimate: 0 is the next to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// Where a waiting task stands. Both are estimates: others may come that go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many are ahead.
    pub place: Place,
    /// How long until it runs, by what the last tasks took; `None` before the first one has ended.
    pub wait: Option<Duration>,
}

/// A task whose wait has outgrown its estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub task: TaskRef,
    /// Where it stands now.
    pub standing: Standing,
}

/// Who waits and runs, counted for whoever looks at the queue from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Everybody.
    pub all: Crowd,
    /// Those of each priority.
    pub by_priority: BTreeMap<Priority, Crowd>,
    /// Those of each tenant.
    pub by_tenant: BTreeMap<TenantId, Crowd>,
    /// Those that wait for, and have, a worker with this capability.
    pub by_capability: BTreeMap<Arc<str>, Crowd>,
}

/// Some of the tasks that wait and run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// How many wait.
    pub waiting: usize,
    /// How many run.
    pub running: usize,
    /// When the one was submitted that has waited longest; none where all that wait do so for their own moment.
    pub oldest: Option<Timestamp>,
}

/// Names one claim of a task, so that a worker that lost it is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u64);

/// How a worker left a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It has ended.
    Ended,
    /// Another attempt follows.
    Again {
        /// Not before this moment.
        not_before: Timestamp,
    },
    /// It lost the lease, or can't write: whoever finds the task readmits it.
    Away,
}

/// No room. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many wait as may.
    #[error("{waiting} tasks are waiting and {bound} may; try again later")]
    Bound {
        /// How many wait.
        waiting: usize,
        /// How many may.
        bound: usize,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// It would wait past its deadline.
    #[error("the wait is about {} s and the task's deadline in {} s; try again later", wait.as_secs(), patience.as_secs())]
    TooLate {
        /// How long it would wait, an estimate.
        wait: Duration,
        /// How long it may.
        patience: Duration,
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

impl Full {
    /// When it is worth trying again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Bound { retry_after, .. } | Self::TooLate { retry_after, .. } => *retry_after,
        }
    }
}

/// The queue of one server.
pub struct Queue {
    line: Mutex<Line>,
    dispatch: Arc<dyn Dispatch>,
    clock: Arc<dyn Clock>,
    // Held over the offers of one round, so that two rounds do not interleave and change the order.
    offering: tokio::sync::Mutex<()>,
    rescheduled: Notify,
}

/// Room for one task, held between admission and the ack. Dropped unused, it is free again.
pub struct Seat {
    queue: Arc<Queue>,
    tenant: TenantId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.queue.line().give_up(self.tenant);
    }
}

impl Queue {
    /// An empty queue in front of a dispatch.
    pub fn new(bounds: Bounds, dispatch: Arc<dyn Dispatch>, clock: Arc<dyn Clock>) -> Self {
        let line = Mutex::new(Line::new(bounds));
        Self { line, dispatch, clock, offering: tokio::sync::Mutex::default(), rescheduled: Notify::new() }
    }

    /// From now on these bounds. What waits and runs beyond lower ones stays.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.line().set_bounds(bounds);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A panic between two lines of `Line` leaves at worst an inexact count, never a lost task: the store
        // has them all.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment { wall: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    /// Holds room for a task that is about to be committed, or refuses it.
    pub fn reserve(self: &Arc<Self>, task: &Task) -> Result<Seat, Full> {
        let now = self.now();
        self.line().reserve(task, now)?;
        Ok(Seat { queue: self.clone(), tenant: task.tenant })
    }

    /// Takes up a committed task, in the room held for it.
    pub async fn enter(&self, seat: Seat, task: &Task) -> Result<Option<Standing>, Unavailable> {
        drop(seat);
        self.readmit(Entrant::of(task)).await?;
        Ok(self.standing(task.at()))
    }

    /// Takes up a task that was acknowledged before: after a restart, or when its worker was lost. It is not refused:
    /// its ack was a promise. One that waits already stays where it is.
    pub async fn readmit(&self, entrant: Entrant) -> Result<(), Unavailable> {
        let now = self.now();
        let scheduled = entrant.not_before.is_some();
        self.line().enter(&entrant, now);
        if scheduled {
            self.rescheduled.notify_one();
        }
        self.offer().await
    }

    /// A worker waits for one more task of the capability. It claims exactly one from the dispatch.
    pub async fn want(&self, capability: &Arc<str>) -> Result<(), Unavailable> {
        self.line().want(capability);
        self.offer().await
    }

    /// A worker has claimed the task.
    pub fn claimed(&self, task: TaskRef, capability: &Arc<str>) -> Turn {
        let now = self.now();
        self.line().claimed(task, capability, now)
    }

    /// The worker has left the task.
    pub async fn left(&self, task: TaskRef, turn: Turn, left: Left) -> Result<(), Unavailable> {
        let now = self.now();
        self.line().left(task, turn, left, now);
        if matches!(left, Left::Again { .. }) {
            self.rescheduled.notify_one();
        }
        self.offer().await
    }

    /// The task has ended, wherever it was. Its lane goes on.
    pub async fn ended(&self, task: TaskRef) -> Result<(), Unavailable> {
        let now = self.now();
        if self.line().remove(task, now) { self.offer().await } else { Ok(()) }
    }

    /// Whether the task waits or runs here.
    pub fn knows(&self, task: TaskRef) -> bool {
        self.line().knows(task)
    }

    /// Where a task stands; `None` where it does not wait.
    pub fn standing(&self, task: TaskRef) -> Option<Standing> {
        let now = self.now();
        self.line().standing(task, now)
    }

    /// The tasks of a lane that have not ended: the one whose turn it is, and then those that wait for it.
    pub fn lane(&self, tenant: TenantId, lane: &Arc<str>) -> Vec<TaskRef> {
        self.line().lane(tenant, lane)
    }

    /// How many tasks wait.
    pub fn waiting(&self) -> usize {
        self.line().waiting()
    }

    /// Who waits and runs. Looks at all tasks that there are, and lets nobody in meanwhile: for people who look on, and seldom.
    pub fn census(&self) -> Census {
        self.line().census()
    }

    /// Tasks whose wait has outgrown its estimate, at most `limit`. Each is named once for each estimate.
    pub fn overdue(&self, limit: usize) -> Vec<Overdue> {
        let now = self.now();
        self.line().overdue(limit, now)
    }

    /// Lets scheduled tasks get in line as their moment comes. Returns only where the dispatch takes none.
    pub async fn keep_time(&self) -> Result<Infallible, Unavailable> {
        loop {
            let now = self.now();
            let next = self.line().due(now);
            self.offer().await?;
            let until_next = async {
                match next {
                    Some(moment) => self.clock.sleep(moment.since(self.clock.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until_next => {}
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// Offers what is wanted.
    async fn offer(&self) -> Result<(), Unavailable> {
        if self.line().hungry().is_empty() {
            return Ok(());
        }
        let _one_round_at_a_time = self.offering.lock().await;
        let hungry = self.line().hungry();
        for capability in hungry {
            loop {
                let now = self.now();
                let Some(task) = self.line().take_offer(&capability, now) else { break };
                if let Err(unavailable) = self.dispatch.offer(task, &capability).await {
                    self.line().withdraw(task, now);
                    return Err(unavailable);
                }
            }
        }
        Ok(())
    }
}
