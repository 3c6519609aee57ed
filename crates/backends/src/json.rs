//! JSON that is taken apart without being decoded: a field that we don't look into keeps its bytes, so that no number
//! is rounded and no field is lost.

use crate::upstream::invalid;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use tidewire_core::port::BackendError;

/// An object's fields in their order, as they were written.
#[derive(Clone)]
pub(crate) struct Fields<'a>(pub(crate) Vec<(&'a RawValue, &'a RawValue)>);

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

impl<'a> Fields<'a> {
    /// The whole request.
    pub(crate) fn of_request(input: &'a [u8]) -> Result<Self, BackendError> {
        serde_json::from_slice(input)
            .map_err(|error| invalid(format!("the request is not a JSON object that can be read: {error}")))
    }

    /// `None` where it is no object.
    pub(crate) fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The value of a field; `null` is none, and of several the last one counts.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let value = self.0.iter().rev().find(|(key, _)| plain(key).is_ok_and(|key| key == name))?.1.get();
        (value != "null").then_some(value)
    }

    /// The text of a field that is one.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// The fields of a field that is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        self.get(name).and_then(Self::of)
    }

    /// Names without escapes, and values.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.0.iter().filter_map(|(name, value)| Some((plain(name).ok()?, value.get())))
    }
}

/// A field's name without its quotes and escapes: `"mod\u0065l"` is a model too, and must not get past us.
pub(crate) fn plain(name: &RawValue) -> Result<Cow<'_, str>, BackendError> {
    let quoted = name.get();
    if quoted.contains('\\') {
        return serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(|error| invalid(format!("the request has a field whose name can't be read: {error}")));
    }
    Ok(Cow::Borrowed(quoted.trim_matches('"')))
}

/// What a string says; `None` where it is none.
pub(crate) fn text(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?;
    if !inside.contains('\\') {
        return inside.strip_suffix('"').map(Cow::Borrowed);
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// The elements of an array; `None` where it is none.
pub(crate) fn array(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON object, while it is written.
#[derive(Default)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// A field under its name as it was written.
    pub(crate) fn field(&mut self, name: &RawValue, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(name.get());
        self.0.push(':');
        self.0.push_str(value);
    }

    /// A field whose name needs no escape, with a value that is JSON.
    pub(crate) fn named(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.push_str(if self.0.is_empty() { "{\"" } else { ",\"" });
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(value);
        self
    }

    /// A field, where there is a value.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.named(name, value),
            None => self,
        }
    }

    /// A field with a text.
    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        let quoted = quoted(value);
        self.named(name, &quoted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn end(&mut self) -> String {
        let mut json = std::mem::take(&mut self.0);
        json.push_str(if json.is_empty() { "{}" } else { "}" });
        json
    }
}

/// A JSON array, while it is written.
#[derive(Default)]
pub(crate) struct Array(String);

impl Array {
    pub(crate) fn push(&mut self, value: &str) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        self.0.push_str(value);
    }

    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = impl AsRef<str>>) {
        for value in values {
            self.push(value.as_ref());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn end(&mut self) -> String {
        let mut json = std::mem::take(&mut self.0);
        json.push_str(if json.is_empty() { "[]" } else { "]" });
        json
    }
}
