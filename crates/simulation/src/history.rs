//! What happened, line by line: all that the clients saw, and what was done to the server.

use crate::clock;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidewire_core::{Epoch, Timestamp};

/// A run's history.
#[derive(Default)]
pub struct History {
    told: Mutex<Told>,
}

#[derive(Default)]
pub(crate) struct Told {
    lines: String,
    pub(crate) violations: Vec<String>,
    pub(crate) acks: Vec<Acked>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) stops: Vec<StopAnswer>,
    /// Who was told that which log has ended, and what was to come next.
    pub(crate) ends: Vec<(String, String, u64)>,
    /// Somebody has submitted a transient task.
    pub(crate) asked_transient: bool,
    /// How far anybody has seen each durable log.
    pub(crate) board: BTreeMap<String, (u32, u64)>,
}

/// A submit that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    pub(crate) key: Option<String>,
    pub(crate) task: String,
    pub(crate) epoch: u32,
    pub(crate) durable: bool,
    /// The answer that the task's script amounts to, if it goes well.
    pub(crate) text: String,
}

/// An event that a client saw, or several merged into one.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) who: String,
    pub(crate) log: String,
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
    pub(crate) count: u64,
    pub(crate) kind: String,
    /// Text as it is, other data as JSON.
    pub(crate) data: String,
}

/// The answer to a stop.
#[derive(Clone, Debug)]
pub(crate) struct StopAnswer {
    pub(crate) task: String,
    pub(crate) state: String,
    pub(crate) at: Timestamp,
}

impl History {
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line.
    pub(crate) fn note(&self, who: &str, what: impl std::fmt::Display) {
        let micros = clock::elapsed().as_micros();
        // Writing to a string can't fail.
        let _ = writeln!(self.told().lines, "{micros:>10} {who}: {what}");
    }

    /// Writes down that a promise was broken.
    pub(crate) fn violation(&self, who: &str, what: impl std::fmt::Display) {
        let text = format!("{who}: {what}");
        self.note(who, format_args!("BROKEN PROMISE: {what}"));
        self.told().violations.push(text);
    }

    /// Every line, for whoever compares two runs.
    pub fn lines(&self) -> String {
        self.told().lines.clone()
    }

    /// The broken promises.
    pub fn violations(&self) -> Vec<String> {
        self.told().violations.clone()
    }
}
