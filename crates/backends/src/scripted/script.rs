//! What a script says, and the text that follows from it.

use super::invalid;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault};

/// The longest script: its text is built at once, and this much is 10 MB.
const MAX_TOKENS: usize = 1_000_000;

/// What to play. The default: 50 tokens, one every 20 ms, that can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// How many tokens.
    pub tokens: usize,
    /// How long from a token to the next, in milliseconds. The schedule is absolute: a late token does not
    /// delay those after it.
    pub delay_ms: u64,
    /// How long to the first token, in milliseconds; as `delay_ms` where there is none.
    pub first_delay_ms: Option<u64>,
    /// What each token begins with; without a space.
    pub seed: String,
    /// The answer, in place of counted words.
    pub text: Option<String>,
    /// Reasoning, in one piece with the first token.
    pub reasoning: Option<String>,
    /// An OpenAI `delta.tool_calls` array, in one piece after the last token.
    pub tool_calls: Option<Value>,
    /// Why the answer ends.
    pub finish_reason: String,
    /// At which of the stop sequences, if at one.
    pub stop_sequence: Option<String>,
    /// Whether to say how many tokens were used: the words of the messages, and the tokens played.
    pub usage: bool,
    /// The fault comes in the place of this token, counted from 0 over the whole answer.
    pub fail_at: Option<usize>,
    /// What goes wrong there; alone it means `fail_at: 0`. Without it: `broken`.
    pub fault: Option<Accident>,
    /// Only so many runs of the same `key` fail, and later ones go well. Without it all fail.
    pub fail_attempts: Option<u32>,
    /// By what runs are counted for `fail_attempts`.
    pub key: Option<String>,
    /// When the upstream asks to be tried again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether a run goes on after committed text that ends with a whole token of this script.
    pub continues: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tokens: 50,
            delay_ms: 20,
            first_delay_ms: None,
            seed: "w".to_owned(),
            text: None,
            reasoning: None,
            tool_calls: None,
            finish_reason: "stop".to_owned(),
            stop_sequence: None,
            usage: true,
            fail_at: None,
            fault: None,
            fail_attempts: None,
            key: None,
            retry_after_ms: None,
            continues: true,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accident {
    /// [`Fault::InvalidRequest`].
    Invalid,
    /// [`Fault::ContextTooLong`].
    ContextTooLong,
    /// [`Fault::UnknownModel`].
    UnknownModel,
    /// [`Fault::Unauthorized`].
    Unauthorized,
    /// [`Fault::RateLimited`].
    RateLimited,
    /// [`Fault::Overloaded`].
    Overloaded,
    /// [`Fault::Unreachable`].
    Unreachable,
    /// [`Fault::TimedOut`], at once.
    TimedOut,
    /// [`Fault::Broken`].
    Broken,
    /// The chunks end, without a word.
    Cut,
    /// Nothing more comes, until the request's timeout.
    Stall,
}

impl Accident {
    /// The fault and the HTTP status by which a real upstream would tell it before its answer begins; `None` for
    /// what only happens in the middle of one.
    pub(super) fn by_status(self) -> Option<(Fault, Option<u16>)> {
        match self {
            Self::Invalid => Some((Fault::InvalidRequest, Some(400))),
            Self::ContextTooLong => Some((Fault::ContextTooLong, Some(400))),
            Self::UnknownModel => Some((Fault::UnknownModel, Some(404))),
            Self::Unauthorized => Some((Fault::Unauthorized, Some(401))),
            Self::RateLimited => Some((Fault::RateLimited, Some(429))),
            Self::Overloaded => Some((Fault::Overloaded, Some(503))),
            Self::Unreachable => Some((Fault::Unreachable, None)),
            Self::TimedOut => Some((Fault::TimedOut, None)),
            Self::Broken | Self::Cut | Self::Stall => None,
        }
    }
}

impl Script {
    /// This script with the request's fields over it.
    pub(super) fn overlaid(&self, over: Option<&RawValue>) -> Result<Self, BackendError> {
        let Some(over) = over else { return self.clone().checked() };
        let wrong = |error| invalid(format!("the request's script can't be read: {error}"));
        let over: Map<String, Value> = serde_json::from_str(over.get()).map_err(wrong)?;
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            return Err(invalid("the backend's own script is no object"));
        };
        fields.extend(over);
        serde_json::from_value::<Self>(Value::Object(fields)).map_err(wrong)?.checked()
    }

    fn checked(self) -> Result<Self, BackendError> {
        if self.tokens > MAX_TOKENS {
            return Err(invalid(format!("a script has at most {MAX_TOKENS} tokens")));
        }
        if self.seed.contains(' ') {
            return Err(invalid("a script's seed has no space: a space is where a token ends"));
        }
        Ok(self)
    }

    pub(super) fn first_delay(&self) -> Duration {
        Duration::from_millis(self.first_delay_ms.unwrap_or(self.delay_ms))
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// The fault, as this script's upstream tells it.
    pub(super) fn told(&self, (fault, status): (Fault, Option<u16>)) -> BackendError {
        let retry_after = self.retry_after_ms.map(Duration::from_millis);
        BackendError {
            fault,
            message: format!("the script says so: {}", fault.code()),
            retry_after,
            status,
            limits: Vec::new(),
        }
    }
}

/// The whole answer of a script.
pub fn text(script: &Script) -> String {
    if let Some(text) = &script.text {
        return text.clone();
    }
    let mut text = String::with_capacity(script.tokens * (script.seed.len() + 8));
    for k in 0..script.tokens {
        // Writing to a string can't fail.
        let _ = write!(text, "{}{k}{} ", script.seed, if k % 8 == 7 { "-é漢🙂…" } else { "" });
    }
    text
}

/// What the backend reads of a request.
#[derive(Deserialize)]
pub(super) struct Input<'a> {
    #[serde(borrow, default)]
    pub(super) script: Option<&'a RawValue>,
    /// How many words its messages have.
    #[serde(default, rename = "messages", deserialize_with = "count_words")]
    pub(super) words: u64,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Parts(#[serde(borrow)] Vec<Part<'a>>),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

fn count_words<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let words = |text: &str| text.split_whitespace().count() as u64;
    let messages = Vec::<Message>::deserialize(from)?;
    let contents = messages.iter().filter_map(|message| message.content.as_ref());
    Ok(contents
        .map(|content| match content {
            Content::Text(text) => words(text),
            Content::Parts(parts) => parts.iter().map(|part| words(&part.text)).sum(),
        })
        .sum())
}
