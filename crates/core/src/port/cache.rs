//! The port `Cache`: answers that were given once and may be given again.

use super::Unavailable;
use crate::time::Timestamp;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Keeps answers for a while, in a bounded number of bytes.
///
/// Promises, checked by `testkit::cache`:
/// - **Nothing but what was put.** What is got under a key is the last that was put there, whole, or nothing.
/// - **Not beyond its time.** What is past its `keep_until` is not given, whether it was swept or not.
/// - **Not beyond its bound.** What is kept never takes more bytes than the engine may; what was used longest ago goes
///   first.
/// - **What was removed or purged is gone.**
///
/// It does not promise to keep anything: an answer may be gone at any time, and a put may be lost in a crash. Whoever
/// asks goes on without. Keys hold their tenant: the engine knows of none.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What is kept under a key.
    async fn get(&self, key: CacheKey, now: Timestamp) -> Result<Option<Kept>, Unavailable>;

    /// When what is kept there was made. From memory, at once: a hint for whoever decides where to wait.
    fn made_at(&self, key: CacheKey, now: Timestamp) -> Option<Timestamp>;

    /// Keeps an answer in the place of what is there. One that is larger than the engine takes is not kept.
    async fn put(&self, key: CacheKey, kept: Kept) -> Result<(), Unavailable>;

    /// Forgets one. Whether there was one.
    async fn remove(&self, key: CacheKey) -> Result<bool, Unavailable>;

    /// Forgets all of a route, or all there are. How many.
    async fn purge(&self, route: Option<&str>) -> Result<u64, Unavailable>;

    /// Forgets what is past its time, at most `limit`. How many.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64, Unavailable>;

    /// How much is kept. From memory: for metrics.
    fn stats(&self) -> CacheStats;
}

/// Names an answer: a hash of all that it depends on, whose it is included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

impl fmt::Display for CacheKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl CacheKey {
    /// The key that is written so: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(key))
    }
}

impl Serialize for CacheKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        // Writing to a string can't fail.
        let _ = write!(text, "{self}");
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for CacheKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a key has 64 hexadecimal digits"))
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// By which route it came: what a purge goes by.
    pub route: Arc<str>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Nobody wants it any more from this moment on.
    pub keep_until: Timestamp,
    /// The answer.
    pub answer: Bytes,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Answers.
    pub entries: u64,
    /// What they take.
    pub bytes: u64,
    /// What they may take.
    pub bound_bytes: u64,
    /// How many had to go before their time.
    pub evictions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_64_digits_and_read_again() {
        let key = CacheKey(std::array::from_fn(|place| u8::try_from(place * 7).unwrap()));
        let text = key.to_string();
        assert_eq!((text.len(), CacheKey::parse(&text)), (64, Some(key)));
        assert_eq!(serde_json::from_str::<CacheKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        assert_eq!((CacheKey::parse(&text[1..]), CacheKey::parse(&text.replace('0', "é"))), (None, None));
    }
}
