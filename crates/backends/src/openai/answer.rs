//! How OpenAI's API writes an answer.

use super::frame::{Frame, indexed};
use crate::sse::Event;
use crate::upstream::{Dialect, Heard};
use tidewire_core::port::Chunk;

/// Chunks of chat completions, `[DONE]` after the last one.
pub(super) struct Completions;

impl Dialect for Completions {
    const REASON_IS_THE_END: bool = true;

    fn event(&mut self, event: Event<'_>, heard: &mut Heard) {
        if event.data == b"[DONE]" {
            heard.said_all();
        } else if event.name == b"error" {
            heard.refused(event.data);
        } else {
            frame(event.data, heard, |chunk| chunk);
        }
    }

    fn document(&mut self, document: &[u8], heard: &mut Heard) {
        // Its message has the same form as a delta, but for the tool calls' indices.
        frame(document, heard, |chunk| match chunk {
            Chunk::ToolCall(calls) => Chunk::ToolCall(indexed(&calls).unwrap_or(calls)),
            other => other,
        });
    }
}

fn frame(json: &[u8], heard: &mut Heard, as_delta: impl Fn(Chunk) -> Chunk) {
    let Some(frame) = Frame::parse(json) else { return heard.nonsense() };
    if frame.is_error() {
        return heard.refused(json);
    }
    frame.for_each_chunk(|chunk| heard.say(as_delta(chunk)));
    if let Some(usage) = frame.usage() {
        heard.used(usage);
    }
    if let Some(reason) = frame.finish_reason() {
        heard.ends(reason);
        if let Some(sequence) = frame.stop_sequence().filter(|_| reason == "stop") {
            heard.stopped_at(&sequence);
        }
    }
}
