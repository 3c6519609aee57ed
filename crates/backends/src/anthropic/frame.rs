//! The JSON of an answer, as types that borrow from the bytes.

use serde_json::value::RawValue;
use std::borrow::Cow;
use tidewire_core::Usage;

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Any event of a stream: each kind has some of these.
#[derive(serde::Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) message: Option<Begun>,
    #[serde(borrow, default)]
    pub(super) content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(default)]
    pub(super) usage: Option<Tokens>,
}

/// What is there of the message at its beginning.
#[derive(serde::Deserialize)]
pub(super) struct Begun {
    #[serde(default)]
    pub(super) usage: Option<Tokens>,
}

/// A message in one piece.
#[derive(serde::Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) content: Vec<Block<'a>>,
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) stop_sequence: Option<Text<'a>>,
    #[serde(default)]
    pub(super) usage: Option<Tokens>,
}

/// A block of content, or its beginning.
#[derive(serde::Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
}

/// What is added to a block, or to the message.
#[derive(serde::Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<Text<'a>>,
    /// A string, as JSON.
    #[serde(borrow, default)]
    pub(super) partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) stop_sequence: Option<Text<'a>>,
}

/// Counts, as of the whole answer; an event may leave out those that it does not change.
#[derive(Clone, Copy, Default, serde::Deserialize)]
pub(super) struct Tokens {
    #[serde(default, rename = "input_tokens")]
    input: Option<u64>,
    #[serde(default, rename = "cache_creation_input_tokens")]
    written: Option<u64>,
    #[serde(default, rename = "cache_read_input_tokens")]
    cached: Option<u64>,
    #[serde(default, rename = "output_tokens")]
    output: Option<u64>,
}

impl Tokens {
    /// These where they are told, else the earlier ones.
    pub(super) fn after(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            written: self.written.or(earlier.written),
            cached: self.cached.or(earlier.cached),
            output: self.output.or(earlier.output),
        }
    }

    /// The API counts what was read from its cache and written to it apart from the rest of the input.
    pub(super) fn usage(self) -> Usage {
        let cached_tokens = self.cached.unwrap_or(0);
        let cache_write_tokens = self.written.unwrap_or(0);
        Usage {
            input_tokens: self.input.unwrap_or(0) + cached_tokens + cache_write_tokens,
            cached_tokens,
            cache_write_tokens,
            output_tokens: self.output.unwrap_or(0),
            ..Usage::default()
        }
    }
}
