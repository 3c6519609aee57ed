//! The port `Meter`: where measurements go.

use std::time::Duration;

/// Takes measurements. Called on hot paths: it never waits and never fails.
pub trait Meter: Send + Sync {
    /// Takes one.
    fn record(&self, measurement: Measurement);
}

/// What is measured, by the server's own clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measurement {
    /// From a submit's receipt to its ack.
    Ack(Duration),
    /// From a task's receipt to the commit of its first token (TTFT).
    FirstToken(Duration),
    /// From one token to the next, the mean over a task: (last - first) / (n - 1) (TPOT).
    PerToken(Duration),
    /// From a task's receipt to its end.
    Total(Duration),
    /// Output tokens of a task that ended.
    OutputTokens(u64),
    /// An attempt failed and another will follow.
    Retry,
    /// A submit was refused because too many tasks wait.
    QueueFull,
    /// A connection was opened.
    Connected,
    /// A connection was closed.
    Disconnected,
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn record(&self, _: Measurement) {}
}
