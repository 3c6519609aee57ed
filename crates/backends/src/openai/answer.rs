//! An answer as it arrives: bytes in, chunks out, with a limit on every silence.

use super::frame::{Frame, indexed};
use super::secret::Secret;
use super::{MAX_ANSWER_BYTES, refusal, upstream};
use crate::sse::{Event, Parser};
use futures_core::Stream;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use hyper::body::{Body, Incoming};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, Chunk, Fault};
use tokio::time::Sleep;

/// After `[DONE]` the body is whole but for its last frame, which some servers send a moment later. A connection
/// that is left before that can't be used again; one that is left waiting holds up the end of the answer.
const LAST_FRAME_TIMEOUT: Duration = Duration::from_millis(20);

type Item = Result<Chunk, BackendError>;

/// In what form an upstream answers.
pub(super) enum Form {
    /// Server-sent events, as asked.
    Events(Parser),
    /// One JSON document, from a server that can't stream.
    Document(Vec<u8>),
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BackendError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/event-stream");
        match kind.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Ok(Self::Events(Parser::new(MAX_ANSWER_BYTES))),
            "application/json" => Ok(Self::Document(Vec::new())),
            other => {
                let message = format!("the upstream answered in {other:?}: is the base URL that of an OpenAI API?");
                Err(BackendError::new(Fault::Broken, message))
            }
        }
    }
}

/// The stream of an answer's chunks. Dropping it closes the connection, unless the answer is whole.
pub(super) struct Answer {
    /// Gone once nothing more is wanted of it.
    body: Option<Incoming>,
    form: Form,
    heard: Heard,
    /// When the silence has lasted too long.
    deadline: Pin<Box<Sleep>>,
    between_tokens: Duration,
}

impl Answer {
    pub(super) fn new(
        body: Incoming,
        form: Form,
        first_token: Pin<Box<Sleep>>,
        between_tokens: Duration,
        secret: Secret,
    ) -> Self {
        let heard = Heard { ready: VecDeque::new(), finish: None, usage: None, stage: Stage::Speaking, secret };
        Self { body: Some(body), form, heard, deadline: first_token, between_tokens }
    }

    fn read(&mut self, data: &[u8]) {
        if self.heard.stage != Stage::Speaking {
            return;
        }
        match &mut self.form {
            Form::Events(parser) => {
                let heard = &mut self.heard;
                if parser.feed(data, |event| heard.event(event)).is_err() {
                    self.heard.fail(too_long());
                }
            }
            Form::Document(document) if document.len() + data.len() > MAX_ANSWER_BYTES => self.heard.fail(too_long()),
            Form::Document(document) => document.extend_from_slice(data),
        }
        if self.heard.stage == Stage::SaidAll {
            self.wait(LAST_FRAME_TIMEOUT);
        } else if !self.heard.ready.is_empty() {
            // Only a token counts: a heartbeat says that somebody is there, not that the model goes on.
            self.wait(self.between_tokens);
        }
    }

    fn wait(&mut self, wait: Duration) {
        // A sleep that is never polled costs a look at the runtime's clock, which is what is wanted of it.
        let until = tokio::time::sleep(wait).deadline();
        self.deadline.as_mut().reset(until);
    }

    /// The body has ended, or nothing more is expected of it.
    fn end(&mut self, cut_off: Option<BackendError>) {
        if let (None, Form::Document(document)) = (&cut_off, &self.form) {
            self.heard.document(document);
        }
        self.heard.end(cut_off);
        self.body = None;
    }
}

impl Stream for Answer {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let answer = self.get_mut();
        loop {
            if answer.heard.stage == Stage::Failed {
                answer.body = None;
            }
            if let Some(item) = answer.heard.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            let Some(body) = &mut answer.body else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        answer.read(&data);
                    }
                }
                Poll::Ready(Some(Err(error))) => answer.end(Some(upstream::broken_off(&error))),
                Poll::Ready(None) => answer.end(None),
                Poll::Pending => {
                    ready!(answer.deadline.as_mut().poll(context));
                    let message = "the upstream said nothing for too long";
                    answer.end(Some(BackendError::new(Fault::TimedOut, message)));
                }
            }
        }
    }
}

/// What was understood so far.
struct Heard {
    ready: VecDeque<Item>,
    finish: Option<Arc<str>>,
    usage: Option<Usage>,
    stage: Stage,
    secret: Secret,
}

#[derive(PartialEq)]
enum Stage {
    Speaking,
    /// `[DONE]` has come.
    SaidAll,
    Failed,
}

impl Heard {
    fn event(&mut self, event: Event<'_>) {
        let data = event.data.trim_ascii();
        if self.stage != Stage::Speaking || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            self.stage = Stage::SaidAll;
        } else if event.name == b"error" {
            self.fail(refusal::in_band(data, &self.secret));
        } else {
            self.frame(data, |chunk| chunk);
        }
    }

    fn document(&mut self, document: &[u8]) {
        // Its message has the same form as a delta, but for the tool calls' indices.
        self.frame(document, |chunk| match chunk {
            Chunk::ToolCall(calls) => Chunk::ToolCall(indexed(&calls).unwrap_or(calls)),
            other => other,
        });
    }

    fn frame(&mut self, json: &[u8], as_delta: impl Fn(Chunk) -> Chunk) {
        let Some(frame) = Frame::parse(json) else {
            // What it says instead may be a part of the answer, and stays out of the message.
            return self.fail(BackendError::new(Fault::Broken, "the upstream sent a chunk that can't be read"));
        };
        if frame.is_error() {
            return self.fail(refusal::in_band(json, &self.secret));
        }
        frame.for_each_chunk(|chunk| self.ready.push_back(Ok(as_delta(chunk))));
        if let Some(usage) = frame.usage().filter(|usage| self.usage != Some(*usage)) {
            self.usage = Some(usage);
            self.ready.push_back(Ok(Chunk::Usage(usage)));
        }
        if let Some(reason) = frame.finish_reason() {
            self.finish = Some(reason.into());
        }
    }

    fn fail(&mut self, error: BackendError) {
        self.ready.push_back(Err(error));
        self.stage = Stage::Failed;
    }

    /// An answer that gave its reason to end is whole, however its connection ended.
    fn end(&mut self, cut_off: Option<BackendError>) {
        if self.stage == Stage::Failed {
            return;
        }
        let early = || BackendError::new(Fault::Broken, "the upstream's answer ended without a finish_reason");
        match self.finish.take() {
            Some(reason) => self.ready.push_back(Ok(Chunk::Finish(reason))),
            None => self.fail(cut_off.unwrap_or_else(early)),
        }
    }
}

fn too_long() -> BackendError {
    BackendError::new(Fault::Broken, format!("the upstream sent more than {MAX_ANSWER_BYTES} bytes in one piece"))
}
