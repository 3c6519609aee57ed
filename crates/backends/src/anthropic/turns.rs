//! Messages in the words of the Messages API: what the system says apart, and turns of blocks, in which user and
//! assistant alternate. What tools answered is part of the user's turn.

use crate::chat::{Media, Message, Part, Role, Source};
use crate::json::{self, Array, Object, quoted};
use std::borrow::Cow;
use tidewire_core::port::BackendError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    User,
    Assistant,
}

/// The turns of a conversation.
#[derive(Default)]
pub(super) struct Turns {
    system: Array,
    said: Vec<(Speaker, Array)>,
    /// The last turn of the assistant called tools and shows no thoughts.
    lack_thoughts: bool,
}

pub(super) fn of(messages: &[Message<'_>]) -> Result<Turns, BackendError> {
    let mut turns = Turns::default();
    for message in messages {
        match message.role {
            Role::System => turns.system.extend(blocks(&message.parts()?)),
            Role::User => {
                let blocks = blocks(&message.parts()?);
                turns.add(Speaker::User, &blocks);
            }
            Role::Tool => {
                let result = result(message)?;
                turns.add(Speaker::User, &[result]);
            }
            Role::Assistant => turns.assistant(message)?,
        }
    }
    Ok(turns)
}

impl Turns {
    fn assistant(&mut self, message: &Message<'_>) -> Result<(), BackendError> {
        // Thoughts with their signatures, in the API's own form, as some clients keep them.
        let thoughts = message.fields.get("thinking_blocks").and_then(json::array).unwrap_or_default();
        let mut all: Vec<String> = thoughts.into_iter().map(str::to_owned).collect();
        let calls = message.tool_calls()?;
        self.lack_thoughts = all.is_empty() && !calls.is_empty();
        all.extend(blocks(&message.parts()?));
        for call in calls {
            let mut block = Object::default();
            block.text("type", "tool_use").text("id", &id(&call.id)).named("name", call.name);
            block.named("input", &call.arguments);
            block.maybe("cache_control", call.fields.get("cache_control"));
            all.push(block.end());
        }
        self.add(Speaker::Assistant, &all);
        Ok(())
    }

    fn add(&mut self, speaker: Speaker, blocks: &[String]) {
        if blocks.is_empty() {
            return;
        }
        if self.said.last().is_none_or(|(last, _)| *last != speaker) {
            self.said.push((speaker, Array::default()));
        }
        if let Some((_, turn)) = self.said.last_mut() {
            turn.extend(blocks);
        }
    }

    pub(super) fn end_with_the_user(&self) -> bool {
        self.said.last().is_some_and(|(speaker, _)| *speaker == Speaker::User)
    }

    pub(super) fn lack_thoughts(&self) -> bool {
        self.lack_thoughts
    }

    /// The model's answer goes on after this.
    pub(super) fn begin_answer(&mut self, text: &str) {
        self.add(Speaker::Assistant, &[text_block(&quoted(text))]);
    }

    pub(super) fn system(&mut self) -> Option<String> {
        (!self.system.is_empty()).then(|| self.system.end())
    }

    pub(super) fn messages(&mut self) -> String {
        let mut messages = Array::default();
        for (speaker, blocks) in &mut self.said {
            let role = if *speaker == Speaker::User { "user" } else { "assistant" };
            messages.push(&Object::default().text("role", role).named("content", &blocks.end()).end());
        }
        messages.end()
    }
}

fn blocks(parts: &[Part<'_>]) -> Vec<String> {
    parts.iter().map(block).collect()
}

fn block(part: &Part<'_>) -> String {
    match part {
        // A part that is text has the same form here, and may have marks of the API's own (`cache_control`).
        Part::Text { whole: Some(whole), .. } => (*whole).to_owned(),
        Part::Text { text, whole: None } => text_block(text),
        Part::Other(json) => (*json).to_owned(),
        Part::Media(media) => medium(media),
    }
}

fn text_block(text: &str) -> String {
    Object::default().text("type", "text").named("text", text).end()
}

fn medium(media: &Media<'_>) -> String {
    let mut source = Object::default();
    let is_image = match &media.source {
        Source::Here { kind, data } => {
            source.text("type", "base64").text("media_type", kind).text("data", data);
            kind.starts_with("image/")
        }
        Source::Url(url) => {
            source.text("type", "url").text("url", url);
            media.part.get("image_url").is_some()
        }
    };
    let mut block = Object::default();
    block.text("type", if is_image { "image" } else { "document" }).named("source", &source.end());
    if !is_image {
        block.maybe("title", media.name);
    }
    block.maybe("cache_control", media.part.get("cache_control")).end()
}

fn result(message: &Message<'_>) -> Result<String, BackendError> {
    let mut block = Object::default();
    block.text("type", "tool_result").text("tool_use_id", &id(&message.tool_call_id()?));
    let mut content = Array::default();
    content.extend(blocks(&message.parts()?));
    if !content.is_empty() {
        block.named("content", &content.end());
    }
    block.maybe("is_error", message.fields.get("is_error"));
    Ok(block.maybe("cache_control", message.fields.get("cache_control")).end())
}

/// The API refuses ids with other characters, which other models make.
fn id(id: &str) -> Cow<'_, str> {
    let known = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    if id.chars().all(known) {
        return id.into();
    }
    id.chars().map(|char| if known(char) { char } else { '_' }).collect::<String>().into()
}
