//! The question that a chat asks, apart from all that goes with it: what may be asked in other words, and what must be the same.

use super::canonical::{answer_fields, fields, items, object};
use serde_json::value::RawValue;

/// The longest question that may be found in other words: a longer one is a document, and nobody asks it twice in other words.
pub const MAX_QUESTION_BYTES: usize = 4 * 1024;

/// What a chat asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The text of the last message, which is the user's.
    pub text: String,
    /// All else of the request, in the one form that all requests have which have the same.
    pub rest: Vec<u8>,
}

/// The question of a request; none where its last message is not a user's plain text, or too long.
pub fn question(input: &[u8]) -> Option<Question> {
    let all = fields(std::str::from_utf8(input).ok()?)?;
    let (_, messages) = all.iter().find(|(name, _)| name == "messages")?;
    let messages = items(messages.get())?;
    let (last, before) = messages.split_last()?;
    let last = fields(last.get())?;
    let text_of = |wanted: &str| {
        let (_, value) = last.iter().find(|(name, _)| name == wanted)?;
        serde_json::from_str::<String>(value.get()).ok()
    };
    let text = text_of("content").filter(|text| text.len() <= MAX_QUESTION_BYTES && !text.trim().is_empty())?;
    if text_of("role")? != "user" {
        return None;
    }
    let mut without = String::from("[");
    for message in before {
        without.push_str(message.get());
        without.push(',');
    }
    let mut frame = Vec::new();
    object(last.iter().filter(|(name, _)| name != "content").map(|(name, value)| (name, *value)), &mut frame, 0)?;
    without.push_str(std::str::from_utf8(&frame).ok()?);
    without.push(']');
    let without = RawValue::from_string(without).ok()?;
    let kept = answer_fields(&all).map(|(name, value)| (name, if name == "messages" { &*without } else { value }));
    let mut rest = Vec::with_capacity(input.len());
    object(kept, &mut rest, 0)?;
    Some(Question { text, rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(text: &str) -> Option<(String, String)> {
        question(text.as_bytes()).map(|question| (question.text, String::from_utf8(question.rest).unwrap()))
    }

    #[test]
    fn the_last_message_is_the_question_and_all_else_stays() {
        let (text, rest) = asked(
            r#"{"stream":true,"messages":[{"role":"system","content":"be  kind"},{"content":"a\u0062","role":"user"}],"seed":1}"#,
        )
        .unwrap();
        assert_eq!(text, "ab");
        assert_eq!(rest, r#"{"messages":[{"content":"be  kind","role":"system"},{"role":"user"}],"seed":1}"#);
        let other = |body: &str| asked(body).map(|(_, rest)| rest);
        let base = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"x"}]}"#;
        let same = r#"{"user":"u","messages":[{"content":"s","role":"system"},{"role":"user","content":"y"}]}"#;
        assert_eq!(other(base), other(same));
        for different in [
            r#"{"messages":[{"role":"system","content":"t"},{"role":"user","content":"x"}]}"#,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"x","name":"n"}]}"#,
            r#"{"messages":[{"role":"user","content":"x"}]}"#,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"x"}],"max_tokens":5}"#,
        ] {
            assert_ne!(other(base), other(different), "{different}");
        }
    }

    #[test]
    fn what_is_no_plain_question_of_a_user_has_none() {
        for none in [
            r#"{"messages":[]}"#,
            r#"{"input":"a"}"#,
            r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":" "}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#,
            r#"{"messages":[{"role":"user","role":"user","content":"a"}]}"#,
        ] {
            assert_eq!(asked(none), None, "{none}");
        }
        let of_length = |length| format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "a".repeat(length));
        assert!(asked(&of_length(MAX_QUESTION_BYTES)).is_some() && asked(&of_length(MAX_QUESTION_BYTES + 1)).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = question(&bytes);
        }
    }
}
