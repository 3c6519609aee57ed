//! The port `Clock`: time and randomness.

use crate::id::{Durability, TaskId};
use crate::time::Timestamp;
use std::pin::Pin;
use std::time::Duration;

/// Time and randomness come in through this, so that a test can repeat a run.
pub trait Clock: Send + Sync {
    /// Now, by the wall. It may step back: never measure a span with it that a person or a bill relies on.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never steps back.
    fn monotonic(&self) -> Duration;

    /// Waits.
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Random bits. The real clock's can't be guessed by anyone: keys and tickets are made of them.
    fn random(&self) -> u64;

    /// A fresh task id.
    fn task_id(&self, durability: Durability) -> TaskId {
        let random = (u128::from(self.random()) << 64) | u128::from(self.random());
        TaskId::new(self.now(), random, durability)
    }
}
