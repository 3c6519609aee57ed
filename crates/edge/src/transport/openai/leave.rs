//! What happens to tasks whose caller leaves before their end.

use crate::Edge;
use crate::stop::stop_after_disconnect;
use std::sync::Arc;
use tidewire_core::TaskRef;

/// Stops the tasks when the response is dropped before their end: the caller has left.
pub(in crate::transport) struct StopOnLeave {
    edge: Arc<Edge>,
    tasks: Vec<TaskRef>,
}

impl StopOnLeave {
    /// Stops these; none of them, where the caller wants them to go on without it.
    pub(in crate::transport) fn new(edge: Arc<Edge>, tasks: Vec<TaskRef>) -> Self {
        Self { edge, tasks }
    }

    /// The task has ended: nothing to stop.
    pub(in crate::transport) fn stay(&mut self, task: TaskRef) {
        self.tasks.retain(|other| *other != task);
    }
}

impl Drop for StopOnLeave {
    fn drop(&mut self) {
        for task in std::mem::take(&mut self.tasks) {
            let edge = self.edge.clone();
            self.edge.tracker.spawn(async move { stop_after_disconnect(&edge, task).await });
        }
    }
}
