//! Tries a dead letter again: a new task that asks for the same.

use crate::Edge;
use crate::refusal::Refusal;
use crate::submit::{Accepted, take};
use tidewire_core::Task;
use tidewire_core::task::Origin;

/// Submits what a failed task asked for once more, with as much time as it had. The same letter again: the same retry.
pub(crate) async fn retry(edge: &Edge, dead: &Task) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let now = edge.clock.now();
    let began = dead.spec.turn.start_at.unwrap_or(dead.submitted_at);
    let mut spec = dead.spec.clone();
    spec.deadline = now.plus(dead.spec.deadline.since(began));
    spec.turn.start_at = None;
    // It belongs to the same batch, and to no parent: that one did not wait for it.
    spec.origin = Origin {
        batch: dead.spec.origin.batch,
        budget: dead.spec.origin.budget,
        retry_of: Some(dead.id),
        ..Origin::default()
    };
    take(edge, Task::new(edge.clock.task_id(dead.id.durability()), dead.tenant, spec, now)).await
}
