//! Prompt and answer as span attributes, in the form of OpenTelemetry's `gen_ai.input.messages` and
//! `gen_ai.output.messages`. Only where the operator asks for it.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tidewire_core::trace::Value;
use tidewire_core::{Event, Kind};

/// The longest text of one message, and the most messages, that are exported: a trace is for looking at, the log has all.
const MAX_TEXT_BYTES: usize = 16 * 1024;
const MAX_MESSAGES: usize = 64;

/// What a task's answer says, as its log is read.
#[derive(Default)]
pub(super) struct Said(String);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    messages: Vec<Message>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    role: String,
    content: Json,
}

impl Said {
    pub(super) fn hear(&mut self, event: &Event) {
        match event.kind {
            Kind::Text if self.0.len() < MAX_TEXT_BYTES => self.0.push_str(&String::from_utf8_lossy(&event.data)),
            Kind::Rewind => self.0.clear(),
            _ => {}
        }
    }

    /// Both, as attributes of the task's span.
    pub(super) fn attributes(self, input: &[u8]) -> Vec<(&'static str, Value)> {
        let asked: Asked = serde_json::from_slice(input).unwrap_or_default();
        // The last ones: what was asked now, not how the conversation began.
        let skipped = asked.messages.len().saturating_sub(MAX_MESSAGES);
        let messages: Vec<Json> =
            asked.messages.iter().skip(skipped).map(|message| said(&message.role, &text(&message.content))).collect();
        let answer = json!([said("assistant", cut(&self.0))]);
        vec![
            ("gen_ai.input.messages", Value::Text(Json::from(messages).to_string())),
            ("gen_ai.output.messages", Value::Text(answer.to_string())),
        ]
    }
}

fn said(role: &str, text: &str) -> Json {
    json!({ "role": role, "parts": [{ "type": "text", "content": text }] })
}

/// A message's text: all of it, or that of its parts.
fn text(content: &Json) -> String {
    match content {
        Json::String(text) => cut(text).to_owned(),
        Json::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            cut(&texts.collect::<Vec<_>>().join("\n")).to_owned()
        }
        _ => String::new(),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}
