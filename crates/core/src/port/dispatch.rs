//! The port `Dispatch`: hands ready tasks to workers, in the order given, and nothing more, so that a broker
//! can be one. Bounds, order and places in line belong to [`Queue`](crate::queue::Queue).

use super::Unavailable;
use crate::id::TaskRef;
use async_trait::async_trait;
use std::sync::Arc;

/// Hands out task ids by capability.
///
/// Promises, checked by `testkit::dispatch`:
/// - What was offered for a capability is claimed for that capability, in the order of the offers, once,
///   unless it is given back.
/// - A claim that is neither forgotten nor given back is handed out again after the engine lost its worker.
///   It is a hint, never a right: only the lease says who may run a task.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Makes a task ready for whoever has the capability.
    async fn offer(&self, task: TaskRef, capability: &str) -> Result<(), Unavailable>;

    /// Waits for the next task. Dropping the future loses no task.
    async fn claim(&self, capability: &str) -> Result<Claim, Unavailable>;

    /// The claim was dealt with: forget it.
    async fn forget(&self, claim: Claim) -> Result<(), Unavailable>;

    /// The worker can't take it: it goes to the head of the line again.
    async fn give_back(&self, claim: Claim) -> Result<(), Unavailable>;
}

/// A task that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which task.
    pub task: TaskRef,
    /// What the worker must have.
    pub capability: Arc<str>,
    /// The engine's own mark of this delivery.
    pub ticket: u64,
}
