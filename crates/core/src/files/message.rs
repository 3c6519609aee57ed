//! Messages that name files: found, checked, and given their text.

use super::named::{Named, named};
use super::{File, FileId, Files, Status, takes_text};
use crate::id::TenantId;
use crate::port::{ReadError, Unavailable};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many files one task may name: more than a model can tell apart.
const MAX_NAMED: usize = 100;

/// Why the files that a task names can't be given to a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The messages can't be read.
    #[error("{0}")]
    Invalid(String),
    /// There is no such file.
    #[error("there is no file `{0}`: it never was, was deleted, or has expired")]
    Unknown(String),
    /// The file has no text for a model.
    #[error("the file `{id}` ({filename}) can't be read: {reason}")]
    NotReadable {
        /// Which.
        id: FileId,
        /// How its sender called it.
        filename: String,
        /// Why.
        reason: String,
    },
    /// The file's text was not there in time.
    #[error("the text of the file `{id}` is not there yet; try again once its status is `processed`")]
    NotProcessed {
        /// Which.
        id: FileId,
    },
    /// The texts are too long.
    #[error("the files amount to {bytes} bytes of text, and {bound} are allowed (`limits.file_text_bytes`)")]
    TooLong {
        /// Of all files that the task names.
        bytes: u64,
        /// How many there may be.
        bound: u64,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl MessageError {
    /// The stable code of PROTOCOL.md.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Unknown(_) => "unknown_file",
            Self::NotReadable { .. } => "file_not_readable",
            Self::NotProcessed { .. } => "file_not_processed",
            Self::TooLong { .. } => "file_text_too_long",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl Files {
    /// Whether a task may name the files that it names, and the bytes of their texts as far as they are known. A file
    /// whose text is still being taken may be named.
    pub async fn check(&self, tenant: TenantId, input: &[u8]) -> Result<u64, MessageError> {
        let named = distinct(&found(input)?)?;
        let mut bytes = 0;
        for id in named.into_keys() {
            let (file, _) = self.get(tenant, id).await?.ok_or_else(|| MessageError::Unknown(id.to_string()))?;
            bytes += readable(&file)?;
        }
        self.bounded(bytes)?;
        Ok(bytes)
    }

    /// The input with each file's text in the place of its name. Waits so long for texts that are not there yet.
    pub async fn with_texts(&self, tenant: TenantId, input: &Bytes, wait: Duration) -> Result<Bytes, MessageError> {
        let found = found(input)?;
        let mut parts = distinct(&found)?;
        if parts.is_empty() {
            return Ok(input.clone());
        }
        let until = self.clock.monotonic() + wait;
        let mut bytes = 0;
        for (id, part) in &mut parts {
            let left = until.saturating_sub(self.clock.monotonic());
            let gone = || MessageError::Unknown(id.to_string());
            let file = self.settled(tenant, *id, left).await?.ok_or_else(gone)?;
            bytes += readable(&file)?;
            self.bounded(bytes)?;
            let text = self.text(tenant, &file).await.map_err(|error| match error {
                ReadError::Unknown => gone(),
                ReadError::Unavailable(error) => MessageError::Unavailable(error),
                error => not_readable(&file, &error.to_string()),
            })?;
            *part = text_part(&file, &text.ok_or(MessageError::NotProcessed { id: *id })?);
        }
        let mut output = Vec::with_capacity(input.len() + parts.values().map(String::len).sum::<usize>());
        let mut from = 0;
        for name in &found {
            output.extend_from_slice(&input[from..name.place.start]);
            output.extend_from_slice(
                name.id.parse().ok().and_then(|id| parts.get(&id)).map_or("", String::as_str).as_bytes(),
            );
            from = name.place.end;
        }
        output.extend_from_slice(&input[from..]);
        Ok(output.into())
    }

    fn bounded(&self, bytes: u64) -> Result<(), MessageError> {
        let bound = self.bounds().text_bytes;
        if bytes > bound { Err(MessageError::TooLong { bytes, bound }) } else { Ok(()) }
    }
}

fn found(input: &[u8]) -> Result<Vec<Named>, MessageError> {
    named(input).map_err(|error| MessageError::Invalid(format!("the messages that name files can't be read: {error}")))
}

/// Each file once, with room for the part that takes its place.
fn distinct(found: &[Named]) -> Result<BTreeMap<FileId, String>, MessageError> {
    let mut parts = BTreeMap::new();
    for name in found {
        let id: FileId = name.id.parse().map_err(|_| MessageError::Unknown(name.id.clone()))?;
        parts.insert(id, String::new());
    }
    if parts.len() > MAX_NAMED {
        return Err(MessageError::Invalid(format!("a task may name {MAX_NAMED} files")));
    }
    Ok(parts)
}

/// The bytes of the file's text, as far as they are known; an error where it has none.
fn readable(file: &File) -> Result<u64, MessageError> {
    if !takes_text(&file.purpose) {
        let reason = format!("it was uploaded for `{}`; upload it for `user_data`", file.purpose);
        return Err(not_readable(file, &reason));
    }
    match file.status {
        Status::Error => Err(not_readable(file, file.details.as_deref().unwrap_or("its text could not be taken"))),
        Status::Uploaded | Status::Processed => Ok(file.text_bytes.unwrap_or(0)),
    }
}

fn not_readable(file: &File, reason: &str) -> MessageError {
    MessageError::NotReadable { id: file.id, filename: file.filename.clone(), reason: reason.to_owned() }
}

/// What the model gets: a line that names the file, and its text.
fn text_part(file: &File, text: &str) -> String {
    let text = format!("File {:?}:\n{text}", file.filename);
    serde_json::json!({ "type": "text", "text": text }).to_string()
}
