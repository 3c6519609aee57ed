//! A log as one `chat.completion` object.

use super::chunks::{OpenAiUsage, not_whole};
use super::{Fault, StopOnLeave};
use crate::follow::Follower;
use crate::refusal::Refusal;
use crate::submit::Accepted;
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewire_core::{Ending, Event, Kind};
use tidewire_proto::Code;

/// What stands of an answer so far. A rewind clears it.
#[derive(Default)]
struct Message {
    text: String,
    reasoning: String,
    tool_calls: Vec<Value>,
    logprobs: Vec<Value>,
}

/// Reads the log to its end.
pub(super) async fn whole(
    accepted: &Accepted,
    mut follower: Follower,
    mut leave: StopOnLeave,
) -> Result<Response, Fault> {
    let mut message = Message::default();
    loop {
        let batch = follower.batch().await?;
        for event in &batch.events {
            if event.kind == Kind::End {
                leave.stay();
                let damaged = |_| Refusal::new(Code::Damaged, "the end of the log can't be read");
                let ending: Ending = serde_json::from_slice(&event.data).map_err(damaged)?;
                return match not_whole(&ending) {
                    Some(error) => Err(Refusal(error).into()),
                    None => Ok(Json(message.completion(accepted, &ending)).into_response()),
                };
            }
            message.apply(event);
        }
        if batch.over {
            return Err(Refusal::new(Code::Damaged, "the log ended without an end event").into());
        }
    }
}

impl Message {
    fn apply(&mut self, event: &Event) {
        match event.kind {
            Kind::Text => self.text.push_str(&String::from_utf8_lossy(&event.data)),
            Kind::Reasoning => self.reasoning.push_str(&String::from_utf8_lossy(&event.data)),
            Kind::ToolCall => {
                for delta in serde_json::from_slice::<Vec<Value>>(&event.data).unwrap_or_default() {
                    self.tool_call(delta);
                }
            }
            Kind::Logprobs => {
                self.logprobs.extend(serde_json::from_slice::<Vec<Value>>(&event.data).unwrap_or_default());
            }
            Kind::Rewind => *self = Self::default(),
            _ => {}
        }
    }

    /// Joins a piece of a tool call to the pieces before it: the `index` says which call it belongs to, and
    /// the arguments come in parts.
    fn tool_call(&mut self, delta: Value) {
        let index = delta.get("index").and_then(Value::as_u64);
        let known = self.tool_calls.iter_mut().find(|call| call.get("index").and_then(Value::as_u64) == index);
        let Some(known) = known else { return self.tool_calls.push(delta) };
        let Some(more) = delta.pointer("/function/arguments").and_then(Value::as_str) else { return };
        match known.pointer_mut("/function/arguments") {
            Some(Value::String(arguments)) => arguments.push_str(more),
            Some(other) => *other = Value::String(more.to_owned()),
            None => known["function"]["arguments"] = Value::String(more.to_owned()),
        }
    }

    fn completion(self, accepted: &Accepted, ending: &Ending) -> Value {
        let task = &accepted.task;
        let mut message = json!({ "role": "assistant", "content": self.text, "refusal": null });
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.into();
        }
        if !self.tool_calls.is_empty() {
            if self.text.is_empty() {
                message["content"] = Value::Null;
            }
            let strip = |mut call: Value| {
                if let Some(call) = call.as_object_mut() {
                    call.remove("index");
                }
                call
            };
            message["tool_calls"] = self.tool_calls.into_iter().map(strip).collect();
        }
        let logprobs = (!self.logprobs.is_empty()).then(|| json!({ "content": self.logprobs }));
        json!({
            "id": format!("chatcmpl-{}", task.id),
            "object": "chat.completion",
            "created": task.submitted_at.as_millis() / 1000,
            "model": task.spec.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": logprobs,
                "finish_reason": ending.finish_reason.as_deref().unwrap_or("stop"),
            }],
            "usage": OpenAiUsage::from(ending.usage),
        })
    }
}
