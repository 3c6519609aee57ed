//! A log as the AI SDK's UI message chunks.

use crate::follow::Batch;
use crate::transport::answer::{Answer, Part, Role, Step};
use crate::transport::openai::fault::not_whole;
use crate::transport::parts::{Said, joins};
use serde_json::{Value, json};
use tidewire_core::{Ending, Event, Kind, Outcome, Task, Timestamp};
use tidewire_proto::{Code, WireError};

/// An answer, as far as it was told.
pub(super) struct Chunks {
    id: String,
    task: String,
    model: String,
    submitted_at: Timestamp,
    first_word: Option<Timestamp>,
    answer: Answer,
}

impl Chunks {
    pub(super) fn new(task: &Task) -> Self {
        Self {
            // The same for everybody who reads it, so that who comes back goes on with the same message.
            id: task.id.to_string().replacen("task_", "msg_", 1),
            task: task.id.to_string(),
            model: task.spec.model.clone(),
            submitted_at: task.submitted_at,
            first_word: None,
            answer: Answer::default(),
        }
    }

    /// What is said before the log has anything.
    pub(super) fn open(&self) -> Vec<Value> {
        let metadata = json!({ "task": self.task, "model": self.model, "submittedAt": self.submitted_at.as_millis() });
        let start = json!({ "type": "start", "messageId": self.id, "messageMetadata": metadata });
        vec![start, json!({ "type": "start-step" })]
    }

    /// What a batch of the log amounts to, or why there is none.
    pub(super) fn write(&mut self, batch: Result<&Batch, &WireError>) -> Said {
        let mut chunks = Vec::new();
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                failed(error, &mut chunks);
                return Said { objects: chunks, more: false };
            }
        };
        for event in &batch.events {
            if event.kind == Kind::End {
                self.end(event, &mut chunks);
                return Said { objects: chunks, more: false };
            }
            if self.first_word.is_none() && matches!(event.kind, Kind::Text | Kind::Reasoning | Kind::ToolCall) {
                self.first_word = Some(event.at);
            }
            self.answer.hear(event, &mut |step| tell(&step, &mut chunks));
        }
        Said { objects: chunks, more: !batch.over }
    }

    fn end(&mut self, event: &Event, chunks: &mut Vec<Value>) {
        let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) else {
            return failed(&WireError::new(Code::Damaged, "the end of the log can't be read"), chunks);
        };
        if ending.state != Outcome::Failed {
            self.answer.finish(&mut |step| tell(&step, chunks));
        }
        let metadata = self.metadata(event.at, &ending);
        match (ending.state, not_whole(&ending)) {
            (Outcome::Stopped, _) => {
                chunks.push(json!({ "type": "message-metadata", "messageMetadata": metadata }));
                chunks.push(json!({ "type": "abort", "reason": "the task was stopped" }));
            }
            (_, Some(error)) => {
                chunks.push(json!({ "type": "message-metadata", "messageMetadata": metadata }));
                failed(&error, chunks);
            }
            (_, None) => {
                chunks.push(json!({ "type": "finish-step" }));
                let reason = reason(&ending);
                chunks.push(json!({ "type": "finish", "finishReason": reason, "messageMetadata": metadata }));
            }
        }
    }

    /// What a screen shows beside the answer.
    fn metadata(&self, at: Timestamp, ending: &Ending) -> Value {
        let millis = |at: Timestamp| u64::try_from(at.since(self.submitted_at).as_millis()).unwrap_or(u64::MAX);
        let mut metadata = json!({
            "task": self.task,
            "model": self.model,
            "submittedAt": self.submitted_at.as_millis(),
            "totalMs": millis(at),
            "costUsd": ending.usage.cost.dollars(),
            "usage": {
                "inputTokens": ending.usage.input_tokens,
                "outputTokens": ending.usage.output_tokens,
                "cachedInputTokens": ending.usage.cached_tokens,
                "totalTokens": ending.usage.input_tokens + ending.usage.output_tokens,
            },
        });
        if let Some(first) = self.first_word {
            metadata["ttftMs"] = millis(first).into();
        }
        if let Some(deployment) = &ending.deployment {
            metadata["deployment"] = deployment.as_str().into();
        }
        if let Some(cache) = ending.cache.as_ref().and_then(|told| serde_json::to_value(told).ok()) {
            metadata["cache"] = cache;
        }
        if let Some(error) = &ending.error {
            metadata["error"] = json!({ "code": error.code, "retryAfterMs": error.retry_after_ms });
        }
        metadata
    }
}

fn reason(ending: &Ending) -> &'static str {
    match ending.finish_reason.as_deref() {
        None | Some("stop") => "stop",
        Some("length") => "length",
        Some("content_filter") => "content-filter",
        Some("tool_calls" | "function_call") => "tool-calls",
        Some(_) => "other",
    }
}

fn failed(error: &WireError, chunks: &mut Vec<Value>) {
    // A screen shows it as it stands, and a program finds the code in the metadata.
    chunks.push(json!({ "type": "error", "errorText": format!("{} ({})", error.message, error.code) }));
}

fn tell(step: &Step<'_>, chunks: &mut Vec<Value>) {
    let id = |part: &Part| format!("part_{}", part.serial);
    let chunk = match step {
        Step::Begins(part) => match &part.role {
            Role::Text => json!({ "type": "text-start", "id": id(part) }),
            Role::Reasoning => json!({ "type": "reasoning-start", "id": id(part) }),
            Role::Call { id, name, .. } => json!({ "type": "tool-input-start", "toolCallId": id, "toolName": name }),
        },
        Step::Adds(part, text) => {
            let (kind, name, id, field) = match &part.role {
                Role::Text => ("text-delta", "id", id(part), "delta"),
                Role::Reasoning => ("reasoning-delta", "id", id(part), "delta"),
                Role::Call { id, .. } => ("tool-input-delta", "toolCallId", id.clone(), "inputTextDelta"),
            };
            if joins(chunks, (kind, name, &id), field, text) {
                return;
            }
            json!({ "type": kind, name: id, field: text })
        }
        Step::Ends(part) => match &part.role {
            Role::Text => json!({ "type": "text-end", "id": id(part) }),
            Role::Reasoning => json!({ "type": "reasoning-end", "id": id(part) }),
            Role::Call { id, name, .. } => called(id, name, &part.text),
        },
        // The message's parts since the step's start no longer count.
        Step::TakenBack => json!({ "type": "reset-step" }),
    };
    chunks.push(chunk);
}

fn called(id: &str, name: &str, arguments: &str) -> Value {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    match serde_json::from_str::<Value>(arguments) {
        Ok(input) => json!({ "type": "tool-input-available", "toolCallId": id, "toolName": name, "input": input }),
        Err(error) => {
            let said = format!("the model's arguments are no JSON: {error}");
            json!({ "type": "tool-input-error", "toolCallId": id, "toolName": name, "input": arguments, "errorText": said })
        }
    }
}
