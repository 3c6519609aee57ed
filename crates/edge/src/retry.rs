//! Tries a dead letter again: a new task that asks for the same.

use crate::Edge;
use crate::admission::{Chat, allowed};
use crate::identity::Caller;
use crate::quote::Admitted;
use crate::refusal::Refusal;
use crate::submit::{self, Accepted, take};
use tidewire_core::task::Origin;
use tidewire_core::trace::SpanId;
use tidewire_core::{LogId, Task, TaskRef};

/// Submits what a failed task asked for once more. The same letter again: the same retry.
pub(crate) async fn retry(edge: &Edge, caller: &Caller, dead: &Task) -> Result<Accepted, Refusal> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    // Known: nothing is reserved for it.
    if let Some(task) = dead.retried_as
        && let Some(retry) = edge.tasks.get(TaskRef { tenant: dead.tenant, task }).await?
    {
        return submit::again(edge, retry).await;
    }
    take(edge, again(edge, caller, dead, dead.spec.origin.batch)?).await
}

/// The task that asks for the same, with as much time as the first one had.
pub(crate) fn again(edge: &Edge, caller: &Caller, dead: &Task, batch: Option<LogId>) -> Result<Admitted, Refusal> {
    allowed(edge, caller, &dead.spec.model)?;
    let now = edge.clock.now();
    let began = dead.spec.turn.start_at.unwrap_or(dead.submitted_at);
    let mut spec = dead.spec.clone();
    // Whoever tries it again pays; whom the answer is for stays.
    spec.payer.key = caller.payer.key;
    spec.deadline = now.plus(dead.spec.deadline.since(began));
    spec.turn.start_at = None;
    // It has no parent: that one did not wait for it.
    spec.origin = Origin { batch, budget: dead.spec.origin.budget, retry_of: Some(dead.id), ..Origin::default() };
    let max_tokens = Chat::read(&spec.input).ok().and_then(|chat| chat.answer_tokens());
    let accounts = caller.accounts_of(&spec.payer);
    // In the trace of whoever tries it again, or else in the first one's, below it.
    let first = dead.spec.trace.as_ref().map(|trace| trace.below(SpanId::of_task(dead.id)));
    let id = edge.clock.task_id(dead.id.durability());
    spec.trace = caller.trace().cloned().or(first).or_else(|| edge.sampling.begin(id));
    let task = Task::new(id, dead.tenant, spec, now);
    // What its files come to was looked up once: the worker counts them again.
    Ok(Admitted::new(edge, task, accounts, max_tokens, 0))
}
