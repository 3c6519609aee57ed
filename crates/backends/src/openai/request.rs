//! The request's body for the upstream: the caller's JSON, with our model and with streaming turned on. Every
//! other field keeps its bytes, so that no number is rounded and no field is lost.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use tidewire_core::port::{BackendError, Fault};

/// Room for the fields that are ours.
const OURS_BYTES: usize = 128;

/// Sets `model`, `stream` and `stream_options.include_usage`.
pub(super) fn body(model: &str, input: &[u8]) -> Result<Bytes, BackendError> {
    let fields: Fields = serde_json::from_slice(input)
        .map_err(|error| invalid(format!("the request is not a JSON object that can be read: {error}")))?;
    let mut object = Object::with_capacity(input.len() + model.len() + OURS_BYTES);
    object.text("model", model)?;
    let mut options = None;
    for (name, value) in &fields.0 {
        match &*plain(name)? {
            "model" | "stream" => {}
            "stream_options" => options = Some(*value),
            "n" if !matches!(value.get(), "1" | "null") => {
                return Err(invalid("n must be 1: an answer is one log, so ask once for each choice"));
            }
            _ => object.field(name, value.get()),
        }
    }
    object.named("stream", "true");
    object.named("stream_options", &stream_options(options)?);
    Ok(object.end())
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
    String::from_utf8(object.end().into()).map_err(|_| invalid("the stream options are not UTF-8"))
}

/// An object's fields in their order, as they were written.
struct Fields<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Collect)
    }
}

/// A field's name without its quotes and escapes: `"mod\u0065l"` is a model too, and must not get past us.
fn plain(name: &RawValue) -> Result<Cow<'_, str>, BackendError> {
    let quoted = name.get();
    if quoted.contains('\\') {
        return serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(|error| invalid(format!("the request has a field whose name can't be read: {error}")));
    }
    Ok(Cow::Borrowed(quoted.trim_matches('"')))
}

/// A JSON object, while it is written.
struct Object(Vec<u8>);

impl Object {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn field(&mut self, name: &RawValue, value: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.extend_from_slice(name.get().as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(value.as_bytes());
    }

    fn named(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0.extend_from_slice(value.as_bytes());
    }

    fn text(&mut self, name: &str, value: &str) -> Result<(), BackendError> {
        let quoted = serde_json::to_string(value).map_err(|error| invalid(error.to_string()))?;
        self.named(name, &quoted);
        Ok(())
    }

    fn end(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }
}

fn invalid(message: impl Into<String>) -> BackendError {
    BackendError::new(Fault::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

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
