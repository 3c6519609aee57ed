//! A log as Anthropic's message, whole or in events.

use super::fault::error_object;
use crate::follow::Batch;
use crate::transport::answer::{Answer, Part, Role, Step};
use crate::transport::events::Written;
use crate::transport::openai::fault::{not_whole, rewound};
use serde_json::{Value, json};
use tidewire_core::{Ending, Event, Kind, Task, Usage};
use tidewire_proto::{Code, WireError};

/// What stays the same of a message, and what was said of it by now.
pub(super) struct Message {
    id: String,
    model: String,
    /// By the estimate that was reserved, until what was used is told.
    input_tokens: u64,
    answer: Answer,
}

impl Message {
    pub(super) fn new(task: &Task) -> Self {
        Self {
            id: task.id.to_string().replacen("task_", "msg_", 1),
            model: task.spec.model.clone(),
            input_tokens: task.spec.reserved.input_tokens,
            answer: Answer::default(),
        }
    }

    fn object(&self, content: &[Value], stopped: Option<&Ending>, usage: &Value) -> Value {
        json!({ "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stopped.map(stop_reason), "stop_sequence": stopped.and_then(|ending| ending.stop_sequence.as_deref()),
            "usage": usage })
    }

    /// Takes an event where nobody reads along.
    pub(super) fn hear(&mut self, event: &Event) {
        self.answer.hear(event, &mut |_| {});
    }

    /// The whole of it.
    pub(super) fn whole(&self, ending: &Ending) -> Result<Value, WireError> {
        let content: Result<Vec<Value>, WireError> = self.answer.parts().iter().map(block).collect();
        Ok(self.object(&content?, Some(ending), &used(ending.used_for_answer())))
    }

    /// What is said before the log has anything.
    pub(super) fn open(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let usage = json!({ "input_tokens": self.input_tokens, "output_tokens": 0 });
        say(&mut out, &json!({ "type": "message_start", "message": self.object(&[], None, &usage) }));
        say(&mut out, &json!({ "type": "ping" }));
        out
    }

    /// What a batch of the log amounts to.
    pub(super) fn write(&mut self, batch: Result<&Batch, &WireError>) -> Written {
        let mut out = Vec::new();
        let written = batch
            .map_err(Clone::clone)
            .and_then(|batch| batch.events.iter().try_for_each(|event| self.tell(event, &mut out)));
        if let Err(error) = &written {
            say(&mut out, &error_object(error));
        }
        Written { bytes: out.into(), more: written.is_ok() }
    }

    fn tell(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), WireError> {
        if event.kind == Kind::End {
            return self.end(event, out);
        }
        let mut taken_back = false;
        self.answer.hear(event, &mut |step| match step {
            Step::TakenBack => taken_back = true,
            step => tell(&step, out),
        });
        if taken_back { Err(rewound()) } else { Ok(()) }
    }

    fn end(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), WireError> {
        let ending: Ending = serde_json::from_slice(&event.data)
            .map_err(|_| WireError::new(Code::Damaged, "the end of the log can't be read"))?;
        if let Some(error) = not_whole(&ending) {
            return Err(error);
        }
        self.answer.finish(&mut |step| tell(&step, out));
        let delta = json!({ "stop_reason": stop_reason(&ending), "stop_sequence": ending.stop_sequence });
        say(out, &json!({ "type": "message_delta", "delta": delta, "usage": used(ending.used_for_answer()) }));
        say(out, &json!({ "type": "message_stop" }));
        Ok(())
    }
}

fn tell(step: &Step<'_>, out: &mut Vec<u8>) {
    let value = match step {
        Step::Begins(part) => {
            let block = match &part.role {
                Role::Text => json!({ "type": "text", "text": "" }),
                Role::Reasoning => json!({ "type": "thinking", "thinking": "", "signature": "" }),
                Role::Call { id, name, .. } => json!({ "type": "tool_use", "id": id, "name": name, "input": {} }),
            };
            json!({ "type": "content_block_start", "index": part.place, "content_block": block })
        }
        Step::Adds(part, text) => {
            let delta = match part.role {
                Role::Text => json!({ "type": "text_delta", "text": text }),
                Role::Reasoning => json!({ "type": "thinking_delta", "thinking": text }),
                Role::Call { .. } => json!({ "type": "input_json_delta", "partial_json": text }),
            };
            json!({ "type": "content_block_delta", "index": part.place, "delta": delta })
        }
        Step::Ends(part) => json!({ "type": "content_block_stop", "index": part.place }),
        Step::TakenBack => return,
    };
    say(out, &value);
}

fn block(part: &Part) -> Result<Value, WireError> {
    Ok(match &part.role {
        Role::Text => json!({ "type": "text", "text": part.text, "citations": null }),
        Role::Reasoning => json!({ "type": "thinking", "thinking": part.text, "signature": "" }),
        Role::Call { id, name, .. } => {
            let arguments = if part.text.trim().is_empty() { "{}" } else { &part.text };
            let input: Value = serde_json::from_str(arguments).map_err(|_| {
                let message = format!("the model called `{name}` with arguments that are no JSON");
                WireError::new(Code::UpstreamBroken, message)
            })?;
            json!({ "type": "tool_use", "id": id, "name": name, "input": input })
        }
    })
}

/// Why the answer ended, in Anthropic's words. Where the upstream does not tell of a stop sequence, `end_turn` stands for both.
fn stop_reason(ending: &Ending) -> &'static str {
    match ending.finish_reason.as_deref() {
        Some("length") => "max_tokens",
        Some("tool_calls" | "function_call") => "tool_use",
        Some("content_filter") => "refusal",
        _ if ending.stop_sequence.is_some() => "stop_sequence",
        _ => "end_turn",
    }
}

/// Anthropic counts what was cached apart from the rest.
fn used(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens.saturating_sub(usage.cached_tokens),
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.output_tokens,
    })
}

fn say(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(value["type"].as_str().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Strings and numbers: writing them to a vector can't fail.
    let _ = serde_json::to_writer(&mut *out, value);
    out.extend_from_slice(b"\n\n");
}
