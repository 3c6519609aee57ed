//! What a new task does to the others of its lane.

use crate::Edge;
use crate::stop::request_stop;
use tidewire_core::task::OnBusy;
use tidewire_core::{Task, TaskRef};

/// The tasks that a new one would take the place of. One that steers notes whom it steers, before its commit: from
/// then on the reaper does what [`make_way`] could not.
pub(crate) fn ahead(edge: &Edge, task: &mut Task) -> Vec<TaskRef> {
    let tenant = task.tenant;
    let turn = &mut task.spec.turn;
    let (Some(lane), OnBusy::Steer | OnBusy::Replace) = (&turn.lane, turn.on_busy) else { return Vec::new() };
    let mut ahead = edge.queue.lane(tenant, lane);
    if turn.on_busy == OnBusy::Steer {
        ahead.truncate(1);
        turn.steers = ahead.first().map(|steered| steered.task);
    }
    ahead
}

/// Stops those.
pub(crate) async fn make_way(edge: &Edge, task: &Task, ahead: Vec<TaskRef>) {
    for earlier in ahead.into_iter().filter(|earlier| *earlier != task.at()) {
        if let Err(refusal) = request_stop(edge, earlier).await {
            tracing::warn!(task = %earlier.task, error = %refusal.0.message, "the task stops when the reaper finds it");
        }
    }
}
