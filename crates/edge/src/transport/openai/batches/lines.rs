//! The lines of a batch's file: read, checked by their numbers, and admitted as tasks.

use super::{WINDOW_MS, invalid};
use crate::Edge;
use crate::admission::{Chat, admit_chat};
use crate::identity::Caller;
use crate::quote::Admitted;
use crate::refusal::Refusal;
use crate::transport::body;
use crate::transport::openai::responses;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::HashSet;
use tidewire_core::embeddings::wanted;
use tidewire_proto::{Code, Submission};

/// The longest name of a line: it stands in its task's metadata.
const MAX_CUSTOM_ID_BYTES: usize = 512;

/// How many errors a batch tells of: they fit its record, and whoever mends a file mends it with fewer.
pub(super) const MAX_ERRORS: usize = 64;
/// Of one error's message.
const MAX_MESSAGE_CHARS: usize = 300;

/// Which path the lines ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Endpoint {
    Chat,
    Embeddings,
    Responses,
}

impl Endpoint {
    const ALL: [Self; 3] = [Self::Chat, Self::Embeddings, Self::Responses];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
        }
    }

    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let found = Self::ALL.into_iter().find(|endpoint| endpoint.path() == path);
        found.ok_or_else(|| {
            invalid(format!("`endpoint` is one of {}, not `{path}`", Self::ALL.map(Self::path).join(", ")))
        })
    }
}

/// What is wrong with a line, or with the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LineError {
    code: String,
    message: String,
    param: Option<String>,
    line: Option<u64>,
}

impl LineError {
    pub(super) fn new(code: &str, message: &str, line: Option<u64>) -> Self {
        let message = message.chars().take(MAX_MESSAGE_CHARS).collect();
        Self { code: code.to_owned(), message, param: None, line }
    }
}

/// A line.
pub(super) struct Line {
    /// Counts from 1.
    pub(super) number: u64,
    custom_id: String,
    url: String,
    body: Bytes,
}

#[derive(Deserialize)]
struct Fields<'a> {
    custom_id: String,
    method: String,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The lines of a file; empty ones are passed over.
pub(super) fn read(content: &[u8]) -> Result<Vec<Line>, Vec<LineError>> {
    let (mut lines, mut errors, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, text) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        if errors.len() == MAX_ERRORS {
            break;
        }
        match line(number, text) {
            Ok(line) if !known.insert(line.custom_id.clone()) => {
                let message = format!("the `custom_id` `{}` is another line's too", line.custom_id);
                errors.push(LineError::new("duplicate_custom_id", &message, Some(number)));
            }
            Ok(line) => lines.push(line),
            Err(error) => errors.push(error),
        }
    }
    let most = crate::batch::MAX_TASKS;
    if errors.is_empty() && !(1..=most).contains(&lines.len()) {
        let message = format!("a batch has 1 to {most} lines, not {}", lines.len());
        errors.push(LineError::new(Code::InvalidRequest.as_str(), &message, None));
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

fn line(number: u64, text: &[u8]) -> Result<Line, LineError> {
    let wrong = |code: Code, message: &str| Err(LineError::new(code.as_str(), message, Some(number)));
    let Fields { custom_id, method, url, body } = match serde_json::from_slice(text) {
        Ok(fields) => fields,
        Err(error) => return wrong(Code::InvalidJson, &format!("the line can't be read: {error}")),
    };
    if method != "POST" {
        return wrong(Code::InvalidRequest, "`method` is `POST`");
    }
    if !(1..=MAX_CUSTOM_ID_BYTES).contains(&custom_id.len()) {
        return wrong(Code::InvalidRequest, &format!("`custom_id` has 1 to {MAX_CUSTOM_ID_BYTES} bytes"));
    }
    Ok(Line { number, custom_id, url, body: Bytes::copy_from_slice(body.get().as_bytes()) })
}

/// A line as a task.
pub(super) async fn admit(
    edge: &Edge,
    caller: &Caller,
    (endpoint, cache): (Endpoint, Option<&str>),
    line: &Line,
) -> Result<Admitted, Refusal> {
    if line.url != endpoint.path() {
        return Err(invalid(format!("`url` is the batch's endpoint, `{}`", endpoint.path())));
    }
    if line.body.len() > edge.limits.body_bytes {
        return Err(body::too_large(edge.limits.body_bytes));
    }
    let submission = Submission {
        priority: Some("bulk".to_owned()),
        deadline_ms: Some(WINDOW_MS),
        metadata: to_raw_value(&json!({ "custom_id": line.custom_id })).ok(),
        cache: cache.map(str::to_owned),
        ..Submission::default()
    };
    let read = |bytes: &Bytes| Chat::read(bytes).map(drop).map_err(|error| body::refused(bytes, &error));
    read(&line.body)?;
    match endpoint {
        Endpoint::Responses => {
            let (input, face) = responses::in_batch(edge, caller, &line.body).await?;
            let chat = Chat::read(&input).map_err(|error| body::refused(&input, &error))?;
            admit_chat(edge, caller, Submission { face: Some(face), ..submission }, input.clone(), &chat).await
        }
        Endpoint::Chat => {
            let chat = Chat::read(&line.body).map_err(|error| body::refused(&line.body, &error))?;
            chat.check()?;
            if chat.streams()? {
                return Err(invalid("nobody reads along: leave `stream` out"));
            }
            chat.choices(1)?;
            admit_chat(edge, caller, submission, line.body.clone(), &chat).await
        }
        Endpoint::Embeddings => {
            let chat = Chat::read(&line.body).map_err(|error| body::refused(&line.body, &error))?.wordless();
            wanted(&line.body).map_err(invalid)?;
            admit_chat(edge, caller, submission, line.body.clone(), &chat).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        let file = br#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}

{"custom_id":"b","method":"GET","url":"/v1/embeddings","body":{}}
not json
{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}"#;
        let errors = read(file).err().unwrap();
        let told: Vec<_> = errors.iter().map(|error| (error.line, error.code.as_str())).collect();
        assert_eq!(told, [(Some(3), "invalid_request"), (Some(4), "invalid_json"), (Some(5), "duplicate_custom_id")]);
        assert_eq!(read(b"\n \n").err().unwrap()[0].line, None);
    }
}
