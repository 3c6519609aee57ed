//! Where the tasks stand that this connection follows and that wait: told when it changes, once a second at most.

use crate::Edge;
use crate::submit::wait_ms;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;
use tidewire_core::TaskRef;
use tidewire_core::queue::Standing;
use tidewire_proto::ServerFrame;

/// How often a standing is looked at: as often as a person reads a number.
pub(in crate::transport) const LOOK: Duration = Duration::from_secs(1);

/// Nothing is held, and no timer runs, while no task waits.
#[derive(Default)]
pub(super) struct Standings {
    waiting: BTreeMap<TaskRef, Standing>,
    next_look: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Standings {
    /// Watches over a task from now on, if it waits. Gives back where it stands.
    pub(super) fn watch(&mut self, edge: &Edge, task: TaskRef) -> Option<Standing> {
        let standing = edge.queue.standing(task)?;
        self.waiting.insert(task, standing);
        if self.next_look.is_none() {
            self.next_look = Some(edge.clock.sleep(LOOK));
        }
        Some(standing)
    }

    pub(super) fn forget(&mut self, task: TaskRef) {
        self.waiting.remove(&task);
    }

    /// Waits until it is time to look. Dropping the future loses nothing.
    pub(super) async fn due(&mut self) {
        match &mut self.next_look {
            Some(next_look) => next_look.await,
            None => std::future::pending().await,
        }
    }

    /// What has changed since the last look.
    pub(super) fn look(&mut self, edge: &Edge) -> Vec<ServerFrame<'static>> {
        let mut changed = Vec::new();
        self.waiting.retain(|task, told| match edge.queue.standing(*task) {
            Some(standing) => {
                if standing.place != told.place {
                    changed.push(frame(*task, &standing));
                    *told = standing;
                }
                true
            }
            None => false,
        });
        self.next_look = (!self.waiting.is_empty()).then(|| edge.clock.sleep(LOOK));
        changed
    }
}

/// A standing as the wire tells it.
pub(super) fn frame(task: TaskRef, standing: &Standing) -> ServerFrame<'static> {
    ServerFrame::Waiting { task: task.task.to_string(), place: standing.place.0, wait_ms: wait_ms(standing) }
}
