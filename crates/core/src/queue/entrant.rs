//! What the queue knows of a task.

use crate::id::TaskRef;
use crate::task::{OnBusy, Priority, Task};
use crate::time::Timestamp;
use std::sync::Arc;

/// A task as the queue sees it: all that its turn depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrant {
    /// Which task.
    pub task: TaskRef,
    /// What its worker must have.
    pub capability: Arc<str>,
    /// How pressing it is.
    pub priority: Priority,
    /// Tokens that it will read and write, an estimate.
    pub tokens: u64,
    /// Its lane.
    pub lane: Option<Arc<str>>,
    /// It goes before the others that wait for the lane.
    pub steers: bool,
    /// Its place in the lane.
    pub submitted_at: Timestamp,
    /// It gets in line at this moment.
    pub not_before: Option<Timestamp>,
}

impl Entrant {
    /// A committed task.
    pub fn of(task: &Task) -> Self {
        let turn = &task.spec.turn;
        Self {
            task: task.at(),
            capability: task.spec.waits_for(),
            priority: turn.priority,
            tokens: turn.tokens,
            lane: turn.lane.clone(),
            steers: turn.on_busy == OnBusy::Steer,
            submitted_at: task.submitted_at,
            not_before: task.not_before,
        }
    }
}
