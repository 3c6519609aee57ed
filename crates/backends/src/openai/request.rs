//! The request's body for the upstream: the caller's JSON, with our model and with streaming turned on. Every
//! other field keeps its bytes, so that no number is rounded and no field is lost.

use crate::chat::MESSAGES_API;
use crate::json::{self, Array, Fields, Object, plain};
use crate::upstream::invalid;
use bytes::Bytes;
use serde_json::value::RawValue;
use tidewire_core::port::BackendError;

/// Room for the fields that are ours.
const OURS_BYTES: usize = 128;

/// Sets `model`, `stream` and `stream_options.include_usage`.
pub(super) fn body(model: &str, input: &[u8]) -> Result<Bytes, BackendError> {
    let fields = Fields::of_request(input)?;
    let mut object = Object::with_capacity(input.len() + model.len() + OURS_BYTES);
    object.text("model", model);
    let mut options = None;
    // What came over the face of Anthropic's API has marks that this one refuses.
    let marked = fields.get(MESSAGES_API).is_some();
    for (name, value) in &fields.0 {
        match &*plain(name)? {
            "model" | "stream" | MESSAGES_API => {}
            "messages" | "tools" if marked => object.field(name, &unmarked(value.get())?),
            "stream_options" => options = Some(*value),
            "n" if !matches!(value.get(), "1" | "null") => {
                return Err(invalid("n must be 1: an answer is one log, so ask once for each choice"));
            }
            _ => object.field(name, value.get()),
        }
    }
    object.named("stream", "true");
    object.named("stream_options", &stream_options(options)?);
    Ok(object.end().into())
}

/// A list of messages or tools without the marks of Anthropic's API: hints for its cache, and thoughts that only it can read.
fn unmarked(list: &str) -> Result<String, BackendError> {
    const MARKS: [&str; 3] = ["cache_control", "thinking_blocks", "is_error"];
    let mut clean = Array::default();
    for element in json::array(list).unwrap_or_default() {
        let Some(fields) = Fields::of(element) else {
            clean.push(element);
            continue;
        };
        let mut object = Object::with_capacity(element.len());
        for (name, value) in &fields.0 {
            match &*plain(name)? {
                mark if MARKS.contains(&mark) => {}
                "content" if value.get().starts_with('[') => object.field(name, &unmarked(value.get())?),
                _ => object.field(name, value.get()),
            }
        }
        clean.push(&object.end());
    }
    Ok(clean.end())
}

/// The caller's stream options, with usage turned on. What is no object asks for nothing.
fn stream_options(options: Option<&RawValue>) -> Result<String, BackendError> {
    let fields = options.and_then(|options| serde_json::from_str::<Fields>(options.get()).ok());
    let mut object = Object::with_capacity(OURS_BYTES);
    object.named("include_usage", "true");
    for (name, value) in fields.iter().flat_map(|fields| &fields.0) {
        if plain(name)? != "include_usage" {
            object.field(name, value.get());
        }
    }
    Ok(object.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::port::Fault;

    fn sent(input: &str) -> String {
        String::from_utf8(body("m", input.as_bytes()).unwrap().into()).unwrap()
    }

    #[test]
    fn everything_but_our_three_fields_keeps_its_bytes_and_its_order() {
        let input = r#" { "messages": [ {"role":"user", "content":"\u00e9"} ], "model": "theirs", "temperature": 1.00,
            "seed": 12345678901234567890123, "x-new": {"a": [1e5, -0.0]}, "stream": false, "n": 1, "twice": 1, "twice": 2}"#;
        let expected = r#"{"model":"m","messages":[ {"role":"user", "content":"\u00e9"} ],"temperature":1.00,"#
            .to_owned()
            + r#""seed":12345678901234567890123,"x-new":{"a": [1e5, -0.0]},"n":1,"twice":1,"twice":2,"#
            + r#""stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(sent(input), expected);
    }

    #[test]
    fn the_callers_stream_options_stay_but_for_usage() {
        let options = r#""stream_options":{"include_usage":true,"include_obfuscation":false}}"#;
        assert!(sent(r#"{"stream_options":{"include_obfuscation":false,"include_usage":false}}"#).ends_with(options));
        assert!(sent(r#"{"stream_options":null}"#).ends_with(r#""stream_options":{"include_usage":true}}"#));
    }

    #[test]
    fn a_field_with_an_escaped_name_is_seen_through() {
        let sent = sent(r#"{"mod\u0065l":"theirs","str\u0065am":false,"\u0061":1}"#);
        assert_eq!(sent, r#"{"model":"m","\u0061":1,"stream":true,"stream_options":{"include_usage":true}}"#);
    }

    #[test]
    fn marks_of_anthropics_api_stay_behind_where_they_came_from_its_face() {
        let part = r#"{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}"#;
        let marked = format!(
            r#"{{"messages":[{{"role":"user","content":[{part}]}},{{"role":"tool","content":"1.00","is_error":true}}],
                "tools":[{{"type":"function","cache_control":{{}}}}],"messages_api":{{"thinking":{{}}}}}}"#
        );
        let clean = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]},"#.to_owned()
            + r#"{"role":"tool","content":"1.00"}],"tools":[{"type":"function"}],"stream":true"#;
        assert!(sent(&marked).starts_with(&clean), "{}", sent(&marked));
        let own = format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
        assert!(sent(&own).contains("cache_control"), "a chat's own fields pass as they are");
    }

    #[test]
    fn a_models_name_is_quoted() {
        let sent = body("a\"b", b"{}").unwrap();
        assert!(sent.starts_with(br#"{"model":"a\"b","stream":true"#));
    }

    #[test]
    fn what_is_no_object_or_asks_for_several_choices_is_refused() {
        for input in ["", "[]", "{", "{} x", r#"{"n":2}"#, r#"{"n":1.5}"#] {
            assert_eq!(body("m", input.as_bytes()).unwrap_err().fault, Fault::InvalidRequest, "{input}");
        }
    }
}
