//! Faces the users. Every protocol becomes one of three things: [`submit`], [`follow`], [`stop`].
//!
//! `transport` holds thin skins over these three. The edge does not know the worker: they meet in the queue
//! and in the log.

mod admission;
mod allowance;
mod batch;
mod feedback;
mod follow;
pub mod identity;
mod lane;
mod lanes;
mod listen;
pub mod public;
mod quote;
mod refusal;
mod retry;
mod shadow;
mod stop;
mod submit;
mod transport;

pub use batch::keep as keep_batches;
pub use feedback::keep as keep_feedback;
pub use identity::{Identity, keep_audit};
pub use lanes::{Lanes, keep as keep_lanes};
pub use listen::{Listener, listen};
pub use public::{Public, sweep as sweep_public};
pub use shadow::{Shadows, run as run_shadows};
pub use transport::{Endpoint, Needs, Streams, keep_openai_batches, router, sweep_streams};

use std::sync::Arc;
use std::time::Duration;
use tidewire_core::Catalog;
use tidewire_core::cache::Answers;
use tidewire_core::files::Files;
use tidewire_core::guard::Loops;
use tidewire_core::port::{Bus, Clock, Directory, EventLog, Ledger, LogKeeping, Meter, TaskStore};
use tidewire_core::queue::Queue;
use tidewire_core::tokens::Counter;
use tidewire_core::trace::Sampling;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything that the edge works with.
pub struct Edge {
    /// Where the answers are.
    pub log: Arc<dyn EventLog>,
    /// What becomes of logs: a face removes those that it made.
    pub keeping: Arc<dyn LogKeeping>,
    /// What is known by name: streams, files.
    pub directory: Arc<dyn Directory>,
    /// Where the tasks are.
    pub tasks: Arc<dyn TaskStore>,
    /// Who may use how much, and has used it.
    pub ledger: Arc<dyn Ledger>,
    /// How many tokens requests have.
    pub counter: Arc<Counter>,
    /// What was uploaded.
    pub files: Arc<Files>,
    /// Answers that are kept, and who has asked for those that are not.
    pub answers: Arc<Answers>,
    /// Who runs next.
    pub queue: Arc<Queue>,
    /// How workers hear of a stop.
    pub bus: Arc<dyn Bus>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Where measurements go.
    pub meter: Arc<dyn Meter>,
    /// Which models there are.
    pub catalog: Arc<Catalog>,
    /// Requests that are to be run once more on another route.
    pub shadows: Shadows,
    /// What is known of streams in this process alone.
    pub streams: Streams,
    /// Which traces that begin here are recorded.
    pub sampling: Sampling,
    /// Who waits for news of lanes.
    pub lanes: Lanes,
    /// What anybody may read.
    pub public: Public,
    /// What was asked lately, in this process alone: who repeats itself is found by it.
    pub loops: Loops,
    /// How much a client may ask for.
    pub limits: Limits,
    /// Which pages may ask, and under which names.
    pub access: Access,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// What outlives a request: open sockets, stops after a disconnect.
    pub tracker: TaskTracker,
    /// Cancelled when the server drains: it takes no new work.
    pub draining: CancellationToken,
    /// Cancelled once running work has ended or was handed back: sockets close.
    pub closing: CancellationToken,
}

/// How much a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A request's body and a WebSocket frame.
    pub body_bytes: usize,
    /// Logs that one connection follows.
    pub follows_per_connection: usize,
    /// Streams of one tenant.
    pub streams: usize,
    /// How long a long poll of a stream waits.
    pub long_poll: Duration,
}

impl Default for Limits {
    /// 1 MiB holds a prompt of 250,000 tokens; 256 logs are more than any screen shows; 100,000 streams are
    /// looked through for expired ones in nine minutes; 30 s are under the usual time-out of proxies.
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            follows_per_connection: 256,
            streams: 100_000,
            long_poll: Duration::from_secs(30),
        }
    }
}

/// From where the server may be asked: by programs and pages of its own origin, and by no other site's page.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Other origins whose pages may use the server, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// Names under which the server may be addressed, beside loopback ones: a page that rebinds its DNS name
    /// to loopback is refused.
    pub allowed_hosts: Vec<String>,
}
