//! The port `Ledger`: what was used, by whom.

use super::Unavailable;
use crate::ending::Usage;
use crate::id::{TaskRef, TenantId};
use crate::time::Timestamp;
use async_trait::async_trait;

/// The account book.
///
/// Promises, checked by `testkit::ledger`: a task is settled once, whoever asks how often; the totals are the
/// sums of the settlements. An engine that also keeps logs settles from the `end` event by itself.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Settles a task. `true` where this was the first time.
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable>;

    /// What a tenant has used since the ledger began.
    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable>;
}

/// What a task used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which task.
    pub task: TaskRef,
    /// When it ended.
    pub at: Timestamp,
    /// What it used.
    pub usage: Usage,
}

/// Sums over settlements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many tasks were settled.
    pub tasks: u64,
    /// The sum of their usage.
    pub usage: Usage,
}
