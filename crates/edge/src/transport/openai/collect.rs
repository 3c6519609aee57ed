//! Logs as one `chat.completion` object.

use super::fault::{Fault, not_whole};
use super::head::Head;
use super::leave::StopOnLeave;
use super::usage::OpenAiUsage;
use crate::Edge;
use crate::allowance;
use crate::follow::{Follower, Resume};
use crate::refusal::Refusal;
use crate::submit::Accepted;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::time::Duration;
use tidewire_core::{Ending, Event, Kind, Task, Usage};
use tidewire_proto::Code;

/// How much of a log is read at once.
const PAGE_BYTES: usize = 1024 * 1024;

/// What stands of an answer so far. A rewind clears it.
#[derive(Default)]
struct Message {
    text: String,
    reasoning: String,
    tool_calls: Vec<Value>,
    logprobs: Vec<Value>,
}

/// Reads the logs to their ends.
pub(super) async fn whole(
    accepted: &[Accepted],
    followers: Vec<Follower>,
    mut leave: StopOnLeave,
) -> Result<Response, Fault> {
    let mut heads = Vec::with_capacity(accepted.len());
    let mut choices = Vec::with_capacity(accepted.len());
    let mut used = Usage::default();
    for (index, (one, follower)) in accepted.iter().zip(followers).enumerate() {
        let mut head = Head::new(&one.task, allowance::headers(&one.left));
        let (message, ending) = read(follower, &mut head).await?;
        leave.stay(one.at());
        if let Some(error) = not_whole(&ending) {
            return Err(Fault::with(error, head.into_headers()));
        }
        used = used.plus(ending.used_for_answer());
        choices.push(message.choice(index, &ending));
        heads.push(head);
    }
    let completion = completion(accepted.first().map(|first| &first.task), &choices, used);
    // Of several answers the first one's head speaks; what they cost together is in the usage.
    let head = heads.into_iter().next().map(Head::into_headers).unwrap_or_default();
    Ok((head, Json(completion)).into_response())
}

/// What the task that has ended would have been answered.
pub(super) async fn ended(edge: &Edge, task: &Task) -> Result<Box<RawValue>, Refusal> {
    let follower = Follower::open(edge, task.at().log(), Resume::default(), Duration::ZERO).await?;
    let (message, ending) = read(follower, &mut Head::new(task, HeaderMap::new())).await?;
    let completion = completion(Some(task), &[message.choice(0, &ending)], ending.used_for_answer());
    to_raw_value(&completion).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

fn completion(first: Option<&Task>, choices: &[Value], used: Usage) -> Value {
    json!({
        "id": first.map(|task| format!("chatcmpl-{}", task.id)),
        "object": "chat.completion",
        "created": first.map(|task| task.submitted_at.as_millis() / 1000),
        "model": first.map(|task| task.spec.model.as_str()),
        "choices": choices,
        "usage": OpenAiUsage::from(used),
    })
}

/// One log's message.
async fn read(follower: Follower, head: &mut Head) -> Result<(Message, Ending), Refusal> {
    let mut message = Message::default();
    let ending = to_the_end(follower, head, |event| message.apply(event)).await?;
    Ok((message, ending))
}

/// What a log says. Nobody reads along, so it is read once, when it has ended.
pub(in crate::transport) async fn to_the_end(
    mut follower: Follower,
    head: &mut Head,
    mut apply: impl FnMut(&Event),
) -> Result<Ending, Refusal> {
    follower.over().await;
    loop {
        let batch = follower.page(PAGE_BYTES).await?;
        for event in &batch.events {
            head.hear(event);
            apply(event);
            if event.kind == Kind::End {
                let damaged = |_| Refusal::new(Code::Damaged, "the end of the log can't be read");
                return serde_json::from_slice(&event.data).map_err(damaged);
            }
        }
        if batch.over || batch.events.is_empty() {
            return Err(Refusal::new(Code::Damaged, "the log ended without an end event"));
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

    fn choice(self, index: usize, ending: &Ending) -> Value {
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
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": ending.finish_reason.as_deref().unwrap_or("stop"),
        })
    }
}
