//! What a task comes from: its parent, and the budget that it shares.

use super::invalid;
use crate::Edge;
use crate::refusal::Refusal;
use tidewire_core::family::MAX_DEPTH;
use tidewire_core::task::{Budget, Origin};
use tidewire_core::trace::SpanId;
use tidewire_core::{Durability, TaskRef, TenantId, Timestamp, Trace};
use tidewire_proto::{Code, Submission};

/// What a task has from above.
pub(super) struct Descent {
    pub(super) origin: Origin,
    /// Its parent's, because both are counted in one commit.
    pub(super) durability: Durability,
    /// Its parent's, which it may not pass.
    pub(super) deadline: Option<Timestamp>,
    /// Its parent's, below that one's span.
    pub(super) trace: Option<Trace>,
}

pub(super) async fn descent(
    edge: &Edge,
    tenant: TenantId,
    submission: &Submission,
    asked: Option<Durability>,
) -> Result<Descent, Refusal> {
    let budget = submission.budget.map(|budget| Budget { steps: budget.steps, tokens: budget.tokens });
    let Some(parent) = &submission.parent else {
        let origin = Origin { budget, ..Origin::default() };
        return Ok(Descent { origin, durability: asked.unwrap_or_default(), deadline: None, trace: None });
    };
    if budget.is_some() {
        return Err(invalid("a task with a `parent` shares that one's budget: give `budget` to the first of them"));
    }
    let task = parent.parse().map_err(|_| Refusal::unknown_task(parent))?;
    let above = edge.tasks.get(TaskRef { tenant, task }).await?.ok_or_else(|| Refusal::unknown_task(parent))?;
    let durability = above.id.durability();
    if asked.is_some_and(|asked| asked != durability) {
        return Err(invalid("a task has the `durability` of its parent: leave it out"));
    }
    let depth = above.spec.origin.depth + 1;
    if depth > MAX_DEPTH {
        let message = format!("the parent stands {MAX_DEPTH} levels deep, and no task may stand deeper");
        return Err(Refusal::new(Code::TooDeep, message));
    }
    let origin =
        Origin { parent: Some(above.id), root: above.spec.origin.root.or(Some(above.id)), depth, ..Origin::default() };
    let trace = Some(above.trace().below(SpanId::of_task(above.id)));
    Ok(Descent { origin, durability, deadline: Some(above.spec.deadline), trace })
}
