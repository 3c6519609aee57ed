//! Finds the parts of messages that name files, and leaves every other byte of the request as it is.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// What every part that names a file has in it.
const MARK: &[u8] = b"\"file_id\"";

/// A part that names a file: `{"type": "file", "file": {"file_id": "file-…"}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The file, as it was named.
    pub(super) id: String,
    /// Where the whole part stands in the request.
    pub(super) place: Range<usize>,
}

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow, default)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FilePart<'a> {
    #[serde(borrow)]
    file_id: Option<Cow<'a, str>>,
}

/// The parts that name files, in their order. A request without any costs one search through its bytes.
pub(super) fn named(input: &[u8]) -> Result<Vec<Named>, serde_json::Error> {
    if memchr::memmem::find(input, MARK).is_none() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let chat: Chat<'_> = serde_json::from_slice(input)?;
    for message in chat.messages {
        // Text, null, or something that only the backend understands.
        let Ok(Message { content: Some(content) }) = serde_json::from_str(message.get()) else { continue };
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(content.get()) else { continue };
        for raw in parts {
            let Ok(Part { kind: Some(kind), file: Some(file) }) = serde_json::from_str(raw.get()) else { continue };
            if kind != "file" {
                continue;
            }
            let file: FilePart<'_> = serde_json::from_str(file.get())?;
            if let Some(id) = file.file_id {
                // The raw value is a piece of the input, so that where it lies says where it stands.
                let start = raw.get().as_ptr().addr() - input.as_ptr().addr();
                found.push(Named { id: id.into_owned(), place: start..start + raw.get().len() });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(input: &str) -> Vec<String> {
        let found = named(input.as_bytes()).unwrap();
        for name in &found {
            let part: serde_json::Value = serde_json::from_str(&input[name.place.clone()]).unwrap();
            assert_eq!(part["file"]["file_id"], name.id);
        }
        found.into_iter().map(|name| name.id).collect()
    }

    #[test]
    fn parts_that_name_files_are_found_where_they_stand() {
        let input = r#"{"model":"x", "messages":[ {"role":"user","content":"\"file_id\""},
            {"role":"user","content":[{"type":"text","text":"{\"type\":\"file\"}"},
            {"type":"file", "file": {"file_id":"file-a","more":1}} ,{"type":"file","file":{"file_id":"file-b"}}]}]}"#;
        assert_eq!(ids(input), ["file-a", "file-b"]);
    }

    #[test]
    fn what_names_no_file_is_left_alone() {
        for input in [
            r#"{"messages":[{"role":"user","content":"no mark"}]}"#,
            r#"{"messages":[{"content":[{"type":"file","file":{"file_data":"…"}}]}],"x":"\"file_id\""}"#,
            r#"{"messages":[{"content":[{"type":"image_url","file_id":"a"}]},{"content":null},7]}"#,
            r#"{"tools":[{"file_id":"x"}]}"#,
        ] {
            assert!(ids(input).is_empty(), "{input}");
        }
        assert!(named(br#"{"messages":"file_id","file_id"}"#).is_err());
    }
}
