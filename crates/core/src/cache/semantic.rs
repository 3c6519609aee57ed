//! Answers to questions that mean the same: what a route says of them, and why one of them was given.

use crate::port::CacheKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// What a route says of questions that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semantic {
    /// How close two of them must be at least.
    pub threshold: Similarity,
    /// The deployment that makes their vectors.
    pub deployment: Arc<str>,
}

/// How close two texts are: the cosine of their vectors, from 0 to 1. Kept in millionths, as more digits say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Similarity(u32);

impl Similarity {
    /// Of a cosine. What points away from one another is not close at all.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to a million")]
    pub fn of(cosine: f64) -> Self {
        Self((cosine.clamp(0.0, 1.0) * 1e6).round() as u32)
    }

    /// As a cosine.
    pub fn cosine(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl Serialize for Similarity {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.cosine())
    }
}

impl<'de> Deserialize<'de> for Similarity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        f64::deserialize(from).map(Self::of)
    }
}

/// Why a task was given the answer to another question than its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Likeness {
    /// How close the two are.
    pub similarity: Similarity,
    /// What the other one asked. It is the same tenant's.
    pub question: String,
    /// Names the answer: what a purge or a bad word about it goes by.
    pub key: CacheKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similarity_is_written_as_a_cosine_and_never_leaves_its_bounds() {
        assert_eq!(serde_json::to_string(&Similarity::of(0.912_345_67)).unwrap(), "0.912346");
        assert_eq!(serde_json::from_str::<Similarity>("0.9").unwrap(), Similarity::of(0.9));
        assert_eq!((Similarity::of(-0.3), Similarity::of(f64::NAN)), (Similarity(0), Similarity(0)));
        assert_eq!(Similarity::of(1.000_001), Similarity::of(1.0));
    }
}
