//! An answer after the rules: its text, its reasoning and the arguments of its tool calls, each a text of its own that comes
//! in pieces. What is held of a text comes when it could no longer become a match, and at the end.
//!
//! Log probabilities belong to the text chunk before them. They come once that chunk is decided on, and never where a part of
//! it is hidden: a token that stood there would tell it.

use super::{Guard, forbidden};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tidewire_core::guard::{Blocked, Hit, Masked, Masker, Rules};
use tidewire_core::port::{BackendError, Chunk, Chunks, Fault};

/// The most tool calls of one answer that are followed at once: models make a handful.
const MAX_CALLS: usize = 128;

/// The most log probabilities that wait for their text: as many as pieces of it can be held.
const MAX_WAITING: usize = 4096;

type Said = Result<Chunk, BackendError>;

/// An answer after the rules.
pub(super) struct Masking {
    said: Chunks,
    out: VecDeque<Said>,
    over: bool,
    rules: Arc<Rules>,
    text: Masker,
    reasoning: Masker,
    calls: BTreeMap<u64, Masker>,
    logprobs: Logprobs,
    guard: Guard,
}

/// Log probabilities that wait until it is decided what becomes of their text.
#[derive(Default)]
struct Logprobs {
    /// Where the last text chunk lies in the text.
    chunk: Range<usize>,
    waiting: VecDeque<(Range<usize>, Bytes)>,
    hidden: VecDeque<Range<usize>>,
    decided: usize,
}

impl Logprobs {
    /// What may be told of them by now.
    fn told(&mut self, masked: &Masked) -> Vec<Bytes> {
        self.hidden.extend(masked.hidden.iter().cloned());
        self.decided = masked.decided;
        self.ready()
    }

    fn ready(&mut self) -> Vec<Bytes> {
        let mut ready = Vec::new();
        while let Some((chunk, _)) = self.waiting.front().filter(|(chunk, _)| chunk.end <= self.decided) {
            let begins = chunk.start;
            self.hidden.retain(|hidden| hidden.end > begins);
            let Some((chunk, json)) = self.waiting.pop_front() else { break };
            if !self.hidden.iter().any(|hidden| hidden.start < chunk.end && chunk.start < hidden.end) {
                ready.push(json);
            }
        }
        if self.waiting.is_empty() {
            let begins = self.chunk.start;
            self.hidden.retain(|hidden| hidden.end > begins);
        }
        ready
    }
}

impl Masking {
    pub(super) fn new(said: Chunks, rules: Arc<Rules>, before: &str, guard: Guard) -> Self {
        Self {
            said,
            out: VecDeque::new(),
            over: false,
            text: Masker::new(rules.clone(), before),
            reasoning: Masker::new(rules.clone(), ""),
            rules,
            calls: BTreeMap::new(),
            logprobs: Logprobs::default(),
            guard,
        }
    }

    /// Takes one chunk in.
    fn take_in(&mut self, chunk: Chunk) {
        let mut hits = Vec::new();
        let taken = match chunk {
            Chunk::Text(text) => self.text(&text, &mut hits),
            Chunk::Reasoning(text) => {
                let masked = self.reasoning.push(&String::from_utf8_lossy(&text), &mut hits);
                masked.map(|masked| self.tell(Chunk::Reasoning, masked.text))
            }
            Chunk::ToolCall(json) => self.call(&json, &mut hits),
            Chunk::Logprobs(json) => {
                self.logprobs.waiting.push_back((self.logprobs.chunk.clone(), json));
                if self.logprobs.waiting.len() > MAX_WAITING {
                    self.logprobs.waiting.pop_front();
                }
                let ready = self.logprobs.ready();
                self.out.extend(ready.into_iter().map(|json| Ok(Chunk::Logprobs(json))));
                Ok(())
            }
            Chunk::Finish(reason) => {
                let rest = self.rest(&mut hits);
                rest.map(|()| {
                    self.over = true;
                    self.out.push_back(Ok(Chunk::Finish(reason)));
                })
            }
            other => {
                self.out.push_back(Ok(other));
                Ok(())
            }
        };
        self.guard.count(&hits);
        if let Err(blocked) = taken {
            self.fail(forbidden("answer", &blocked.rule));
        }
    }

    /// The answer ends so. What ran for it stops at once.
    fn fail(&mut self, error: BackendError) {
        self.over = true;
        self.said = Box::pin(stream::empty());
        self.out.push_back(Err(error));
    }

    fn tell(&mut self, kind: fn(Bytes) -> Chunk, text: String) {
        if !text.is_empty() {
            self.out.push_back(Ok(kind(text.into())));
        }
    }

    fn text(&mut self, text: &Bytes, hits: &mut Vec<Hit>) -> Result<(), Blocked> {
        // Reasoning ends where the text begins: nobody waits for what is held of it until the answer's end.
        let reasoned = self.reasoning.finish(hits)?;
        self.tell(Chunk::Reasoning, reasoned.text);
        let begins = self.text.at();
        let masked = self.text.push(&String::from_utf8_lossy(text), hits)?;
        self.logprobs.chunk = begins..self.text.at();
        self.told(masked);
        Ok(())
    }

    fn told(&mut self, masked: Masked) {
        let ready = self.logprobs.told(&masked);
        self.tell(Chunk::Text, masked.text);
        self.out.extend(ready.into_iter().map(|json| Ok(Chunk::Logprobs(json))));
    }

    /// A piece of one or more tool calls. Names and ids pass; of arguments, what is decided.
    fn call(&mut self, json: &[u8], hits: &mut Vec<Hit>) -> Result<(), Blocked> {
        let Ok(Value::Array(mut calls)) = serde_json::from_slice(json) else {
            // What can't be read can't be looked through.
            self.fail(BackendError::new(Fault::Broken, "a tool call of the answer can't be read"));
            return Ok(());
        };
        let mut failed = None;
        for (place, call) in calls.iter_mut().enumerate() {
            let index = call.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
            let Some(Value::String(arguments)) = call.pointer_mut("/function/arguments") else { continue };
            if self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&index) {
                failed = Some(BackendError::new(Fault::Broken, format!("the answer has over {MAX_CALLS} tool calls")));
                break;
            }
            let masker = self.calls.entry(index).or_insert_with(|| Masker::in_json(self.rules.clone()));
            *arguments = masker.push(arguments, hits)?.text;
        }
        if let Some(error) = failed {
            self.fail(error);
            return Ok(());
        }
        calls.retain(|call| !says_nothing(call));
        if !calls.is_empty() {
            self.out.push_back(Ok(Chunk::ToolCall(Value::Array(calls).to_string().into())));
        }
        Ok(())
    }

    /// What is held of all.
    fn rest(&mut self, hits: &mut Vec<Hit>) -> Result<(), Blocked> {
        let reasoned = self.reasoning.finish(hits)?;
        self.tell(Chunk::Reasoning, reasoned.text);
        let masked = self.text.finish(hits)?;
        self.told(masked);
        let mut rest = Vec::new();
        for (index, masker) in &mut self.calls {
            let arguments = masker.finish(hits)?.text;
            if !arguments.is_empty() {
                rest.push(serde_json::json!({ "index": index, "function": { "arguments": arguments } }));
            }
        }
        if !rest.is_empty() {
            self.out.push_back(Ok(Chunk::ToolCall(Value::Array(rest).to_string().into())));
        }
        Ok(())
    }
}

/// Whether a piece of a tool call has nothing but arguments, and none of those.
fn says_nothing(call: &Value) -> bool {
    let only = |value: &Value, names: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&&**name)))
    };
    let function = call.get("function");
    only(call, &["index", "function"])
        && function.is_some_and(|function| only(function, &["arguments"]))
        && call.pointer("/function/arguments").and_then(Value::as_str) == Some("")
}

impl Stream for Masking {
    type Item = Said;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Said>> {
        loop {
            if let Some(said) = self.out.pop_front() {
                return Poll::Ready(Some(said));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match ready!(self.said.poll_next_unpin(context)) {
                Some(Ok(chunk)) => self.take_in(chunk),
                // What is held is lost with the answer: another attempt says it again.
                Some(Err(error)) => self.fail(error),
                None => self.over = true,
            }
        }
    }
}
