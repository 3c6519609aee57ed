//! How large a request and its answer may be.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Bounds of a route or of a key. Of several, the smallest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// The largest prompt, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The largest request, in bytes of its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// The longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What becomes of a request that asks for a longer answer.
    #[serde(skip_serializing_if = "Over::is_cap")]
    pub over: Over,
}

/// What becomes of a request that asks for a longer answer than it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// It asks for as much as it may.
    #[default]
    Cap,
    /// It is refused.
    Refuse,
}

impl Over {
    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
    fn is_cap(&self) -> bool {
        *self == Self::Cap
    }
}

impl Bounds {
    /// Both at once: the smaller number of each, and the stricter way.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        let refuses = |bounds: Self| bounds.output_tokens.is_some() && bounds.over == Over::Refuse;
        Self {
            input_tokens: least(self.input_tokens, other.input_tokens),
            input_bytes: least(self.input_bytes, other.input_bytes),
            output_tokens: least(self.output_tokens, other.output_tokens),
            over: if refuses(self) || refuses(other) { Over::Refuse } else { Over::Cap },
        }
    }

    /// Whether there is any.
    pub fn bound_nothing(&self) -> bool {
        *self == Self { over: self.over, ..Self::default() }
    }
}

/// The fields in which a request says how long its answer may be.
const ASKED: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The request with an answer of at most so many tokens; nothing where it asks for no more. Where it does not say, it says
/// `max_tokens` from now on, which every kind of backend reads.
pub fn capped(input: &[u8], most: u64) -> serde_json::Result<Option<Vec<u8>>> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(input)?;
    let number = RawValue::from_string(most.to_string())?;
    let mut says = false;
    let mut changed = false;
    for field in ASKED {
        let Some(asked) = fields.get_mut(field).filter(|asked| asked.get() != "null") else { continue };
        says = true;
        // What is no whole number counts as too much: no backend could make sense of it.
        if asked.get().parse().is_ok_and(|asked: u64| asked <= most) {
            continue;
        }
        *asked = &number;
        changed = true;
    }
    if !says {
        fields.insert("max_tokens".to_owned(), &number);
    }
    if says && !changed {
        return Ok(None);
    }
    serde_json::to_vec(&fields).map(Some)
}
