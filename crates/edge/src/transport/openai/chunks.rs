//! A log as OpenAI's `chat.completion.chunk` objects.

use super::error_object;
use crate::follow::Batch;
use crate::transport::events::Written;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tidewire_core::{Ending, Event, Kind, Outcome, Task, Usage};
use tidewire_proto::{Code, WireError};

/// Writes chunks.
pub(super) struct Chunks {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    began: bool,
    /// Something was sent that a rewind would have to take back.
    said: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<OpenAiUsage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Logprobs<'a> {
    content: &'a RawValue,
}

/// OpenAI's usage object.
#[derive(Clone, Copy, Serialize)]
pub(super) struct OpenAiUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for OpenAiUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens + usage.output_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens },
            completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning_tokens },
        }
    }
}

/// Why a log's end is no whole answer.
pub(super) fn not_whole(ending: &Ending) -> Option<WireError> {
    match (ending.state, &ending.error) {
        (Outcome::Done, _) => None,
        (Outcome::Failed, Some(failure)) => {
            Some(WireError { code: failure.code.clone(), message: failure.message.clone(), retry_after_ms: None })
        }
        (Outcome::Failed, None) => Some(WireError::new(Code::Internal, "the task failed")),
        (Outcome::Stopped, _) => Some(WireError::new(Code::Stopped, "the task was stopped")),
    }
}

/// The answer began anew after text had been sent.
pub(super) fn rewound() -> WireError {
    WireError::new(
        Code::Rewound,
        "the model failed in mid-answer and another attempt starts over; the whole answer is in the task's log",
    )
}

impl Chunks {
    pub(super) fn new(task: &Task, include_usage: bool) -> Self {
        Self {
            id: format!("chatcmpl-{}", task.id),
            model: task.spec.model.clone(),
            created: task.submitted_at.as_millis() / 1000,
            include_usage,
            began: false,
            said: false,
        }
    }

    /// A batch as SSE.
    pub(super) fn write(&mut self, batch: &Batch) -> Written {
        let mut out = Vec::with_capacity(256);
        let mut events = batch.events.iter().peekable();
        while let Some(event) = events.next() {
            match event.kind {
                Kind::Text => {
                    let text = join(event, &mut events, Kind::Text);
                    self.delta(&mut out, Delta { content: Some(text), ..Delta::default() }, None);
                }
                Kind::Reasoning => {
                    let text = join(event, &mut events, Kind::Reasoning);
                    self.delta(&mut out, Delta { reasoning_content: Some(text), ..Delta::default() }, None);
                }
                Kind::ToolCall => {
                    let calls = serde_json::from_slice(&event.data).ok();
                    self.delta(&mut out, Delta { tool_calls: calls, ..Delta::default() }, None);
                }
                Kind::Logprobs => {
                    let content = serde_json::from_slice(&event.data).ok();
                    let logprobs = content.map(|content| Logprobs { content });
                    self.delta(&mut out, Delta::default(), logprobs);
                }
                Kind::Rewind if self.said => {
                    line(&mut out, &error_object(&rewound()));
                    return Written { bytes: out.into(), more: false };
                }
                Kind::End => self.end(&mut out, event),
                _ => {}
            }
        }
        Written { bytes: out.into(), more: true }
    }

    fn delta(&mut self, out: &mut Vec<u8>, mut delta: Delta<'_>, logprobs: Option<Logprobs<'_>>) {
        if !self.began {
            self.began = true;
            delta.role = Some("assistant");
        }
        self.said = true;
        let choice = Choice { index: 0, delta, logprobs, finish_reason: None };
        line(out, &self.chunk(&[choice], None));
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>], usage: Option<OpenAiUsage>) -> Chunk<'a> {
        Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices,
            usage,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>, event: &Event) {
        let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) else {
            return line(out, &error_object(&WireError::new(Code::Damaged, "the end of the log can't be read")));
        };
        if let Some(error) = not_whole(&ending) {
            return line(out, &error_object(&error));
        }
        let reason = ending.finish_reason.as_deref().unwrap_or("stop");
        let delta = Delta { role: (!self.began).then_some("assistant"), ..Delta::default() };
        let choice = Choice { index: 0, delta, logprobs: None, finish_reason: Some(reason) };
        line(out, &self.chunk(&[choice], None));
        if self.include_usage {
            line(out, &self.chunk(&[], Some(ending.usage.into())));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Why there are no more chunks.
pub(super) fn refused(error: &WireError) -> Written {
    let mut out = Vec::new();
    line(&mut out, &error_object(error));
    Written { bytes: out.into(), more: false }
}

/// The text of this event and of the ones of its kind right after it.
fn join<'a>(event: &'a Event, rest: &mut std::iter::Peekable<std::slice::Iter<'a, Event>>, kind: Kind) -> Cow<'a, str> {
    let mut text = String::from_utf8_lossy(&event.data);
    while let Some(next) = rest.next_if(|next| next.kind == kind) {
        text.to_mut().push_str(&String::from_utf8_lossy(&next.data));
    }
    text
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    out.extend_from_slice(b"data: ");
    // Strings, numbers and JSON that was parsed before: writing them to a vector can't fail.
    let _ = serde_json::to_writer(&mut *out, value);
    out.extend_from_slice(b"\n\n");
}
