//! What the scripted model server saw: each call, what was sent of its answer, and how it ended.

use super::request::Path;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Calls that are remembered one by one. A test makes fewer; a benchmark makes more, and only counts them.
const MAX_CALLS: usize = 20_000;

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The model that it names.
    pub model: String,
    /// What it asks for.
    pub path: Path,
    /// It asks for a stream.
    pub stream: bool,
    /// The request's head, as it came.
    pub head: Bytes,
    /// The request's body, as it came.
    pub body: Bytes,
    /// Inputs of a call for embeddings.
    pub inputs: Vec<String>,
    /// Tokens of the answer that were sent (written to the connection), over all choices.
    pub tokens: u64,
    /// How it stands.
    pub state: State,
    /// When its request was there.
    pub began: Instant,
    /// When it ended.
    pub ended: Option<Instant>,
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The answer is under way.
    Running,
    /// The answer stands still, as its script says.
    Stalled,
    /// The whole answer was sent.
    Done,
    /// The script's fault ended it, or refused it.
    Faulted,
    /// The client closed the connection before the whole answer was sent.
    Cancelled,
}

impl Call {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.head).ok()?;
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sums over all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls for chat or embeddings.
    pub calls: u64,
    /// Tokens that were sent.
    pub tokens: u64,
    /// Calls whose client went away.
    pub cancelled: u64,
    /// Calls under way.
    pub running: u64,
    /// The most that were under way at once.
    pub most_running: u64,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    calls: Mutex<Vec<Call>>,
    remembers: bool,
    changed: Notify,
    begun: AtomicU64,
    tokens: AtomicU64,
    cancelled: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
}

/// A call that is remembered, or only counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(Option<usize>);

impl Seen {
    pub(super) fn new(remembers: bool) -> Self {
        Self { remembers, ..Self::default() }
    }

    pub(super) fn begin(&self, call: impl FnOnce() -> Call) -> Ticket {
        self.begun.fetch_add(1, Relaxed);
        let running = self.running.fetch_add(1, Relaxed) + 1;
        self.most_running.fetch_max(running, Relaxed);
        if !self.remembers {
            return Ticket(None);
        }
        let mut calls = self.calls();
        let ticket = Ticket((calls.len() < MAX_CALLS).then_some(calls.len()));
        if ticket.0.is_some() {
            calls.push(call());
        }
        drop(calls);
        self.changed.notify_waiters();
        ticket
    }

    /// Whether the newest call is one of so many of a thousand, spread evenly.
    pub(super) fn is_one_in(&self, permille: u32) -> bool {
        let (calls, permille) = (self.begun.load(Relaxed), u64::from(permille));
        calls * permille / 1000 != calls.saturating_sub(1) * permille / 1000
    }

    pub(super) fn sent(&self, ticket: Ticket, tokens: u64) {
        self.tokens.fetch_add(tokens, Relaxed);
        self.change(ticket, |call| call.tokens += tokens);
    }

    pub(super) fn state(&self, ticket: Ticket, state: State) {
        self.change(ticket, |call| call.state = state);
    }

    pub(super) fn end(&self, ticket: Ticket, state: State, now: Instant) {
        self.running.fetch_sub(1, Relaxed);
        if state == State::Cancelled {
            self.cancelled.fetch_add(1, Relaxed);
        }
        self.change(ticket, |call| (call.state, call.ended) = (state, Some(now)));
    }

    fn change(&self, ticket: Ticket, change: impl FnOnce(&mut Call)) {
        let Some(at) = ticket.0 else { return };
        change(&mut self.calls()[at]);
        self.changed.notify_waiters();
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was seen gives an answer.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut(&[Call]) -> Option<T>) -> T {
        loop {
            // Listening begins before looking, so that no change goes by between the two.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&self.calls()) {
                return found;
            }
            changed.await;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.begun.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            running: self.running.load(Relaxed),
            most_running: self.most_running.load(Relaxed),
        }
    }
}
