//! Tries a dead letter again: a new task that asks for the same.

use crate::Edge;
use crate::refusal::Refusal;
use crate::submit::{Accepted, take};
use tidewire_core::task::Origin;
use tidewire_core::{LogId, Task};

/// Submits what a failed task asked for once more. The same letter again: the same retry.
pub(crate) async fn retry(edge: &Edge, dead: &Task) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    take(edge, again(edge, dead, dead.spec.origin.batch)).await
}

/// The task that asks for the same, with as much time as the first one had.
pub(crate) fn again(edge: &Edge, dead: &Task, batch: Option<LogId>) -> Task {
    let now = edge.clock.now();
    let began = dead.spec.turn.start_at.unwrap_or(dead.submitted_at);
    let mut spec = dead.spec.clone();
    spec.deadline = now.plus(dead.spec.deadline.since(began));
    spec.turn.start_at = None;
    // It has no parent: that one did not wait for it.
    spec.origin = Origin { batch, budget: dead.spec.origin.budget, retry_of: Some(dead.id), ..Origin::default() };
    Task::new(edge.clock.task_id(dead.id.durability()), dead.tenant, spec, now)
}
