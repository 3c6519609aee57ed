//! How the Messages API writes an answer: blocks of content, each begun, added to and ended by events.

use super::frame::{Block, Delta, Frame, Text, Tokens, Whole};
use crate::calls::Calls;
use crate::sse::Event;
use crate::upstream::{Dialect, Heard};
use bytes::Bytes;
use serde_json::value::RawValue;
use tidewire_core::port::Chunk;

/// A message as it is said.
#[derive(Default)]
pub(super) struct Messages {
    calls: Calls,
    /// The block that calls a tool, while it is open, and whether any of its arguments have come.
    open: Option<(u64, bool)>,
    used: Tokens,
    /// Why the message ends, once that is told; and at which of the stop sequences, if at one.
    stop: Option<(Box<str>, Option<Box<str>>)>,
}

impl Dialect for Messages {
    /// It is only taken for one when the last event has come.
    const REASON_IS_THE_END: bool = true;

    fn event(&mut self, event: Event<'_>, heard: &mut Heard) {
        let Ok(frame) = serde_json::from_slice::<Frame>(event.data) else { return heard.nonsense() };
        match &*frame.kind.0 {
            "content_block_delta" => self.delta(frame, heard),
            "content_block_start" => {
                if let Some(block) = &frame.content_block {
                    self.begin(frame.index, block, heard);
                }
            }
            "content_block_stop" => self.end_call(frame.index, heard),
            "message_start" => self.used(frame.message.and_then(|message| message.usage), heard),
            "message_delta" => {
                self.used(frame.usage, heard);
                if let Some(Delta { stop_reason: Some(reason), stop_sequence, .. }) = frame.delta {
                    self.stop = Some(((*reason.0).into(), stop_sequence.map(|sequence| (*sequence.0).into())));
                }
            }
            "message_stop" => {
                if let Some((stop, sequence)) = self.stop.take() {
                    ends(&stop, sequence.as_deref(), heard);
                }
                heard.said_all();
            }
            "error" => heard.refused(event.data),
            // A ping; and kinds to come, which the API asks to pass over.
            _ => {}
        }
    }

    fn document(&mut self, document: &[u8], heard: &mut Heard) {
        let Ok(whole) = serde_json::from_slice::<Whole>(document) else { return heard.nonsense() };
        if whole.kind.0 == "error" {
            return heard.refused(document);
        }
        for (index, block) in (0..).zip(&whole.content) {
            self.begin(Some(index), block, heard);
            self.end_call(Some(index), heard);
        }
        self.used(whole.usage, heard);
        if let Some(stop) = whole.stop_reason {
            ends(&stop.0, whole.stop_sequence.as_ref().map(|sequence| &*sequence.0), heard);
        }
    }
}

impl Messages {
    fn begin(&mut self, index: Option<u64>, block: &Block<'_>, heard: &mut Heard) {
        match &*block.kind.0 {
            "text" => say(block.text.as_ref(), Chunk::Text, heard),
            "thinking" => say(block.thinking.as_ref(), Chunk::Reasoning, heard),
            "tool_use" => {
                let (id, name) = (block.id.map_or("null", RawValue::get), block.name.map_or("\"\"", RawValue::get));
                heard.say(self.calls.begin(id, name, "\"\"", None));
                // In a stream the input is empty here and comes in pieces.
                let input = block.input.map(RawValue::get).filter(|input| !is_empty(input));
                if let Some(input) = input {
                    heard.say(self.calls.add(&crate::json::quoted(input)));
                }
                self.open = Some((index.unwrap_or(0), input.is_some()));
            }
            // What the API's own tools do on its side, and thoughts that it hides.
            _ => {}
        }
    }

    fn delta(&mut self, frame: Frame<'_>, heard: &mut Heard) {
        let Some(Delta { text, thinking, partial_json, .. }) = frame.delta else { return };
        say(text.as_ref(), Chunk::Text, heard);
        say(thinking.as_ref(), Chunk::Reasoning, heard);
        let Some((open, has_arguments)) = &mut self.open else { return };
        if let Some(json) = partial_json.map(RawValue::get).filter(|json| json.len() > "\"\"".len())
            && frame.index.unwrap_or(0) == *open
        {
            *has_arguments = true;
            heard.say(self.calls.add(json));
        }
    }

    /// A tool without arguments is called with none at all, where OpenAI's clients read an empty object.
    fn end_call(&mut self, index: Option<u64>, heard: &mut Heard) {
        if let Some((_, has_arguments)) = self.open.take_if(|(open, _)| *open == index.unwrap_or(0))
            && !has_arguments
        {
            heard.say(self.calls.add("\"{}\""));
        }
    }

    fn used(&mut self, tokens: Option<Tokens>, heard: &mut Heard) {
        if let Some(tokens) = tokens {
            self.used = tokens.after(self.used);
            heard.used(self.used.usage());
        }
    }
}

fn say(text: Option<&Text<'_>>, chunk: fn(Bytes) -> Chunk, heard: &mut Heard) {
    if let Some(text) = text.filter(|text| !text.0.is_empty()) {
        // The network buffer that it lies in is many KiB: a token that kept it would keep all of it.
        heard.say(chunk(Bytes::copy_from_slice(text.0.as_bytes())));
    }
}

fn ends(stop: &str, sequence: Option<&str>, heard: &mut Heard) {
    heard.ends(reason(stop));
    if let Some(sequence) = sequence {
        heard.stopped_at(sequence);
    }
}

fn is_empty(object: &str) -> bool {
    object.trim_start_matches('{').trim_end_matches('}').trim().is_empty()
}

/// In OpenAI's words. A turn that the API paused is not whole, and this form has no way to go on with it.
fn reason(stop: &str) -> &str {
    match stop {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "pause_turn" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
}
