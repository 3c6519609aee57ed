//! What to load an endpoint with.

use std::fmt;
use std::time::Duration;
use tidewire_client::Endpoint;

/// What to load an endpoint with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoint that is measured.
    pub target: Target,
    /// What it stands in front of, asked directly in every second slice.
    pub direct: Option<Target>,
    /// `model` of each request.
    pub model: String,
    /// What each request asks.
    pub prompt: String,
    /// `max_tokens` of each request.
    pub tokens: Option<u32>,
    /// Answers come as streams.
    pub stream: bool,
    /// How requests follow each other.
    pub load: Load,
    /// When it is enough, for each of the sides.
    pub length: Length,
    /// How long one side is asked before it is the other's turn.
    pub slice: Duration,
    /// A request that takes longer is given up, and counts as failed.
    pub limit: Duration,
    /// First looks for the concurrency with the most requests a second, up to that of a closed loop.
    pub saturate: bool,
    /// The target's process; found by its port on this machine unless told.
    pub pid: Option<u32>,
}

/// An endpoint.
#[derive(Clone)]
pub struct Target {
    /// The base URL, its `/v1` included.
    pub base: Endpoint,
    /// The key, where it wants one.
    pub key: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key is never printed.
        out.debug_struct("Target").field("base", &self.base).finish_non_exhaustive()
    }
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many clients, each of which asks again when it has its answer.
    Closed {
        /// How many.
        concurrency: usize,
    },
    /// Requests are due at fixed times, whatever became of those before. Latencies count from the time that a request
    /// was due, so that a stalled server can't hide its stall.
    Open {
        /// How many are due in a second.
        per_second: f64,
    },
}

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so long, for each side.
    Time(Duration),
    /// After so many requests of a closed loop, for each side.
    Requests(u64),
}
