//! Does the work: claims tasks, runs them on a backend, and writes what the model says into their logs.
//!
//! [`pool`] claims, [`run`] tells one task's story, [`failover`] chooses the deployment and goes on to the next, [`hedged`] asks a second one where the first is late, [`pump`] moves the model's words into the log,
//! [`cached`] gives an answer that is kept, [`share`] one that is on its way to several tasks, [`semantic`] one to another question that means the same, [`keeper`]
//! renews leases and carries orders to running tasks, [`reaper`] picks up what nobody holds, [`waits`] watches what
//! waits.

mod backends;
pub mod batcher;
mod cached;
mod choice;
mod context;
mod draft;
pub mod embeddings;
mod ends;
mod failover;
mod files;
mod guarded;
mod health;
mod hedged;
mod keeper;
mod pool;
mod pump;
mod purse;
mod reaper;
mod refresh;
mod retry;
mod run;
mod semantic;
mod share;
mod shares;
mod slots;
mod subject;
mod tally;
mod waits;

pub use backends::Backends;
pub use health::{Checked, check_health};
pub use keeper::LeaseView;
pub use pool::{Pool, Running, Sizes, Slots};
pub use retry::Backoff;
pub use shares::Shares;

use std::sync::Arc;
use std::time::Duration;
use tidewire_core::cache::Answers;
use tidewire_core::files::Files;
use tidewire_core::port::{Bus, Clock, Dispatch, EventLog, Ledger, Meter, TaskStore};
use tidewire_core::queue::Queue;
use tidewire_core::route::Fleet;
use tidewire_core::tokens::Counter;
use tidewire_core::{Catalog, WorkerId};

/// Everything that a worker works with.
pub struct Worker {
    /// Its name, in leases and `started` events.
    pub name: WorkerId,
    /// Where the answers go.
    pub log: Arc<dyn EventLog>,
    /// What messages name.
    pub files: Arc<Files>,
    /// Where the tasks are.
    pub tasks: Arc<dyn TaskStore>,
    /// Where it is settled what they used.
    pub ledger: Arc<dyn Ledger>,
    /// How many tokens requests have, and what routes use.
    pub counter: Arc<Counter>,
    /// Where they come from.
    pub dispatch: Arc<dyn Dispatch>,
    /// Their order.
    pub queue: Arc<Queue>,
    /// What other nodes say.
    pub bus: Arc<dyn Bus>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Where measurements go.
    pub meter: Arc<dyn Meter>,
    /// The routes, and the deployments that they name.
    pub catalog: Arc<Catalog>,
    /// How the deployments are.
    pub fleet: Arc<Fleet>,
    /// The backend of each deployment.
    pub backends: Arc<Backends>,
    /// Answers that are kept, and who has asked for those that are not.
    pub answers: Arc<Answers>,
    /// Answers that are on their way to several tasks.
    pub shares: Shares,
    /// How long to wait for what.
    pub pace: Pace,
}

/// How long a worker waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a lease lasts without a renewal.
    pub lease: Duration,
    /// How often leases are renewed and stop flags looked at. A lost stop signal costs at most this.
    pub sweep: Duration,
    /// How long a stopped task may take to end before it is fenced off and ended by the reaper.
    pub stop_grace: Duration,
    /// Between attempts.
    pub backoff: Backoff,
}

impl Default for Pace {
    /// A lease of 30 s survives a long pause of the process; 250 ms and 1 s are the design's own numbers.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            sweep: Duration::from_millis(250),
            stop_grace: Duration::from_secs(1),
            backoff: Backoff::default(),
        }
    }
}
