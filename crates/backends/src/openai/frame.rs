//! The JSON of an answer, as types that borrow from the bytes: each token is parsed once, and copied once.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::marker::PhantomData;
use tidewire_core::Usage;
use tidewire_core::port::Chunk;

/// A streamed chunk, or an answer in one piece: they differ in `delta` and `message`.
#[derive(serde::Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, default)]
    choices: First<Choice<'a>>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default, alias = "message")]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    logprobs: Option<Logprobs<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    /// vLLM: which stop sequence came, or which token; null where the model ended by itself.
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    /// The same of `SGLang`.
    #[serde(borrow, default)]
    matched_stop: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    /// What the model says instead, where it declines to answer in the form asked for.
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    /// The newer name of the same; some servers send both.
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Logprobs<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// A string, borrowed where it has no escapes. A bare `Option<Cow>` would always copy.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
struct Tokens {
    #[serde(default, rename = "prompt_tokens")]
    prompt: Option<u64>,
    #[serde(default, rename = "completion_tokens")]
    completion: Option<u64>,
    #[serde(default, rename = "prompt_tokens_details")]
    prompt_details: Option<PromptDetails>,
    #[serde(default, rename = "completion_tokens_details")]
    completion_details: Option<CompletionDetails>,
}

#[derive(serde::Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(serde::Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl<'a> Frame<'a> {
    /// `None` where it is no JSON, or not of this form.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// It tells of an error, and nothing else counts.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Why the answer ended, where this is its end.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        let reason = self.choices.0.as_ref()?.finish_reason.as_ref()?;
        (!reason.0.is_empty()).then_some(&*reason.0)
    }

    /// At which of the stop sequences it ended, where the server tells.
    pub(super) fn stop_sequence(&self) -> Option<Cow<'_, str>> {
        let choice = self.choices.0.as_ref()?;
        let told = [choice.stop_reason, choice.matched_stop];
        told.into_iter().flatten().find_map(|told| serde_json::from_str::<Text<'_>>(told.get()).ok()).map(|text| text.0)
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        let tokens = self.usage.as_ref()?;
        let prompt = tokens.prompt_details.as_ref();
        let completion = tokens.completion_details.as_ref();
        Some(Usage {
            input_tokens: tokens.prompt.unwrap_or(0),
            cached_tokens: prompt.and_then(|details| details.cached_tokens).unwrap_or(0),
            output_tokens: tokens.completion.unwrap_or(0),
            reasoning_tokens: completion.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            estimated: false,
            ..Usage::default()
        })
    }

    /// What the model says in it.
    pub(super) fn for_each_chunk(&self, mut say: impl FnMut(Chunk)) {
        let Some(choice) = &self.choices.0 else { return };
        let delta = choice.delta.as_ref();
        let text = |of: fn(&Delta<'a>) -> Option<Bytes>| delta.and_then(of);
        let array = |json: Option<&RawValue>| json.and_then(filled).map(copied);
        let parts = [
            text(|delta| spoken(&delta.reasoning_content))
                .or_else(|| text(|delta| spoken(&delta.reasoning)))
                .map(Chunk::Reasoning),
            text(|delta| spoken(&delta.content)).map(Chunk::Text),
            text(|delta| spoken(&delta.refusal)).map(Chunk::Text),
            array(choice.logprobs.as_ref().and_then(|logprobs| logprobs.content)).map(Chunk::Logprobs),
            array(delta.and_then(|delta| delta.tool_calls)).map(Chunk::ToolCall),
        ];
        for part in parts.into_iter().flatten() {
            say(part);
        }
    }
}

#[allow(clippy::ref_option)] // The fields are options, and each caller would have to convert.
fn spoken(text: &Option<Text<'_>>) -> Option<Bytes> {
    text.as_ref().filter(|text| !text.0.is_empty()).map(|text| copied(&text.0))
}

/// The chunk that it lies in is a network buffer of many KiB: a token that kept it would keep all of it.
fn copied(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// An array with something in it.
fn filled(value: &RawValue) -> Option<&str> {
    let inside = value.get().strip_prefix('[')?.strip_suffix(']')?;
    (!inside.trim().is_empty()).then_some(value.get())
}

/// Tool calls of an answer in one piece, in the form of a delta: each with its index.
pub(super) fn indexed(calls: &[u8]) -> Option<Bytes> {
    let calls: Vec<&RawValue> = serde_json::from_slice(calls).ok()?;
    let mut array = String::from("[");
    for (index, call) in calls.iter().enumerate() {
        let fields = call.get().strip_prefix('{')?;
        let comma = if fields.trim() == "}" { "" } else { "," };
        array.push_str(if index == 0 { "" } else { "," });
        // Writing to a string can't fail.
        let _ = write!(array, "{{\"index\":{index}{comma}{fields}");
    }
    array.push(']');
    Some(array.into())
}

/// The first of an array, for which no memory is asked; `null` is an empty one.
struct First<T>(Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Take<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Take<T> {
            type Value = First<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an array")
            }

            fn visit_unit<E>(self) -> Result<First<T>, E> {
                Ok(First(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<First<T>, A::Error> {
                let first = array.next_element()?;
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        from.deserialize_any(Take(PhantomData))
    }
}
