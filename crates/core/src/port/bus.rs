//! The port `Bus`: wake-ups between nodes.

use crate::id::{LogRef, Offset, TaskRef, TenantId};
use std::pin::Pin;

/// Carries signals to every subscriber on every node.
///
/// It may lose signals, never data: whoever waits for one also looks for itself from time to time. Checked by
/// `testkit::bus`: a subscriber gets what is published after it subscribed, in order; one that falls behind
/// loses the oldest, and holds nobody up.
pub trait Bus: Send + Sync {
    /// Sends a signal to all. Never waits.
    fn publish(&self, signal: Signal);

    /// All signals from now on.
    fn subscribe(&self) -> Subscription;
}

/// Signals from a bus.
pub type Subscription = Pin<Box<dyn futures_core::Stream<Item = Signal> + Send>>;

/// What nodes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A log has grown.
    Grew {
        /// Which.
        log: LogRef,
        /// Its new tail.
        tail: Offset,
    },
    /// Somebody asked for a task to stop.
    Stop(TaskRef),
    /// A task of one of this tenant's lanes was taken, or has ended.
    Lane(TenantId),
    /// Somebody has said what they think of a task's answer: whoever would give it again hears of it.
    Judged {
        /// Which task.
        task: TaskRef,
        /// It was found bad.
        badly: bool,
    },
}
