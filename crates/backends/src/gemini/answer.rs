//! How `generateContent` writes an answer: pieces of one form, each with parts, and no sign after the last one.

use super::frame::{Candidate, Chance, Frame, FunctionCall, Logprobs, Part};
use crate::calls::Calls;
use crate::json::{self, Array, Object, quoted};
use crate::sse::Event;
use crate::upstream::{Dialect, Heard};
use bytes::Bytes;
use serde_json::value::RawValue;
use tidewire_core::port::{BackendError, Chunk, Fault};

/// Pieces of an answer.
#[derive(Default)]
pub(super) struct Pieces {
    calls: Calls,
}

impl Dialect for Pieces {
    /// Older models give a reason with every piece, so that only the body's end says which was the last.
    const REASON_IS_THE_END: bool = false;

    fn event(&mut self, event: Event<'_>, heard: &mut Heard) {
        self.frame(event.data, heard);
    }

    fn document(&mut self, document: &[u8], heard: &mut Heard) {
        // Without `alt=sse` a stream is an array of its pieces.
        let Ok(text) = std::str::from_utf8(document) else { return heard.nonsense() };
        match json::array(text) {
            Some(pieces) => pieces.into_iter().for_each(|piece| self.frame(piece.as_bytes(), heard)),
            None => self.frame(document, heard),
        }
    }
}

impl Pieces {
    fn frame(&mut self, json: &[u8], heard: &mut Heard) {
        let Ok(frame) = serde_json::from_slice::<Frame>(json) else { return heard.nonsense() };
        if frame.error.is_some() {
            return heard.refused(json);
        }
        let candidate = frame.candidates.first();
        let answer = frame.response_id.as_ref().map_or("", |id| &id.0);
        for part in candidate.and_then(|candidate| candidate.content.as_ref()).iter().flat_map(|it| &it.parts) {
            self.part(part, answer, heard);
        }
        if let Some(logprobs) = candidate.and_then(|candidate| candidate.logprobs_result).and_then(logprobs) {
            heard.say(Chunk::Logprobs(logprobs));
        }
        if let Some(tokens) = frame.usage_metadata {
            heard.used(tokens.usage());
        }
        if frame.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            heard.ends("content_filter");
        }
        if let Some(candidate) = candidate {
            self.reason(candidate, heard);
        }
    }

    fn part(&mut self, part: &Part<'_>, answer: &str, heard: &mut Heard) {
        if let Some(text) = part.text.as_ref().filter(|text| !text.0.is_empty()) {
            // The network buffer that it lies in is many KiB: a token that kept it would keep all of it.
            let text = Bytes::copy_from_slice(text.0.as_bytes());
            heard.say(if part.thought { Chunk::Reasoning(text) } else { Chunk::Text(text) });
        }
        if let Some(call) = &part.function_call {
            heard.say(self.call(call, part.thought_signature, answer));
        }
    }

    /// The API gives a call as a whole. The signature goes where Google's own OpenAI-compatible face has it, and
    /// comes back from there.
    fn call(&mut self, call: &FunctionCall<'_>, signature: Option<&RawValue>, answer: &str) -> Chunk {
        // Older models give no ids. One that was given before would pair a tool's answer with the wrong call.
        let made = || quoted(&format!("call_{answer}_{}", self.calls.count()));
        let id = call.id.map(RawValue::get).filter(|id| id.len() > "\"\"".len() && *id != "null");
        let id = id.map_or_else(made, str::to_owned);
        let extra = signature
            .map(|signature| format!(r#""extra_content":{{"google":{{"thought_signature":{}}}}}"#, signature.get()));
        let arguments = quoted(call.args.map_or("{}", RawValue::get));
        self.calls.begin(&id, call.name.get(), &arguments, extra.as_deref())
    }

    fn reason(&self, candidate: &Candidate<'_>, heard: &mut Heard) {
        let Some(reason) = &candidate.finish_reason else { return };
        match &*reason.0 {
            "" | "FINISH_REASON_UNSPECIFIED" => {}
            "STOP" if self.calls.count() > 0 => heard.ends("tool_calls"),
            "STOP" => heard.ends("stop"),
            "MAX_TOKENS" => heard.ends("length"),
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR" => heard.ends("content_filter"),
            // Calls of tools that can't be read, and what the API does not explain: no answer, and another try may
            // give one.
            other => {
                let known: String = other.chars().filter(|char| char.is_ascii_uppercase() || *char == '_').collect();
                let message = format!("the upstream broke its answer off: {known}");
                heard.fail(BackendError::new(Fault::Broken, message));
            }
        }
    }
}

/// In OpenAI's form: an array of tokens, each with its chance and those of others.
fn logprobs(result: &RawValue) -> Option<Bytes> {
    let result: Logprobs = serde_json::from_str(result.get()).ok()?;
    let chance = |chance: &Chance<'_>| {
        let bytes = json::text(chance.token.get()).unwrap_or_default();
        let mut list = Array::default();
        list.extend(bytes.bytes().map(|byte| byte.to_string()));
        let mut said = Object::default();
        said.named("token", chance.token.get());
        said.named("logprob", chance.log_probability.map_or("0", RawValue::get)).named("bytes", &list.end());
        said
    };
    let mut tokens = Array::default();
    for (place, chosen) in result.chosen_candidates.iter().enumerate() {
        let mut others = Array::default();
        for other in result.top_candidates.get(place).iter().flat_map(|top| &top.candidates) {
            others.push(&chance(other).end());
        }
        tokens.push(&chance(chosen).named("top_logprobs", &others.end()).end());
    }
    (!tokens.is_empty()).then(|| tokens.end().into())
}
