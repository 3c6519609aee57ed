//! The engine that keeps everything in this process's memory and loses it with the process: for transient
//! tasks in production, beside an engine that keeps the durable ones, and for simulation.
//!
//! It survives nothing: no crash, no restart. It is bounded in bytes, and refuses beyond the bound.

use crate::memory::directory::Records;
use crate::memory::ledger::Accounts;
use crate::memory::logs::Logs;
use crate::memory::room::Room;
use crate::memory::tasks::Tasks;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewire_core::port::Clock;
use tidewire_core::{LogRef, Money, TenantId, Timestamp};

mod bus;
mod cache;
mod directory;
mod dispatch;
mod event_log;
mod ledger;
mod log;
mod log_keeping;
mod logs;
mod room;
mod shards;
mod task_store;
mod tasks;

pub use bus::Bus;
pub use cache::Cache;
pub use dispatch::Dispatch;

/// How much the engine may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of logs, tasks and named records, all that goes with them included; an estimate of what the process spends on them.
    pub bytes: usize,
}

impl Default for Bounds {
    /// 256 MiB hold 30,000 answers of 50 tokens with their prompts, at 8.5 kB each: one minute of the 500 a
    /// second that the goals in DESIGN.md come to.
    fn default() -> Self {
        Self { bytes: 256 * 1024 * 1024 }
    }
}

/// Logs, tasks and the ledger, in memory. A task's `end` event, its new state and its settlement are one step.
///
/// Locks are taken in this order, and none is held over an await: key, shard of logs, log, shard of tasks, and
/// then one of the order of tasks, the ended logs or the ledger. The directory's is taken alone.
pub struct Engine {
    clock: Arc<dyn Clock>,
    room: Room,
    logs: Logs,
    tasks: Tasks,
    accounts: Mutex<Accounts>,
    ended: Mutex<Ended>,
    directory: Mutex<Records>,
}

/// What has ended, in order, until retention lets go of it.
#[derive(Default)]
struct Ended {
    // A task that ended without its log being here stands in it too, by its log's name.
    line: VecDeque<(Timestamp, LogRef)>,
    // What the ended logs hold.
    data_bytes: u64,
}

impl Engine {
    /// An empty engine. The clock stamps `end` events and gives new logs their epochs.
    pub fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            room: Room::new(bounds.bytes),
            logs: Logs::default(),
            tasks: Tasks::default(),
            accounts: Mutex::default(),
            ended: Mutex::default(),
            directory: Mutex::default(),
        }
    }

    /// Bytes that all of it takes by now, for a metric.
    pub fn used_bytes(&self) -> usize {
        self.room.used()
    }

    /// Money that tasks hold now, by tenant.
    pub fn reserved(&self) -> HashMap<TenantId, Money> {
        lock(&self.accounts).reserved()
    }

    /// Bytes that they may take.
    pub fn bound_bytes(&self) -> usize {
        self.room.bound()
    }
}

/// A panic under a lock leaves a record half changed at worst, of one task; refusing all others for it would
/// take the server down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
