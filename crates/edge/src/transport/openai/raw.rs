//! JSON objects whose values keep their bytes: a schema's order is the order in which a model fills it, and no number is
//! rounded.

use crate::refusal::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use tidewire_proto::Code;

/// An object's fields. Of several with one name the last one counts, and one that is null is as if left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::transport) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Reads an object.
    pub(in crate::transport) fn read(json: &[u8]) -> serde_json::Result<Self> {
        let mut fields: Self = serde_json::from_slice(json)?;
        fields.0.retain(|_, value| value.get() != "null");
        Ok(fields)
    }

    pub(in crate::transport) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(in crate::transport) fn raw(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(|value| &**value)
    }

    /// A field's value.
    pub(in crate::transport) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let read = |value: &RawValue| serde_json::from_str(value.get()).map_err(|error| unread(name, &error));
        self.raw(name).map(read).transpose()
    }

    /// A field that is an object.
    pub(in crate::transport) fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        let read = |value: &RawValue| Self::read(value.get().as_bytes()).map_err(|error| unread(name, &error));
        self.raw(name).map(read).transpose()
    }

    /// The elements of a field that is a list.
    pub(in crate::transport) fn list(&self, name: &str) -> Result<Vec<Box<RawValue>>, Refusal> {
        self.get(name).map(Option::unwrap_or_default)
    }

    pub(in crate::transport) fn each(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    pub(in crate::transport) fn set_raw(&mut self, name: &str, value: &RawValue) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(in crate::transport) fn set(&mut self, name: &str, value: &impl Serialize) {
        // Strings, numbers and JSON that was parsed before: it can't fail.
        if let Ok(value) = to_raw_value(value) {
            self.0.insert(name.to_owned(), value);
        }
    }

    pub(in crate::transport) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Sets a field that is not there.
    pub(in crate::transport) fn or_set(&mut self, name: &str, value: &impl Serialize) {
        if !self.has(name) {
            self.set(name, value);
        }
    }
}

fn unread(name: &str, error: &serde_json::Error) -> Refusal {
    Refusal::new(Code::InvalidRequest, format!("`{name}` can't be read: {error}"))
}

/// Any of it as bytes.
pub(in crate::transport) fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
