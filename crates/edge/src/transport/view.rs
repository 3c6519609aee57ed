//! A task as a client sees it.

use crate::Edge;
use crate::identity::Caller;
use crate::submit::wait_ms;
use serde_json::value::RawValue;
use tidewire_core::{Durability, OnDisconnect, Task};
use tidewire_proto::TaskView;
use tidewire_proto::task::{BudgetBody, SpentBody};

/// A task as a client sees it, its input left out.
pub(super) fn view(edge: &Edge, task: &Task) -> TaskView {
    let spec = &task.spec;
    let (turn, origin) = (&spec.turn, &spec.origin);
    let standing = edge.queue.standing(task.at());
    TaskView {
        id: task.id.to_string(),
        tenant: None,
        state: task.state.name().to_owned(),
        model: spec.model.clone(),
        durability: match task.id.durability() {
            Durability::Durable => "durable".to_owned(),
            Durability::Transient => "transient".to_owned(),
        },
        on_disconnect: match spec.on_disconnect {
            OnDisconnect::Continue => "continue".to_owned(),
            OnDisconnect::Stop => "stop".to_owned(),
        },
        submitted_at: task.submitted_at.as_millis(),
        place: standing.map(|standing| standing.place.0),
        wait_ms: standing.and_then(|standing| wait_ms(&standing)),
        priority: turn.priority.name().to_owned(),
        lane: turn.lane.as_deref().map(str::to_owned),
        on_busy: turn.lane.as_ref().map(|_| turn.on_busy.name().to_owned()),
        parent: origin.parent.map(|id| id.to_string()),
        root: origin.root.map(|id| id.to_string()),
        children: task.children,
        budget: origin.budget.map(|budget| BudgetBody { steps: budget.steps, tokens: budget.tokens, time_ms: None }),
        spent: (task.spent.steps > 0).then_some(SpentBody { steps: task.spent.steps, tokens: task.spent.tokens }),
        start_at: turn.start_at.map(tidewire_core::Timestamp::as_millis),
        needs: turn.needs.clone(),
        batch: origin.batch.map(|log| log.to_string()),
        retry_of: origin.retry_of.map(|id| id.to_string()),
        shadow_of: origin.shadow_of.map(|id| id.to_string()),
        feedback: None,
        retried_as: task.retried_as.map(|id| id.to_string()),
        input: None,
        cache_key: spec.cache.as_ref().map(|of| of.key.to_string()),
        attempts: task.attempts,
        max_attempts: spec.max_attempts,
        deadline: spec.deadline.as_millis(),
        stop_requested: task.stop_requested,
        metadata: spec.metadata.clone().and_then(|text| RawValue::from_string(text).ok()),
        ended_at: task.ended.as_ref().map(|(at, _)| at.as_millis()),
        end: task.ended.as_ref().and_then(|(_, ending)| serde_json::to_value(ending).ok()),
    }
}

/// The same with its input.
pub(super) fn whole(edge: &Edge, task: &Task) -> TaskView {
    let input = String::from_utf8(task.spec.input.to_vec()).ok();
    TaskView { input: input.and_then(|text| RawValue::from_string(text).ok()), ..view(edge, task) }
}

/// The same for somebody of this tenant: of another one's task an operator sees whose it is, and not the submitter's own words.
pub(super) fn seen_by(edge: &Edge, caller: &Caller, task: &Task) -> TaskView {
    if task.tenant == caller.tenant {
        return view(edge, task);
    }
    TaskView { tenant: Some(edge.identity.tenant_name(task.tenant)), metadata: None, ..view(edge, task) }
}
