//! The queue: who runs next, how many may wait, and where each stands in line.
//!
//! Its tasks are committed in the [`TaskStore`](crate::port::TaskStore); what is here is their order, rebuilt
//! after a restart. It offers only a short window of what should run next to [`Dispatch`], so that order,
//! bounds and places stay its own whatever carries the tasks.

mod line;

use crate::id::{TaskRef, TenantId};
use crate::port::{Dispatch, Unavailable};
use line::Line;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tasks waiting, in all.
    pub waiting: usize,
    /// Tasks waiting of one tenant.
    pub waiting_per_tenant: usize,
    /// Tasks offered to workers of one capability and not yet claimed. Short, so that a task that should
    /// overtake can; long enough that no worker waits for the next offer.
    pub window: usize,
}

impl Default for Bounds {
    /// 100,000 waiting tasks are about 200 MB with their requests; a window of 256 outlasts one commit.
    fn default() -> Self {
        Self { waiting: 100_000, waiting_per_tenant: 100_000, window: 256 }
    }
}

/// How many tasks are ahead, an estimate: 0 is the next to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// No room. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} tasks are waiting and {bound} may; try again later")]
pub struct Full {
    /// How many wait.
    pub waiting: usize,
    /// How many may.
    pub bound: usize,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// The queue of one server.
pub struct Queue {
    line: Mutex<Line>,
    dispatch: Arc<dyn Dispatch>,
    // Held over the offers of one round, so that two rounds do not interleave and change the order.
    offering: tokio::sync::Mutex<()>,
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
    pub fn new(bounds: Bounds, dispatch: Arc<dyn Dispatch>) -> Self {
        Self { line: Mutex::new(Line::new(bounds)), dispatch, offering: tokio::sync::Mutex::default() }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A panic between two lines of `Line` leaves at worst an inexact count, never a lost task: the store
        // has them all.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds room for one more task, or refuses.
    pub fn reserve(self: &Arc<Self>, tenant: TenantId) -> Result<Seat, Full> {
        self.line().reserve(tenant)?;
        Ok(Seat { queue: self.clone(), tenant })
    }

    /// Puts a committed task in line, in the room held for it.
    pub async fn enter(&self, seat: Seat, task: TaskRef, capability: &Arc<str>) -> Result<Place, Unavailable> {
        drop(seat);
        self.readmit(task, capability).await
    }

    /// Puts a task in line that was acknowledged before: after a backoff, a hand-back or a restart. It is not
    /// refused: its ack was a promise. One that is in line already stays where it is.
    pub async fn readmit(&self, task: TaskRef, capability: &Arc<str>) -> Result<Place, Unavailable> {
        let place = self.line().enter(task, capability);
        self.offer(capability).await?;
        Ok(place)
    }

    /// A worker has claimed the task: it no longer waits, and the next one is offered.
    pub async fn claimed(&self, task: TaskRef) -> Result<(), Unavailable> {
        self.leave(task).await.map(drop)
    }

    /// Takes a task out of the line. Says whether it was in it.
    pub async fn leave(&self, task: TaskRef) -> Result<bool, Unavailable> {
        let left = self.line().leave(task);
        match left {
            Some(capability) => self.offer(&capability).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Where a task stands; `None` where it does not wait.
    pub fn place(&self, task: TaskRef) -> Option<Place> {
        self.line().place(task)
    }

    /// How many tasks wait.
    pub fn waiting(&self) -> usize {
        self.line().waiting()
    }

    async fn offer(&self, capability: &Arc<str>) -> Result<(), Unavailable> {
        if !self.line().has_room_in_window(capability) {
            return Ok(());
        }
        let _one_round_at_a_time = self.offering.lock().await;
        loop {
            let Some(task) = self.line().take_offer(capability) else {
                return Ok(());
            };
            if let Err(unavailable) = self.dispatch.offer(task, capability).await {
                self.line().withdraw(task);
                return Err(unavailable);
            }
        }
    }
}
