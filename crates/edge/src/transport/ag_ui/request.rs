//! AG-UI's `RunAgentInput`, as OpenAI's chat JSON.

use crate::refusal::Refusal;
use crate::transport::body;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewire_proto::{Code, Submission};

/// A run that is asked for.
pub(super) struct Asked {
    pub(super) input: Vec<u8>,
    pub(super) submission: Submission,
    pub(super) about: About,
}

/// What a run's events repeat.
pub(super) struct About {
    pub(super) thread: String,
    pub(super) run: String,
    /// The messages as the client has them.
    pub(super) messages: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    thread_id: String,
    run_id: String,
    #[serde(default)]
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    context: Vec<Value>,
    /// For the model, but for `tidewire`: fields of its task.
    #[serde(default)]
    forwarded_props: Option<Map<String, Value>>,
}

impl Asked {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let sent: Sent = body::json(bytes)?;
        let mut input = sent.forwarded_props.unwrap_or_default();
        let submission = submission(input.remove("tidewire"), &sent.thread_id, &sent.run_id)?;
        let mut messages = Vec::with_capacity(sent.messages.len() + 1);
        messages.extend(context(&sent.context));
        for message in &sent.messages {
            messages.extend(translated(message)?);
        }
        input.insert("messages".to_owned(), messages.into());
        if !sent.tools.is_empty() {
            let tools = sent.tools.iter().map(|tool| {
                let parameters = tool.get("parameters").cloned().unwrap_or_else(|| json!({ "type": "object" }));
                let function =
                    json!({ "name": tool["name"], "description": tool["description"], "parameters": parameters });
                json!({ "type": "function", "function": function })
            });
            input.insert("tools".to_owned(), tools.collect());
        }
        let about = About { thread: sent.thread_id, run: sent.run_id, messages: sent.messages };
        Ok(Self { input: Value::from(input).to_string().into_bytes(), submission, about })
    }
}

fn submission(given: Option<Value>, thread: &str, run: &str) -> Result<Submission, Refusal> {
    let given: Option<Submission> = given
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| invalid(format!("`forwardedProps.tidewire` can't be read: {error}")))?;
    let given = given.unwrap_or_default();
    if let Some(unknown) = given.unknown.keys().next() {
        return Err(invalid(format!("a task has no field `{unknown}`")));
    }
    if given.prompt.is_some() || given.input.is_some() {
        return Err(invalid("what is said stands in `messages`, not in `forwardedProps.tidewire`"));
    }
    Ok(Submission {
        lane: Some(thread.to_owned()),
        idempotency_key: given.idempotency_key.or_else(|| Some(format!("ag-ui {thread} {run}"))),
        priority: given.priority.or_else(|| Some("interactive".to_owned())),
        durability: given.durability.or_else(|| Some("durable".to_owned())),
        ..given
    })
}

/// What the application knows, told to the model before all else.
fn context(context: &[Value]) -> Option<Value> {
    let told: Vec<String> = context
        .iter()
        .filter_map(|known| Some(format!("{}: {}", known["description"].as_str()?, known["value"].as_str()?)))
        .collect();
    (!told.is_empty()).then(|| json!({ "role": "system", "content": told.join("\n") }))
}

/// A message; none of those that are for the screen alone.
fn translated(message: &Value) -> Result<Option<Value>, Refusal> {
    let role = message["role"].as_str().unwrap_or_default();
    Ok(Some(match role {
        "system" | "developer" => json!({ "role": role, "content": message["content"] }),
        "user" => json!({ "role": "user", "content": content(&message["content"])? }),
        "assistant" => {
            let mut said = json!({ "role": "assistant", "content": message["content"].as_str().unwrap_or_default() });
            if let Some(calls) = message["toolCalls"].as_array().filter(|calls| !calls.is_empty()) {
                said["tool_calls"] = calls
                    .iter()
                    .map(|call| json!({ "id": call["id"], "type": "function", "function": call["function"] }))
                    .collect();
            }
            said
        }
        "tool" => {
            let told = message["error"].as_str().map_or_else(|| content(&message["content"]), |error| Ok(error.into()));
            json!({ "role": "tool", "tool_call_id": message["toolCallId"], "content": told? })
        }
        "reasoning" | "activity" => return Ok(None),
        other => return Err(invalid(format!("a message's `role` is one of AG-UI's, not `{other}`"))),
    }))
}

fn content(content: &Value) -> Result<Value, Refusal> {
    let Some(parts) = content.as_array() else { return Ok(content.clone()) };
    parts.iter().map(part).collect()
}

fn part(part: &Value) -> Result<Value, Refusal> {
    let source = &part["source"];
    let url = || match source["type"].as_str() {
        Some("data") => {
            let kind = source["mimeType"].as_str().unwrap_or("application/octet-stream");
            format!("data:{kind};base64,{}", source["value"].as_str().unwrap_or_default())
        }
        _ => source["value"].as_str().unwrap_or_default().to_owned(),
    };
    match part["type"].as_str().unwrap_or_default() {
        "text" => Ok(json!({ "type": "text", "text": part["text"] })),
        "image" => Ok(json!({ "type": "image_url", "image_url": { "url": url() } })),
        "document" if source["type"] == "file" => Ok(json!({ "type": "file", "file": { "file_id": source["value"] } })),
        "document" => Ok(json!({ "type": "file", "file": { "file_data": url() } })),
        other => Err(invalid(format!("a part of a message is text, image or document here, not `{other}`"))),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_thread_becomes_chat_json_and_a_run_one_task() {
        let sent = json!({
            "threadId": "t", "runId": "r", "state": {}, "forwardedProps": { "model": "small", "tidewire": { "user": "u" } },
            "context": [{ "description": "The port", "value": "Brest" }],
            "tools": [{ "name": "tide", "description": "Tells.", "parameters": { "type": "object" } }],
            "messages": [
                { "id": "1", "role": "user", "content": [{ "type": "text", "text": "What is it?" },
                    { "type": "image", "source": { "type": "data", "value": "AA==", "mimeType": "image/png" } }] },
                { "id": "2", "role": "reasoning", "content": "hm" },
                { "id": "3", "role": "assistant", "toolCalls": [
                    { "id": "c", "type": "function", "function": { "name": "tide", "arguments": "{}" } }] },
                { "id": "4", "role": "tool", "toolCallId": "c", "content": "noon" }],
        });
        let asked = Asked::read(sent.to_string().as_bytes()).ok().unwrap();
        let input: Value = serde_json::from_slice(&asked.input).unwrap();
        assert_eq!(
            input,
            json!({ "model": "small",
                "tools": [{ "type": "function",
                    "function": { "name": "tide", "description": "Tells.", "parameters": { "type": "object" } } }],
                "messages": [
                    { "role": "system", "content": "The port: Brest" },
                    { "role": "user", "content": [{ "type": "text", "text": "What is it?" },
                        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }] },
                    { "role": "assistant", "content": "", "tool_calls": [
                        { "id": "c", "type": "function", "function": { "name": "tide", "arguments": "{}" } }] },
                    { "role": "tool", "tool_call_id": "c", "content": "noon" }] })
        );
        assert_eq!(asked.submission.idempotency_key.as_deref(), Some("ag-ui t r"));
        assert_eq!((asked.submission.lane.as_deref(), asked.submission.user.as_deref()), (Some("t"), Some("u")));
    }
}
