//! The JSON of an answer, as types that borrow from the bytes.

use serde_json::value::RawValue;
use std::borrow::Cow;
use tidewire_core::Usage;

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A piece of an answer, or all of it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Vec<Candidate<'a>>,
    #[serde(borrow, default)]
    pub(super) prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default)]
    pub(super) usage_metadata: Option<Tokens>,
    #[serde(borrow, default)]
    pub(super) response_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// What was found wrong with the prompt.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    pub(super) block_reason: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) logprobs_result: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub(super) parts: Vec<Part<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(default)]
    pub(super) thought: bool,
    /// A string, as JSON.
    #[serde(borrow, default)]
    pub(super) thought_signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<FunctionCall<'a>>,
}

/// Values are JSON.
#[derive(serde::Deserialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: &'a RawValue,
    #[serde(borrow, default)]
    pub(super) args: Option<&'a RawValue>,
}

#[derive(Clone, Copy, serde::Deserialize)]
pub(super) struct Tokens {
    #[serde(default, rename = "promptTokenCount")]
    prompt: Option<u64>,
    #[serde(default, rename = "toolUsePromptTokenCount")]
    tool_prompt: Option<u64>,
    #[serde(default, rename = "cachedContentTokenCount")]
    cached: Option<u64>,
    #[serde(default, rename = "candidatesTokenCount")]
    candidates: Option<u64>,
    #[serde(default, rename = "thoughtsTokenCount")]
    thoughts: Option<u64>,
}

impl Tokens {
    /// The API counts thoughts apart from the answer, and what its own tools read apart from the prompt.
    pub(super) fn usage(self) -> Usage {
        let reasoning_tokens = self.thoughts.unwrap_or(0);
        Usage {
            input_tokens: self.prompt.unwrap_or(0) + self.tool_prompt.unwrap_or(0),
            cached_tokens: self.cached.unwrap_or(0),
            output_tokens: self.candidates.unwrap_or(0) + reasoning_tokens,
            reasoning_tokens,
            ..Usage::default()
        }
    }
}

/// The probabilities of a piece's tokens.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprobs<'a> {
    #[serde(borrow, default)]
    pub(super) chosen_candidates: Vec<Chance<'a>>,
    #[serde(borrow, default)]
    pub(super) top_candidates: Vec<Chances<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Chances<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Vec<Chance<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chance<'a> {
    /// A string, as JSON.
    #[serde(borrow)]
    pub(super) token: &'a RawValue,
    #[serde(borrow, default)]
    pub(super) log_probability: Option<&'a RawValue>,
}
