//! Stops a task, from whichever connection.

use crate::Edge;
use crate::refusal::Refusal;
use std::time::Duration;
use tidewire_core::family::stop_below;
use tidewire_core::port::Signal;
use tidewire_core::{Task, TaskRef};

/// How long a stop waits for the task's end: the worker's second of grace, and a second for the reaper.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for the task to stop, and waits for its end for a short while. Gives back the task as it then is.
pub(crate) async fn stop(edge: &Edge, at: TaskRef) -> Result<Task, Refusal> {
    let task = request_stop(edge, at).await?;
    if task.state.is_ended() {
        return Ok(task);
    }
    if let Ok(mut watch) = edge.log.watch(at.log()).await {
        tokio::select! {
            () = watch.over() => {}
            () = edge.clock.sleep(PATIENCE) => {}
        }
    }
    edge.tasks.get(at).await?.ok_or_else(|| Refusal::unknown_task(&at.task.to_string()))
}

/// Asks for the task to stop, and all that it has started, and waits for nothing.
pub(crate) async fn request_stop(edge: &Edge, at: TaskRef) -> Result<Task, Refusal> {
    let task = edge.tasks.request_stop(at).await?;
    if !task.state.is_ended() {
        edge.bus.publish(Signal::Stop(at));
    }
    stop_below(&*edge.tasks, &*edge.bus, &task).await?;
    Ok(task)
}

/// What a connection's end does to a task that was submitted with `on_disconnect: stop`.
pub(crate) async fn stop_after_disconnect(edge: &Edge, at: TaskRef) {
    if let Err(refusal) = request_stop(edge, at).await {
        tracing::warn!(task = %at.task, error = %refusal.0.message, "a task whose submitter left could not be stopped");
    }
}
