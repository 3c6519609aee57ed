//! Events as a client sees them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One event, or several adjacent text events merged into one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireEvent<'a> {
    /// The place of the (first) event.
    pub offset: u64,
    /// How many offsets it covers.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// `text`, `end`, ...
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Milliseconds since the Unix epoch, of the (first) event.
    pub at: u64,
    /// A string for text, other JSON for the rest.
    #[serde(borrow)]
    pub data: Data<'a>,
}

fn one() -> u64 {
    1
}

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(count: &u64) -> bool {
    *count == 1
}

impl WireEvent<'_> {
    /// The offset of the event after this one.
    pub fn next(&self) -> u64 {
        self.offset + self.count
    }

    /// The text, where the data is a string.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match &self.data {
            Data::Text(text) => Some(Cow::Borrowed(text)),
            Data::Json(json) => serde_json::from_str(json.get()).ok(),
        }
    }

    /// The data as a JSON value.
    pub fn value(&self) -> serde_json::Value {
        match &self.data {
            Data::Text(text) => serde_json::Value::String(text.clone().into_owned()),
            Data::Json(json) => serde_json::from_str(json.get()).unwrap_or_default(),
        }
    }
}

/// An event's data.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// Text as it stands; what the server writes for text events.
    Text(Cow<'a, str>),
    /// Any JSON; what a client reads, and what the server writes for all else.
    Json(Cow<'a, RawValue>),
}

impl Serialize for Data<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Json(json) => json.serialize(to),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(from).map(|json| Self::Json(Cow::Borrowed(json)))
    }
}
