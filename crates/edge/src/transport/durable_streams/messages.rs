//! What a body becomes in a log, and a log's events in a body: as the stream's content type says.

use super::answer::Refused;
use crate::follow::merged;
use base64::Engine;
use bytes::Bytes;
use serde_json::value::RawValue;
use tidewire_core::{Entry, Event, Kind, Timestamp};
use tidewire_proto::Code;

/// The most messages of one append: each is an event of its own, which costs its reader some 100 bytes.
const MAX_MESSAGES: usize = 16 * 1024;

/// How a stream's bytes are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Messages, each a JSON value.
    Json,
    /// Text in UTF-8.
    Text,
    /// Anything.
    Bytes,
    /// The events of a task's log, each a JSON object.
    Task,
}

impl Form {
    pub(super) fn of(content_type: &str) -> Self {
        match media_type(content_type) {
            media if media.eq_ignore_ascii_case("application/json") => Self::Json,
            media if media.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("text/")) => Self::Text,
            _ => Self::Bytes,
        }
    }

    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Task)
    }

    /// What an append of this body adds; nothing for an empty one.
    pub(super) fn entries(self, body: &Bytes, at: Timestamp) -> Result<Vec<Entry>, Refused> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let entry = |data: Bytes| Entry::new(at, Kind::Data, data);
        if self != Self::Json {
            return Ok(vec![entry(body.clone())]);
        }
        let invalid = |error| Refused::new(Code::InvalidJson, format!("the body is not JSON: {error}"));
        // One level of an array is taken apart: its elements are the messages.
        let messages: Vec<&RawValue> = if body.trim_ascii_start().first() == Some(&b'[') {
            serde_json::from_slice(body).map_err(invalid)?
        } else {
            vec![serde_json::from_slice(body).map_err(invalid)?]
        };
        if messages.len() > MAX_MESSAGES {
            let message = format!("{} messages at once, and {MAX_MESSAGES} are taken", messages.len());
            return Err(Refused::new(Code::TooLarge, message));
        }
        Ok(messages.into_iter().map(|message| entry(body.slice_ref(message.get().as_bytes()))).collect())
    }

    /// Events as the body of an answer.
    pub(super) fn body(self, events: &[Event]) -> Bytes {
        match self {
            Self::Task => serde_json::to_vec(&merged(events)).unwrap_or_default().into(),
            Self::Json => json(events),
            Self::Text | Self::Bytes => match events {
                [event] => event.data.clone(),
                events => events.iter().flat_map(|event| event.data.iter().copied()).collect(),
            },
        }
    }

    /// Events as the data of one server-sent event.
    pub(super) fn sse_data(self, events: &[Event]) -> String {
        let body = self.body(events);
        match self {
            Self::Bytes => base64::engine::general_purpose::STANDARD.encode(&body),
            _ => String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

/// A content type without its parameters.
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn json(events: &[Event]) -> Bytes {
    let length: usize = events.iter().map(|event| event.data.len() + 1).sum();
    let mut body = Vec::with_capacity(length + 2);
    body.push(b'[');
    // What was erased on a person's request is no message any more.
    for event in events.iter().filter(|event| !event.data.is_empty()) {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(&event.data);
    }
    body.push(b']');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::Offset;

    fn said(form: Form, body: &'static str) -> Vec<String> {
        let entries = form.entries(&Bytes::from_static(body.as_bytes()), Timestamp::default()).unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.data).into_owned()).collect()
    }

    #[test]
    fn one_level_of_an_array_is_taken_apart() {
        assert_eq!(said(Form::Json, r#"{"a": 1}"#), [r#"{"a": 1}"#]);
        assert_eq!(said(Form::Json, " [ {\"a\":1} , [2, 3],null ]\n"), [r#"{"a":1}"#, "[2, 3]", "null"]);
        assert_eq!(said(Form::Json, "[[[1]]]"), ["[[1]]"]);
        assert!(said(Form::Json, "[]").is_empty());
        assert_eq!(said(Form::Text, "[1,2]"), ["[1,2]"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in ["{", "[1,]", "1 2", "[1] 2", "nul", "\u{feff}1"] {
            assert!(
                Form::Json.entries(&Bytes::from_static(wrong.as_bytes()), Timestamp::default()).is_err(),
                "{wrong}"
            );
        }
        assert!(Form::Json.entries(&Bytes::from_static(b"\"\xff\""), Timestamp::default()).is_err());
        let many = Bytes::from(format!("[{}1]", "1,".repeat(MAX_MESSAGES)));
        assert!(Form::Json.entries(&many, Timestamp::default()).is_err());
    }

    #[test]
    fn messages_come_back_as_an_array() {
        let event = |data: &'static str| Event {
            offset: Offset(0),
            at: Timestamp::default(),
            kind: Kind::Data,
            data: Bytes::from_static(data.as_bytes()),
        };
        assert_eq!(Form::Json.body(&[event("1"), event(""), event("[2]")]), "[1,[2]]");
        assert_eq!(Form::Json.body(&[]), "[]");
        assert_eq!(Form::Bytes.body(&[event("a"), event("b")]), "ab");
        assert_eq!(Form::Bytes.sse_data(&[event("a"), event("b")]), "YWI=");
    }

    #[test]
    fn a_content_type_says_the_form() {
        assert_eq!(Form::of("Application/JSON; charset=utf-8"), Form::Json);
        assert_eq!(Form::of("TEXT/plain"), Form::Text);
        assert_eq!(Form::of("application/ndjson"), Form::Bytes);
        assert_eq!(Form::of(""), Form::Bytes);
    }
}
