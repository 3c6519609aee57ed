//! What `useChat` sends, as OpenAI's chat JSON.

use crate::refusal::Refusal;
use crate::transport::body;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewire_proto::{Code, Submission};

/// A chat's next task.
pub(super) struct Asked {
    pub(super) input: Vec<u8>,
    pub(super) submission: Submission,
}

/// The body of a request, or of a frame: what the transport's `body` option adds stands beside.
#[derive(Deserialize)]
struct Sent {
    id: String,
    messages: Vec<UiMessage>,
    #[serde(default)]
    system: Option<String>,
    /// Fields of a task of tidewire's, beside those that the chat sets.
    #[serde(default)]
    tidewire: Option<Submission>,
    /// All else is for the model.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct UiMessage {
    role: String,
    #[serde(default)]
    parts: Vec<Value>,
}

impl Asked {
    /// Reads a request's body.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let sent: Sent = body::json(bytes)?;
        Self::of(sent)
    }

    /// Reads what a frame says: its own fields count before those of its `body`.
    pub(super) fn of_frame(id: String, messages: Value, mut body: Map<String, Value>) -> Result<Self, Refusal> {
        body.insert("id".to_owned(), id.into());
        body.insert("messages".to_owned(), messages);
        let sent = serde_json::from_value(body.into())
            .map_err(|error| invalid(format!("the frame can't be read: {error}")))?;
        Self::of(sent)
    }

    fn of(sent: Sent) -> Result<Self, Refusal> {
        let mut messages = Vec::with_capacity(sent.messages.len() + 1);
        if let Some(system) = sent.system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        for message in &sent.messages {
            message.translate(&mut messages)?;
        }
        let mut input = sent.rest;
        for own in ["trigger", "messageId"] {
            input.remove(own);
        }
        input.insert("messages".to_owned(), messages.into());
        let submission = sent.tidewire.unwrap_or_default();
        if let Some(unknown) = submission.unknown.keys().next() {
            return Err(invalid(format!("a task has no field `{unknown}`")));
        }
        if submission.prompt.is_some() || submission.input.is_some() {
            return Err(invalid("what is said stands in `messages`, not in `tidewire`"));
        }
        let submission = Submission {
            lane: Some(sent.id),
            // Somebody waits for it, and may come back for it after a restart.
            priority: submission.priority.or_else(|| Some("interactive".to_owned())),
            durability: submission.durability.or_else(|| Some("durable".to_owned())),
            ..submission
        };
        Ok(Self { input: Value::from(input).to_string().into_bytes(), submission })
    }
}

impl UiMessage {
    fn translate(&self, out: &mut Vec<Value>) -> Result<(), Refusal> {
        match self.role.as_str() {
            "system" => out.push(json!({ "role": "system", "content": self.text() })),
            "user" => {
                let content: Vec<Value> = self.parts.iter().filter_map(content).collect();
                let plain = content.iter().all(|part| part["type"] == "text");
                let content = if plain { self.text().into() } else { Value::from(content) };
                out.push(json!({ "role": "user", "content": content }));
            }
            "assistant" => self.assistant(out),
            other => return Err(invalid(format!("a message's `role` is system, user or assistant, not `{other}`"))),
        }
        Ok(())
    }

    fn text(&self) -> String {
        texts(&self.parts)
    }

    /// An assistant's message may hold several steps: what it said, the tools that it called, and what they gave.
    fn assistant(&self, out: &mut Vec<Value>) {
        for step in self.parts.split(|part| part["type"] == "step-start") {
            let tools: Vec<Tool<'_>> = step.iter().filter_map(Tool::of).collect();
            let text = texts(step);
            if text.is_empty() && tools.is_empty() {
                continue;
            }
            let mut message = json!({ "role": "assistant", "content": text });
            if !tools.is_empty() {
                message["tool_calls"] = tools.iter().map(Tool::call).collect();
            }
            out.push(message);
            out.extend(tools.iter().map(Tool::result));
        }
    }
}

/// The text of those parts that are text.
fn texts(parts: &[Value]) -> String {
    parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect()
}

/// A part of a user's message. Parts of the application's own are for its screens.
fn content(part: &Value) -> Option<Value> {
    match part["type"].as_str()? {
        "text" => Some(json!({ "type": "text", "text": part["text"] })),
        "file" if part["mediaType"].as_str().is_some_and(|kind| kind == "image" || kind.starts_with("image/")) => {
            Some(json!({ "type": "image_url", "image_url": { "url": part["url"] } }))
        }
        // A file that was uploaded here is named by its id; any other comes in its URL.
        "file" => match part.pointer("/providerReference/tidewire").and_then(Value::as_str) {
            Some(id) => Some(json!({ "type": "file", "file": { "file_id": id } })),
            None => Some(json!({ "type": "file", "file": { "filename": part["filename"], "file_data": part["url"] } })),
        },
        _ => None,
    }
}

/// A call of a tool, whose result is known.
struct Tool<'a> {
    id: &'a str,
    name: &'a str,
    part: &'a Value,
}

impl<'a> Tool<'a> {
    fn of(part: &'a Value) -> Option<Self> {
        let kind = part["type"].as_str()?;
        let name = match kind {
            "dynamic-tool" => part["toolName"].as_str()?,
            _ => kind.strip_prefix("tool-")?,
        };
        let is_known = matches!(part["state"].as_str()?, "output-available" | "output-error" | "output-denied");
        is_known.then_some(Self { id: part["toolCallId"].as_str()?, name, part })
    }

    fn call(&self) -> Value {
        let input = self.part.get("input").or_else(|| self.part.get("rawInput")).unwrap_or(&Value::Null);
        let arguments = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
        json!({ "id": self.id, "type": "function", "function": { "name": self.name, "arguments": arguments } })
    }

    fn result(&self) -> Value {
        let given = match self.part["state"].as_str() {
            Some("output-available") => &self.part["output"],
            Some("output-denied") => &Value::Null,
            _ => &self.part["errorText"],
        };
        let content = match given {
            Value::Null => "the call was denied".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        json!({ "role": "tool", "tool_call_id": self.id, "content": content })
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
    fn a_conversation_with_tools_and_files_becomes_chat_json() {
        let sent = json!({
            "id": "chat-1", "trigger": "submit-message", "messageId": null, "model": "small", "temperature": 0,
            "system": "Be brief.", "tidewire": { "user": "u-1" },
            "messages": [
                { "id": "1", "role": "user", "parts": [{ "type": "text", "text": "What is in " }, { "type": "text", "text": "this?" },
                    { "type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==" }] },
                { "id": "2", "role": "assistant", "parts": [
                    { "type": "step-start" }, { "type": "reasoning", "text": "hm" },
                    { "type": "tool-look", "toolCallId": "c1", "state": "output-available", "input": { "x": 1 }, "output": { "found": 2 } },
                    { "type": "tool-look", "toolCallId": "c2", "state": "input-available", "input": {} },
                    { "type": "step-start" }, { "type": "text", "text": "Two.", "state": "done" } ] },
                { "id": "3", "role": "user", "parts": [{ "type": "text", "text": "Sure?" }, { "type": "data-mood", "data": 1 }] } ],
        });
        let asked = Asked::read(sent.to_string().as_bytes()).ok().unwrap();
        let input: Value = serde_json::from_slice(&asked.input).unwrap();
        assert_eq!(
            input,
            json!({ "model": "small", "temperature": 0, "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": [{ "type": "text", "text": "What is in " }, { "type": "text", "text": "this?" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }] },
                { "role": "assistant", "content": "", "tool_calls": [
                    { "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{\"x\":1}" } }] },
                { "role": "tool", "tool_call_id": "c1", "content": "{\"found\":2}" },
                { "role": "assistant", "content": "Two." },
                { "role": "user", "content": "Sure?" } ] })
        );
        let submission = asked.submission;
        assert_eq!((submission.lane.as_deref(), submission.user.as_deref()), (Some("chat-1"), Some("u-1")));
        assert_eq!(submission.durability.as_deref(), Some("durable"));
    }

    #[test]
    fn what_cant_be_meant_is_refused_by_its_name() {
        let refused = |sent: Value| Asked::read(sent.to_string().as_bytes()).err().unwrap().0.message;
        assert!(refused(json!({ "messages": [] })).contains("id"));
        let role = refused(json!({ "id": "c", "messages": [{ "role": "robot", "parts": [] }] }));
        assert!(role.contains("robot"), "{role}");
        let field = refused(json!({ "id": "c", "messages": [], "tidewire": { "prio": 1 } }));
        assert!(field.contains("prio"), "{field}");
        assert!(refused(json!({ "id": "c", "messages": [], "tidewire": { "prompt": "x" } })).contains("messages"));
    }
}
