//! A request in OpenAI's form, taken apart for the adapters that must say it in other words.

mod message;
mod tool;

pub(crate) use message::{Media, Message, Part, Role, Source, ToolCall};
pub(crate) use tool::{Tool, ToolChoice};

use crate::json::{self, Fields};
use crate::upstream::invalid;
use std::borrow::Cow;
use tidewire_core::port::BackendError;

/// In what form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format<'a> {
    Text,
    JsonObject,
    /// By this schema, as JSON.
    JsonSchema(&'a str),
}

/// A request. Values that are passed on as they are stay JSON.
pub(crate) struct Asked<'a> {
    pub(crate) messages: Vec<Message<'a>>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) tool_choice: Option<ToolChoice<'a>>,
    /// Only one tool call at a time is wanted.
    pub(crate) one_call_at_a_time: bool,
    pub(crate) max_tokens: Option<&'a str>,
    /// Strings, as JSON.
    pub(crate) stop: Vec<&'a str>,
    pub(crate) temperature: Option<&'a str>,
    pub(crate) top_p: Option<&'a str>,
    pub(crate) top_k: Option<&'a str>,
    pub(crate) seed: Option<&'a str>,
    pub(crate) presence_penalty: Option<&'a str>,
    pub(crate) frequency_penalty: Option<&'a str>,
    pub(crate) logprobs: bool,
    pub(crate) top_logprobs: Option<&'a str>,
    pub(crate) effort: Option<Cow<'a, str>>,
    pub(crate) format: Format<'a>,
    /// A string, as JSON.
    pub(crate) user: Option<&'a str>,
    /// What a request over the face of Anthropic's API says in that one's own words, beside a chat's.
    pub(crate) messages_api: Option<Fields<'a>>,
    /// What this does not know: fields of the upstream's own, which pass as they are.
    pub(crate) rest: Vec<(Cow<'a, str>, &'a str)>,
}

/// Where the face of Anthropic's API keeps what a chat has other words for.
pub(crate) const MESSAGES_API: &str = "messages_api";

/// Fields that ask for nothing that another API has: ours, hints for OpenAI's cache and accounts, and biases by
/// tokens that mean others there.
const LEFT_OUT: [&str; 13] = [
    MESSAGES_API,
    "model",
    "stream",
    "stream_options",
    "n",
    "store",
    "logit_bias",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "modalities",
];

impl<'a> Asked<'a> {
    pub(crate) fn read(fields: &Fields<'a>) -> Result<Self, BackendError> {
        if fields.get("n").is_some_and(|n| n != "1") {
            return Err(invalid("n must be 1: an answer is one log, so ask once for each choice"));
        }
        let mut asked = Self {
            messages: message::all(fields)?,
            tools: tool::all(fields)?,
            tool_choice: fields.get("tool_choice").map(ToolChoice::read),
            one_call_at_a_time: fields.get("parallel_tool_calls") == Some("false"),
            // The newer name first.
            max_tokens: fields.get("max_completion_tokens").or_else(|| fields.get("max_tokens")),
            stop: fields.get("stop").map(strings).unwrap_or_default(),
            temperature: fields.get("temperature"),
            top_p: fields.get("top_p"),
            top_k: fields.get("top_k"),
            seed: fields.get("seed"),
            presence_penalty: fields.get("presence_penalty"),
            frequency_penalty: fields.get("frequency_penalty"),
            logprobs: fields.get("logprobs") == Some("true"),
            top_logprobs: fields.get("top_logprobs"),
            effort: fields.text("reasoning_effort"),
            format: format(fields)?,
            user: fields.get("user"),
            messages_api: fields.object(MESSAGES_API),
            rest: Vec::new(),
        };
        asked.rest = fields.each().filter(|(name, _)| !is_known(name)).collect();
        Ok(asked)
    }

    /// A field of the upstream's own, by either of its names.
    pub(crate) fn own(&self, names: &[&str]) -> Option<&'a str> {
        let kept = || self.messages_api.as_ref().and_then(|kept| names.iter().find_map(|name| kept.get(name)));
        let found = self.rest.iter().rev().find(|(name, _)| names.contains(&&**name)).map(|(_, value)| *value);
        found.or_else(kept)
    }
}

fn is_known(name: &str) -> bool {
    const READ: [&str; 18] = [
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_completion_tokens",
        "max_tokens",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "response_format",
        "user",
    ];
    READ.contains(&name) || LEFT_OUT.contains(&name)
}

/// A string, or an array of them.
fn strings(json: &str) -> Vec<&str> {
    json::array(json).unwrap_or_else(|| vec![json])
}

fn format<'a>(fields: &Fields<'a>) -> Result<Format<'a>, BackendError> {
    let Some(format) = fields.object("response_format") else { return Ok(Format::Text) };
    match format.text("type").as_deref() {
        Some("text") | None => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let schema = format.object("json_schema").and_then(|wrapped| wrapped.get("schema"));
            schema.map(Format::JsonSchema).ok_or_else(|| invalid("response_format has no json_schema.schema"))
        }
        Some(other) => Err(invalid(format!("response_format {other:?} is not known"))),
    }
}
