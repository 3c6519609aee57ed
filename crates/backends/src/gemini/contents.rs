//! Messages in the words of `generateContent`: what the system says apart, and contents of parts, in which user and
//! model alternate. What tools answered is part of the user's content.

use crate::chat::{Media, Message, Part, Role, Source, ToolCall};
use crate::json::{self, Array, Fields, Object};
use crate::upstream::invalid;
use std::borrow::Cow;
use std::collections::HashMap;
use tidewire_core::port::BackendError;

/// What the API takes for a signature where a call of a tool has none: another model made it, or the client has not
/// kept it. (<https://ai.google.dev/gemini-api/docs/thought-signatures>)
const NO_SIGNATURE: &str = "\"skip_thought_signature_validator\"";

/// Types of files by the ends of their names, for those that lie elsewhere: the API asks for them.
const KINDS: [(&str, &str); 9] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".gif", "image/gif"),
    (".heic", "image/heic"),
    (".pdf", "application/pdf"),
    (".mp4", "video/mp4"),
    (".mp3", "audio/mpeg"),
];

/// A conversation.
#[derive(Default)]
pub(super) struct Contents {
    system: Array,
    contents: Vec<(&'static str, Array)>,
}

pub(super) fn of(messages: &[Message<'_>], wants_signatures: bool) -> Result<Contents, BackendError> {
    let mut said = Contents::default();
    // The names of the tools that were called, as JSON: an answer names the tool, where OpenAI's names the call.
    let mut called: HashMap<Cow<'_, str>, &str> = HashMap::new();
    for message in messages {
        let parts = message.parts()?;
        match message.role {
            Role::System => said.system.extend(parts.iter().map(whole)),
            Role::User => said.add("user", parts.iter().map(whole)),
            Role::Tool => {
                let id = message.tool_call_id()?;
                let name = called.get(&id).ok_or_else(|| invalid("a message of a tool answers no earlier call"))?;
                said.add("user", std::iter::once(response(&id, name, &parts)));
            }
            Role::Assistant => {
                said.add("model", parts.iter().map(whole));
                for (place, call) in message.tool_calls()?.into_iter().enumerate() {
                    // Of calls made together the API signs the first one only.
                    said.add("model", std::iter::once(function_call(&call, wants_signatures && place == 0)));
                    called.insert(call.id, call.name);
                }
            }
        }
    }
    Ok(said)
}

impl Contents {
    fn add(&mut self, role: &'static str, parts: impl Iterator<Item = String>) {
        for part in parts {
            if self.contents.last().is_none_or(|(last, _)| *last != role) {
                self.contents.push((role, Array::default()));
            }
            if let Some((_, content)) = self.contents.last_mut() {
                content.push(&part);
            }
        }
    }

    pub(super) fn system(&mut self) -> Option<String> {
        (!self.system.is_empty()).then(|| Object::default().named("parts", &self.system.end()).end())
    }

    pub(super) fn contents(&mut self) -> String {
        let mut contents = Array::default();
        for (role, parts) in &mut self.contents {
            contents.push(&Object::default().text("role", role).named("parts", &parts.end()).end());
        }
        contents.end()
    }
}

fn whole(part: &Part<'_>) -> String {
    match part {
        Part::Text { text, .. } => Object::default().named("text", text).end(),
        Part::Other(json) => (*json).to_owned(),
        Part::Media(media) => medium(media),
    }
}

fn medium(media: &Media<'_>) -> String {
    let (mut part, mut data) = (Object::default(), Object::default());
    match &media.source {
        Source::Here { kind, data: base64 } => {
            // OpenAI's name for it is not the registered one.
            let kind = if kind == "audio/mp3" { "audio/mpeg" } else { kind };
            part.named("inlineData", &data.text("mimeType", kind).text("data", base64).end())
        }
        Source::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            if let Some((_, kind)) = KINDS.iter().find(|(end, _)| path.ends_with(end)) {
                data.text("mimeType", kind);
            }
            part.named("fileData", &data.text("fileUri", url).end())
        }
    };
    part.end()
}

fn function_call(call: &ToolCall<'_>, wants_signature: bool) -> String {
    let mut said = Object::default();
    said.text("id", &call.id).named("name", call.name).named("args", &call.arguments);
    let mut part = Object::default();
    part.named("functionCall", &said.end());
    // Where Google's own OpenAI-compatible face has it.
    let extra = call.fields.object("extra_content").and_then(|extra| extra.object("google"));
    let signature = extra.and_then(|google| google.get("thought_signature"));
    part.maybe("thoughtSignature", signature.or(wants_signature.then_some(NO_SIGNATURE))).end()
}

/// The API wants an object; a tool that said anything else said the result.
fn response(id: &str, name: &str, parts: &[Part<'_>]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } => json::text(text),
        _ => None,
    });
    let text: String = texts.collect();
    let content = if Fields::of(&text).is_some() { text } else { Object::default().text("result", &text).end() };
    let mut said = Object::default();
    said.text("id", id).named("name", name).named("response", &content);
    let mut media = Array::default();
    for part in parts {
        if let Part::Media(of) = part {
            media.push(&medium(of));
        }
    }
    if !media.is_empty() {
        said.named("parts", &media.end());
    }
    Object::default().named("functionResponse", &said.end()).end()
}
