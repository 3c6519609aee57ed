//! A backend that plays a script instead of asking a model: tests and benchmarks know every token in advance,
//! and choose per request how fast it comes and what goes wrong.
//!
//! A request says what to play in its own field `script`, an object with the fields of [`Script`]; what it
//! leaves out comes from the backend's own script.
//!
//! # The text, for clients in any language
//!
//! Token `k`, counted from 0, is `seed`, then `k` in decimal, then for `k % 8 == 7` the five characters `-é漢🙂…`,
//! then one space. The seed is `w` unless the script says otherwise. The answer is the tokens `0..tokens`, joined:
//!
//! ```text
//! w0 w1 w2 w3 w4 w5 w6 w7-é漢🙂… w8 w9 ...
//! ```
//!
//! With `text` the answer is that text, cut into tokens after each space. [`text`] computes both.

mod play;
mod script;
mod stats;
mod vectors;

pub use script::{Accident, Script, text};
pub use stats::{Counts, Stats};

use async_trait::async_trait;
use play::Play;
use script::Input;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::port::{Backend, BackendError, Begins, Fault, Model, Request, Run};

/// How many different keys of `fail_attempts` are remembered: more than any test has, and a few MB at most.
const MAX_KEYS: usize = 100_000;

/// Plays scripts.
pub struct Scripted {
    own: Script,
    models: BTreeMap<String, Script>,
    stats: Arc<Stats>,
    /// How often each key has run.
    runs: Mutex<HashMap<String, u32>>,
}

impl Scripted {
    /// Plays this script where a request has none, under any model name.
    pub fn new(own: Script) -> Self {
        Self { own, models: BTreeMap::new(), stats: Arc::default(), runs: Mutex::default() }
    }

    /// Gives a model name a script of its own.
    #[must_use]
    pub fn with_model(mut self, name: impl Into<String>, script: Script) -> Self {
        self.models.insert(name.into(), script);
        self
    }

    /// Counts of its runs.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Whether this run is one of those that fail.
    fn fails(&self, script: &Script) -> Result<bool, BackendError> {
        let Some(fail_attempts) = script.fail_attempts else {
            return Ok(script.fail_at.is_some() || script.fault.is_some());
        };
        let Some(key) = &script.key else {
            return Err(invalid("the script's fail_attempts needs a key, by which its attempts are counted"));
        };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= MAX_KEYS && !runs.contains_key(key) {
            return Err(invalid("the scripted backend has seen too many keys: restart it"));
        }
        let count = runs.entry(key.clone()).or_default();
        *count += 1;
        Ok(*count <= fail_attempts)
    }
}

#[async_trait]
impl Backend for Scripted {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        let input: Input = serde_json::from_slice(&request.input)
            .map_err(|error| invalid(format!("the request is not a JSON object that can be read: {error}")))?;
        let own = self.models.get(&*request.model).unwrap_or(&self.own);
        let script = own.overlaid(input.script)?;
        let accident = if self.fails(&script)? { Some(script.fault.unwrap_or(Accident::Broken)) } else { None };
        let mut guard = self.stats.begin();
        // What a real upstream says by its status comes before the answer begins.
        if let Some(error) = accident.filter(|_| script.fail_at.unwrap_or(0) == 0).and_then(Accident::by_status) {
            guard.close();
            return Err(script.told(error));
        }
        let text = text(&script);
        let from = if script.continues { border(&text, &request.committed) } else { None };
        let begins = if from.is_some() { Begins::AfterCommitted } else { Begins::Afresh };
        let play = Play::new(script, text, from.unwrap_or(0), accident, input.words, request.timeouts, guard);
        Ok(Run { begins, chunks: Box::pin(play), limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        let model = |name: &str| Model { name: name.to_owned(), context_tokens: None };
        Ok(std::iter::once("scripted").chain(self.models.keys().map(String::as_str)).map(model).collect())
    }
}

/// Where to go on: after the committed text, where that is a beginning of the script's and ends with a token.
fn border(text: &str, committed: &str) -> Option<usize> {
    let whole = text.starts_with(committed) && (committed.ends_with(' ') || committed.len() == text.len());
    (whole && !committed.is_empty()).then_some(committed.len())
}

fn invalid(message: impl Into<String>) -> BackendError {
    BackendError::new(Fault::InvalidRequest, message)
}
