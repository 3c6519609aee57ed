//! What to load a server with.

use serde_json::value::RawValue;
use std::time::Duration;
use tidewire_client::Endpoint;
use tidewire_proto::Submission;

/// What to load a server with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub endpoint: Endpoint,
    /// How many WebSocket connections.
    pub sessions: usize,
    /// How tasks follow each other.
    pub load: Load,
    /// The public model name; none is the server's default.
    pub model: Option<String>,
    /// What each task asks.
    pub prompt: String,
    /// What the scripted backend plays. `None` is a real model: its text is not checked.
    pub script: Option<Script>,
    /// Bounds a real model's answer.
    pub max_tokens: Option<u32>,
    /// Tasks are kept in memory only.
    pub transient: bool,
    /// Asks the server to merge events that come within so many milliseconds; its default is 40.
    pub window_ms: Option<u64>,
    /// A task that takes longer is given up, and counts as unfinished.
    pub task_limit: Duration,
    /// The server's process; found by its port on this machine unless told.
    pub pid: Option<u32>,
    /// Draws a progress bar on a terminal's stderr.
    pub progress: bool,
}

/// How tasks follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Each session submits its next task when the one before has ended.
    Closed {
        /// How many tasks each session submits.
        tasks: usize,
        /// Sessions begin evenly spread over this time.
        ramp: Duration,
    },
    /// Tasks are due at fixed times, whatever became of those before. Latencies count from the time that a task
    /// was due, so that a stalled server can't hide its stall.
    Open {
        /// How many are due in a second, over all sessions.
        per_second: f64,
        /// For how long.
        duration: Duration,
    },
}

/// What the scripted backend plays.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// How many tokens.
    pub tokens: u32,
    /// From one to the next.
    pub delay: Duration,
}

impl Options {
    /// How many tasks there will be.
    pub(crate) fn tasks(&self) -> u64 {
        match self.load {
            Load::Closed { tasks, .. } => (self.sessions * tasks) as u64,
            Load::Open { per_second, duration } => due_count(per_second, duration),
        }
    }

    /// What each session submits.
    pub(crate) fn submission(&self) -> Result<Submission, serde_json::Error> {
        let mut input = serde_json::json!({"messages": [{"role": "user", "content": self.prompt}]});
        if let Some(Script { tokens, delay }) = self.script {
            input["script"] = serde_json::json!({"tokens": tokens, "delay_ms": delay.as_millis()});
        }
        if let Some(max_tokens) = self.max_tokens {
            input["max_tokens"] = max_tokens.into();
        }
        Ok(Submission {
            input: Some(RawValue::from_string(input.to_string())?),
            model: self.model.clone(),
            durability: self.transient.then(|| "transient".to_owned()),
            ..Submission::default()
        })
    }
}

/// How many tasks are due at this rate in this time.
// A rate that a machine can reach for a time that a person waits is far below 2^52.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn due_count(per_second: f64, duration: Duration) -> u64 {
    (per_second * duration.as_secs_f64()).floor().max(0.0) as u64
}
