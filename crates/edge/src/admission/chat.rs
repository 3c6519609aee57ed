//! What the server reads of a chat request; the rest is the backend's. Read once, and borrowed from the request's bytes.

use super::invalid;
use crate::refusal::Refusal;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// OpenAI chat JSON, as far as the server itself looks at it.
#[derive(Default, serde::Deserialize)]
pub(crate) struct Chat<'a> {
    /// The model that is asked for.
    #[serde(borrow, default)]
    pub(crate) model: Option<Cow<'a, str>>,
    #[serde(default)]
    messages: Messages,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    /// Whether the answer is wanted as it comes.
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user: Option<&'a RawValue>,
    /// Nothing is written in answer: it asks for embeddings.
    #[serde(skip)]
    wordless: bool,
    /// One of the tasks that it asks for was looked at.
    #[serde(skip)]
    looked_at: AtomicBool,
}

#[derive(serde::Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl<'a> Chat<'a> {
    /// Reads a request.
    pub(crate) fn read(input: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(input)
    }

    /// The same request, to which nothing is written in answer.
    pub(crate) fn wordless(self) -> Self {
        Self { wordless: true, ..self }
    }

    /// Whether nothing is written in answer.
    pub(crate) fn is_wordless(&self) -> bool {
        self.wordless
    }

    /// Whether this was asked before. A request for several answers is several tasks, and came once.
    pub(crate) fn was_looked_at(&self) -> bool {
        self.looked_at.swap(true, Ordering::Relaxed)
    }

    /// Refuses a request without messages.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.messages {
            Messages::Some => Ok(()),
            Messages::Empty => Err(invalid("`messages` is empty")),
            Messages::NoList => Err(invalid("`messages` must be a list of objects with `role` and `content`")),
        }
    }

    /// How many tokens the answer may have, where the request says so and the number is one.
    pub(crate) fn answer_tokens(&self) -> Option<u64> {
        if self.wordless {
            return Some(0);
        }
        self.max_completion_tokens.or(self.max_tokens).and_then(|number| number.get().parse().ok())
    }

    /// The user whom the answer is for, by the submitter's own name.
    pub(crate) fn user(&self) -> Option<String> {
        self.user.and_then(|user| serde_json::from_str(user.get()).ok())
    }

    /// Whether the answer is wanted as it comes.
    pub(crate) fn streams(&self) -> Result<bool, Refusal> {
        match self.stream.map(RawValue::get) {
            None | Some("false" | "null") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid("`stream` is true or false")),
        }
    }

    /// Whether a streamed answer ends with what was used.
    pub(crate) fn includes_usage(&self) -> Result<bool, Refusal> {
        let Some(options) = self.stream_options else { return Ok(false) };
        let options: Option<StreamOptions> = serde_json::from_str(options.get())
            .map_err(|error| invalid(format!("`stream_options` can't be read: {error}")))?;
        Ok(options.and_then(|options| options.include_usage) == Some(true))
    }

    /// How many answers are wanted.
    pub(crate) fn choices(&self, most: u32) -> Result<u32, Refusal> {
        match self.n.map(RawValue::get) {
            None | Some("null") => Ok(1),
            Some(number) => match number.parse() {
                Ok(choices) if (1..=most).contains(&choices) => Ok(choices),
                _ => Err(invalid(format!("`n` is 1 to {most}"))),
            },
        }
    }
}

/// What stands where the messages should. They are counted and not kept.
#[derive(Clone, Copy, Default, PartialEq)]
enum Messages {
    #[default]
    NoList,
    Empty,
    Some,
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Messages;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Messages, A::Error> {
                let mut found = Messages::Empty;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    found = Messages::Some;
                }
                Ok(found)
            }
        }
        from.deserialize_seq(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_and_only_where_it_matters() {
        let input = br#"{"model":"m","messages":[{"role":"user","content":"a"}],"n":2,"max_tokens":5,"x":[1,{}],
            "stream":true,"stream_options":{"include_usage":true}}"#;
        let chat = Chat::read(input).unwrap();
        assert_eq!(chat.model.as_deref(), Some("m"));
        assert!(chat.check().is_ok());
        assert_eq!((chat.answer_tokens(), chat.choices(4).unwrap()), (Some(5), 2));
        assert!(chat.streams().unwrap() && chat.includes_usage().unwrap());
    }

    #[test]
    fn what_is_no_chat_is_refused_with_what_is_wrong() {
        let message = |input: &str| Chat::read(input.as_bytes()).unwrap().check().unwrap_err().0.message;
        assert_eq!(message(r#"{"messages":[]}"#), "`messages` is empty");
        assert!(message("{}").contains("must be a list"));
        assert!(Chat::read(br#"{"messages":"hello"}"#).is_err_and(|error| error.is_data()));
        let chat = Chat::read(br#"{"n":9,"stream":"yes","max_tokens":"many"}"#).unwrap();
        assert!(chat.choices(4).is_err() && chat.streams().is_err());
        assert_eq!(chat.answer_tokens(), None);
    }
}
