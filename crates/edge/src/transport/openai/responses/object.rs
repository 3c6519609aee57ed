//! OpenAI's response object: a task, what its request said, and what its log amounts to.

use super::echo;
use crate::refusal::Refusal;
use crate::transport::answer::{Part, Role};
use crate::transport::openai::raw::Fields;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tidewire_core::{Durability, Ending, Outcome, Task, TaskId, Timestamp, Usage};
use tidewire_proto::{Code, WireError};

/// How a response's id begins; a task's id follows, without how that begins.
const PREFIX: &str = "resp_";
const TASK_PREFIX: &str = "task_";

/// What is kept in a task of this face, beside the chat JSON that it amounts to. Nothing of what was said: an erased task
/// keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Fields of the response object that are neither in the chat nor in the task.
    pub(super) response: Fields,
    /// How many messages at the end of the chat are the request's own.
    pub(super) own: usize,
    /// The first message is its instructions, which do not hold for what follows it.
    pub(super) instructed: bool,
}

impl Kept {
    /// Of a task that came over this face and is kept to be looked at.
    pub(super) fn of(task: &Task) -> Option<Self> {
        let kept: Self = serde_json::from_str(task.spec.face.as_deref()?).ok()?;
        // A response that was deleted is a task whose input was erased.
        (task.id.durability() == Durability::Durable && !task.spec.input.is_empty()).then_some(kept)
    }
}

/// A response's id.
pub(super) fn id(task: TaskId) -> String {
    format!("{PREFIX}{}", letters(task))
}

/// What a task's id has of its own, for the ids of what it said.
pub(super) fn letters(task: TaskId) -> String {
    task.to_string().trim_start_matches(TASK_PREFIX).to_owned()
}

/// The task of a response.
pub(super) fn task(id: &str) -> Option<TaskId> {
    format!("{TASK_PREFIX}{}", id.strip_prefix(PREFIX)?).parse().ok()
}

/// There is no such response.
pub(super) fn unknown(id: &str) -> Refusal {
    Refusal::new(
        Code::UnknownResponse,
        format!("there is no response `{id}`: it never was, was deleted, or has expired"),
    )
}

/// What stays the same of a response however far it has come.
pub(in crate::transport) struct About {
    pub(super) task: TaskId,
    pub(super) letters: String,
    model: String,
    created_at: u64,
    echo: Fields,
    pub(super) background: bool,
}

/// How far a response has come.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    Queued,
    Running,
    Ended(Timestamp, &'a Ending),
}

impl About {
    /// Of a task of this face.
    pub(in crate::transport) fn new(task: &Task, kept: &Kept) -> Self {
        let background = matches!(kept.response.get("background"), Ok(Some(true)));
        Self {
            task: task.id,
            letters: letters(task.id),
            model: task.spec.model.clone(),
            created_at: task.submitted_at.as_millis() / 1000,
            echo: echo::of(task, kept),
            background,
        }
    }

    /// The whole object, with what was said by now.
    pub(super) fn object(&self, standing: Standing<'_>, output: &[Value]) -> Box<RawValue> {
        let mut object = self.echo.clone();
        object.set("id", &id(self.task));
        object.set("object", &"response");
        object.set("created_at", &self.created_at);
        object.set("model", &self.model);
        object.set("output", &output);
        object.set("status", &standing.status());
        let (mut error, mut incomplete, mut usage, mut completed) =
            (Value::Null, Value::Null, Value::Null, Value::Null);
        if let Standing::Ended(at, ending) = standing {
            usage = used(ending.used_for_answer());
            match (ending.state, incomplete_reason(ending)) {
                (Outcome::Done, None) => completed = (at.as_millis() / 1000).into(),
                (Outcome::Done, Some(reason)) => incomplete = json!({ "reason": reason }),
                (Outcome::Failed, _) => {
                    let failure = ending.error.as_ref();
                    let code = failure.map_or(Code::Internal.as_str(), |failure| &failure.code);
                    let message = failure.map_or("the task failed", |failure| &failure.message);
                    error = json!({ "code": code, "message": message });
                }
                (Outcome::Stopped, _) => {}
            }
        }
        object.set("error", &error);
        object.set("incomplete_details", &incomplete);
        object.set("usage", &usage);
        object.set("completed_at", &completed);
        to_raw_value(&object).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

impl Standing<'_> {
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "in_progress",
            Self::Ended(_, ending) => match (ending.state, incomplete_reason(ending)) {
                (Outcome::Done, None) => "completed",
                (Outcome::Done, Some(_)) => "incomplete",
                (Outcome::Failed, _) => "failed",
                (Outcome::Stopped, _) => "cancelled",
            },
        }
    }

    /// The name of the event that says so.
    pub(super) fn event(self) -> &'static str {
        match self.status() {
            "completed" => "response.completed",
            "failed" => "response.failed",
            // OpenAI has no event of its own for what was cancelled.
            _ => "response.incomplete",
        }
    }
}

/// Why an answer that was ended by its model is not all that the model would have said.
fn incomplete_reason(ending: &Ending) -> Option<&'static str> {
    match ending.finish_reason.as_deref() {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        _ => None,
    }
}

/// OpenAI's usage of a response, with the cost beside it.
fn used(usage: Usage) -> Value {
    let mut used = json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens, "cache_write_tokens": 0 },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "total_tokens": usage.input_tokens + usage.output_tokens,
    });
    if usage.cost.0 > 0 {
        used["cost"] = usage.cost.dollars().into();
    }
    used
}

/// A part of an answer as an item of the output.
pub(super) fn item(about: &About, part: &Part, status: &str) -> Value {
    let (id, text) = (item_id(about, part), &part.text);
    match &part.role {
        Role::Text => {
            let content = if status == "in_progress" { json!([]) } else { json!([content(part)]) };
            json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": content })
        }
        Role::Reasoning => {
            let content = if status == "in_progress" { json!([]) } else { json!([content(part)]) };
            json!({ "id": id, "type": "reasoning", "status": status, "summary": [], "content": content })
        }
        Role::Call { id: call, name, .. } => {
            let arguments = if status == "in_progress" { "" } else { text };
            json!({ "id": id, "type": "function_call", "status": status, "call_id": call, "name": name,
                "arguments": arguments })
        }
    }
}

/// The content of a message or of reasoning.
pub(super) fn content(part: &Part) -> Value {
    match part.role {
        Role::Reasoning => json!({ "type": "reasoning_text", "text": part.text }),
        _ => json!({ "type": "output_text", "text": part.text, "annotations": [], "logprobs": part.logprobs }),
    }
}

/// What is there of an item's content when it begins.
pub(super) fn no_content(part: &Part) -> Value {
    match part.role {
        Role::Reasoning => json!({ "type": "reasoning_text", "text": "" }),
        _ => json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] }),
    }
}

pub(super) fn item_id(about: &About, part: &Part) -> String {
    let prefix = match part.role {
        Role::Text => "msg",
        Role::Reasoning => "rs",
        Role::Call { .. } => "fc",
    };
    format!("{prefix}_{}_{}", about.letters, part.serial)
}

/// An error as an event of a stream.
pub(super) fn error(error: &WireError, number: u64) -> Value {
    json!({ "type": "error", "code": error.code, "message": error.message, "param": null, "sequence_number": number })
}
