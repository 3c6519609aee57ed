//! Stopping what a task has started: its children, theirs, and so on.

use crate::id::TaskRef;
use crate::port::{Bus, Filter, Signal, TaskStore, UpdateError};
use crate::task::{State, Task};

/// How many children are listed at once.
const PAGE: usize = 500;

/// How deep a family may be: a parent, a child, ... Eight levels of agents that start agents are more than any
/// sensible run has, and bound the walk of a stop.
pub const MAX_DEPTH: u32 = 8;

/// Asks all live tasks below one to stop. The one itself must be stopping or have ended: then it takes no more
/// children, and none is missed. Gives back how many were asked.
pub async fn stop_below(tasks: &dyn TaskStore, bus: &dyn Bus, above: &Task) -> Result<usize, UpdateError> {
    let mut asked = 0;
    let mut parents = vec![(above.at(), above.children)];
    while let Some((parent, children)) = parents.pop() {
        if children > 0 {
            for child in live_children(tasks, parent).await? {
                let child = tasks.request_stop(child.at()).await?;
                bus.publish(Signal::Stop(child.at()));
                parents.push((child.at(), child.children));
                asked += 1;
            }
        }
    }
    Ok(asked)
}

async fn live_children(tasks: &dyn TaskStore, parent: TaskRef) -> Result<Vec<Task>, UpdateError> {
    let mut filter = Filter {
        tenant: Some(parent.tenant),
        states: vec![State::Queued, State::Running],
        parent: Some(parent.task),
        limit: PAGE,
        ..Filter::default()
    };
    let mut children = Vec::new();
    loop {
        let page = tasks.list(&filter).await?;
        children.extend(page.tasks);
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(children),
        }
    }
}
