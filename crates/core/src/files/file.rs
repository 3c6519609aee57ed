//! What is known of a file.

use crate::id::{Durability, LogId, LogRef, ParseIdError, TenantId};
use crate::port::{Clock, Record, Unavailable};
use crate::time::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How every file's name begins; OpenAI's clients expect it.
const PREFIX: &str = "file-";
/// How a log's name begins, whose letters a file's name shares.
const LOG_PREFIX: &str = "log_";

/// What OpenAI's clients may upload a file for.
pub const PURPOSES: &[&str] = &["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

/// Whether messages may name a file of this purpose. The others are lists of requests and examples for programs.
pub fn takes_text(purpose: &str) -> bool {
    !matches!(purpose, "batch" | "batch_output" | "fine-tune" | "evals")
}

/// A file's name. It shares its letters with the log that holds the bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(LogId);

impl FileId {
    /// A fresh name.
    pub fn new(clock: &dyn Clock) -> Self {
        Self(fresh_log(clock))
    }

    /// The log that holds the bytes.
    pub fn log(self, tenant: TenantId) -> LogRef {
        LogRef { tenant, log: self.0 }
    }
}

/// A fresh name of a log.
pub(super) fn fresh_log(clock: &dyn Clock) -> LogId {
    let random = (u128::from(clock.random()) << 64) | u128::from(clock.random());
    LogId::shared(clock.now(), random, Durability::Durable)
}

/// Whether a record of this name is a file's.
pub(super) fn is_file_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(self.0.to_string().trim_start_matches(LOG_PREFIX))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let letters = text.strip_prefix(PREFIX).unwrap_or_default();
        format!("{LOG_PREFIX}{letters}").parse().map(Self)
    }
}

impl Serialize for FileId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a file's text can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its bytes are whole; its text is not there yet.
    Uploaded,
    /// Its text is there, where its purpose asks for one.
    Processed,
    /// It has no text for a model, and `details` says why.
    Error,
}

impl Status {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Processed => "processed",
            Self::Error => "error",
        }
    }
}

/// A file's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub id: FileId,
    /// As its sender called it.
    pub filename: String,
    /// What it is for: one of [`PURPOSES`].
    pub purpose: String,
    /// The type that its sender declared.
    pub media: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// When it was whole.
    pub created_at: Timestamp,
    /// When it goes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether its text can be had.
    pub status: Status,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// How often somebody began to take its text.
    #[serde(default)]
    pub readings: u32,
    /// The log that holds the text, or will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<LogId>,
    /// Bytes of the text, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
}

impl File {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|moment| moment <= now)
    }

    /// Its logs: the bytes, and the text where there is one.
    pub fn logs(&self) -> Vec<LogId> {
        [Some(self.id.0), self.text].into_iter().flatten().collect()
    }

    pub(super) fn from_record(record: &Record) -> Result<Self, Unavailable> {
        serde_json::from_slice(&record.value)
            .map_err(|error| Unavailable::new(format!("a file's record can't be read: {error}")))
    }

    pub(super) fn to_record(&self) -> Bytes {
        // Strings and numbers only: it can't fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_that_of_its_log() {
        let log = LogId::shared(Timestamp::from_millis(1_763_830_000_123), 42, Durability::Durable);
        let id = FileId(log);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().strip_prefix("file-"), log.to_string().strip_prefix("log_"));
        for wrong in ["", "file-", "log_01k", "file-x", &log.to_string()] {
            assert!(wrong.parse::<FileId>().is_err(), "{wrong}");
        }
    }
}
