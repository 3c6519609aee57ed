//! A log as OpenAI's `chat.completion.chunk` objects.

use super::fault::{error_object, not_whole, rewound};
use super::usage::OpenAiUsage;
use crate::follow::Batch;
use crate::transport::events::Written;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::{Ending, Event, Kind, Task, Usage};
use tidewire_proto::{Code, WireError};

/// What the answers of one request have in common: how many are still to end, and what all of them used.
pub(super) struct Shared {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    open: Mutex<(usize, Usage)>,
}

impl Shared {
    /// Of a request whose first answer is this task, for so many answers.
    pub(super) fn new(first: &Task, answers: usize, include_usage: bool) -> Self {
        Self {
            id: format!("chatcmpl-{}", first.id),
            model: first.spec.model.clone(),
            created: first.submitted_at.as_millis() / 1000,
            include_usage,
            open: Mutex::new((answers, Usage::default())),
        }
    }

    /// One more answer is whole. Once all are: what they used together.
    fn ended(&self, used: Usage) -> Option<Usage> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        open.1 = open.1.plus(used);
        (open.0 == 0).then_some(open.1)
    }
}

/// Writes the chunks of one answer.
pub(super) struct Chunks {
    shared: Arc<Shared>,
    /// All that stands before a chunk's delta: the same in each, so written once.
    front: Vec<u8>,
    began: bool,
    /// Something was sent that a rewind would have to take back.
    said: bool,
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

/// What stands around the choices of a chunk.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
}

impl Chunks {
    /// Of the answer with this index.
    pub(super) fn new(shared: Arc<Shared>, index: usize) -> Self {
        let mut front = b"data: ".to_vec();
        json(&mut front, &shared.envelope());
        // The object goes on.
        front.pop();
        front.extend_from_slice(format!(",\"choices\":[{{\"index\":{index},\"delta\":").as_bytes());
        Self { shared, front, began: false, said: false }
    }

    /// A batch as SSE.
    pub(super) fn write(&mut self, batch: &Batch) -> Written {
        let mut out = Vec::with_capacity(self.front.len() + 128);
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
                    self.delta(&mut out, Delta::default(), content);
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

    fn delta(&mut self, out: &mut Vec<u8>, delta: Delta<'_>, logprobs: Option<&RawValue>) {
        self.said = true;
        self.chunk(out, delta, logprobs, None);
    }

    fn chunk(&mut self, out: &mut Vec<u8>, mut delta: Delta<'_>, logprobs: Option<&RawValue>, finish: Option<&str>) {
        if !std::mem::replace(&mut self.began, true) {
            delta.role = Some("assistant");
        }
        out.extend_from_slice(&self.front);
        json(out, &delta);
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(b",\"logprobs\":{\"content\":");
            out.extend_from_slice(logprobs.get().as_bytes());
            out.push(b'}');
        }
        out.extend_from_slice(b",\"finish_reason\":");
        json(out, &finish);
        out.extend_from_slice(b"}]}\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>, event: &Event) {
        let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) else {
            return line(out, &error_object(&WireError::new(Code::Damaged, "the end of the log can't be read")));
        };
        if let Some(error) = not_whole(&ending) {
            return line(out, &error_object(&error));
        }
        let reason = ending.finish_reason.as_deref().unwrap_or("stop");
        self.chunk(out, Delta::default(), None, Some(reason));
        let Some(used) = self.shared.ended(ending.used_for_answer()) else { return };
        if self.shared.include_usage {
            line(out, &self.shared.usage(used));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Shared {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { id: &self.id, object: "chat.completion.chunk", created: self.created, model: &self.model }
    }

    /// The chunk after the last one, which tells what was used.
    fn usage(&self, used: Usage) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Used<'a> {
            #[serde(flatten)]
            envelope: Envelope<'a>,
            choices: [(); 0],
            usage: OpenAiUsage,
        }
        Used { envelope: self.envelope(), choices: [], usage: used.into() }
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
    json(out, value);
    out.extend_from_slice(b"\n\n");
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Strings, numbers and JSON that was parsed before: writing them to a vector can't fail.
    let _ = serde_json::to_writer(out, value);
}
