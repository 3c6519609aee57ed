//! The port `Backend` on the built-in models.

use super::engine::{Answer, Engine, Refusal, Request};
use super::sequence::{Chance, Event, Token};
use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use tidewire_core::Usage;
use tidewire_core::port::{self, Backend, BackendError, Begins, Chunk, Clock, Fault, Model, Run, Timeouts};
use tokio::sync::mpsc;

/// Models that run in this process.
pub struct Local {
    engines: Vec<Engine>,
    clock: Arc<dyn Clock>,
}

impl Local {
    /// These models, under the names of their configuration. The clock measures timeouts, and gives the
    /// random bits by which answers are drawn that have no seed.
    pub fn new(engines: Vec<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engines, clock }
    }

    /// The models, for those who ask how busy they are.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// Stops all threads and waits for them. Blocks: not for an async thread.
    pub fn shutdown(&self) {
        self.engines.iter().for_each(Engine::shutdown);
    }
}

#[async_trait]
impl Backend for Local {
    async fn run(&self, request: port::Request) -> Result<Run, BackendError> {
        let named = |engine: &&Engine| *engine.config().name == *request.model;
        let engine = self.engines.iter().find(named).ok_or_else(|| {
            BackendError::new(Fault::UnknownModel, format!("no built-in model is called `{}`", request.model))
        })?;
        let committed = request.committed.as_str();
        let seed = self.clock.random();
        let answer =
            engine.submit(Request { input: &request.input, committed, seed }).map_err(|refusal| refused(&refusal))?;
        let begins = if committed.is_empty() { Begins::Afresh } else { Begins::AfterCommitted };
        let reader = Reader::new(answer, request.timeouts, Arc::clone(&self.clock));
        Ok(Run { begins, chunks: Box::pin(unfold(reader, Reader::next)), limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        let model = |engine: &Engine| Model {
            name: engine.config().name.clone(),
            context_tokens: u32::try_from(engine.context_tokens()).ok(),
        };
        Ok(self.engines.iter().map(model).collect())
    }
}

fn refused(refusal: &Refusal) -> BackendError {
    let fault = match refusal {
        Refusal::InvalidInput(_) => Fault::InvalidRequest,
        Refusal::ContextTooLong { .. } => Fault::ContextTooLong,
        Refusal::Busy { .. } => Fault::Overloaded,
        Refusal::Stopped => Fault::Unreachable,
    };
    BackendError::new(fault, refusal.to_string())
}

/// Turns an answer's events into chunks.
struct Reader {
    events: mpsc::Receiver<Event>,
    ready: VecDeque<Chunk>,
    usage: Usage,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    over: bool,
}

impl Reader {
    fn new(answer: Answer, timeouts: Timeouts, clock: Arc<dyn Clock>) -> Self {
        let usage = Usage { input_tokens: count(answer.input_tokens), ..Usage::default() };
        Self { events: answer.events, ready: VecDeque::new(), usage, timeouts, clock, over: false }
    }

    async fn next(mut self) -> Option<(Result<Chunk, BackendError>, Self)> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some((Ok(chunk), self));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                return Some((Err(error), self));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), BackendError> {
        let first = self.usage.output_tokens == 0;
        let limit = if first { self.timeouts.first_token } else { self.timeouts.between_tokens };
        // The event first: what has come is taken even where the limit has passed as well.
        let event = match select(Box::pin(self.events.recv()), self.clock.sleep(limit)).await {
            Either::Left((event, _)) => event,
            Either::Right(_) => {
                let message = format!("the built-in model gave no token for {limit:?}");
                return Err(BackendError::new(Fault::TimedOut, message));
            }
        };
        match event {
            Some(Event::Began { cached_tokens }) => {
                self.usage.cached_tokens = count(cached_tokens);
                self.ready.push_back(Chunk::Usage(self.usage));
            }
            Some(Event::Text { text, tokens, output_tokens }) => {
                self.ready.push_back(Chunk::Text(text.into()));
                if !tokens.is_empty() {
                    self.ready.push_back(Chunk::Logprobs(logprobs(&tokens).into()));
                }
                self.usage.output_tokens = count(output_tokens);
                self.ready.push_back(Chunk::Usage(self.usage));
            }
            Some(Event::End { finish, output_tokens }) => {
                self.usage.output_tokens = count(output_tokens);
                self.ready.push_back(Chunk::Usage(self.usage));
                self.ready.push_back(Chunk::Finish(finish.reason().into()));
                self.over = true;
            }
            Some(Event::Failed(message)) => return Err(BackendError::new(Fault::Broken, message)),
            None => return Err(BackendError::new(Fault::Broken, "the built-in model was stopped in mid-answer")),
        }
        Ok(())
    }
}

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Shown<'a> {
    token: std::borrow::Cow<'a, str>,
    logprob: f32,
    bytes: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Shown<'a>>>,
}

impl<'a> Shown<'a> {
    fn new(chance: &'a Chance, top: Option<&'a [Chance]>) -> Self {
        let top_logprobs = top.map(|top| top.iter().map(|each| Shown::new(each, None)).collect());
        let Chance { bytes, logprob } = chance;
        Self { token: String::from_utf8_lossy(bytes), logprob: *logprob, bytes, top_logprobs }
    }
}

/// `OpenAI`'s `logprobs.content`.
fn logprobs(tokens: &[Token]) -> Vec<u8> {
    let content: Vec<Shown<'_>> = tokens.iter().map(|each| Shown::new(&each.chosen, Some(&each.top))).collect();
    // Strings and numbers only: serialising cannot fail. A logarithm that is no number becomes `null`.
    serde_json::to_vec(&content).unwrap_or_else(|_| b"[]".to_vec())
}
