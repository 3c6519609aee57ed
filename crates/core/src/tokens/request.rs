//! What of a request is text that a model reads, and what else costs tokens.
//!
//! The overhead of messages and tools is that of OpenAI's cookbook, "How to count tokens with tiktoken"
//! (<https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>, sections 6 and 7, for `gpt-4o` and
//! later). Other providers' differ by a few tokens a message; theirs is corrected by what they report.

use super::BYTES_PER_TOKEN;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Around each message.
const PER_MESSAGE: u64 = 3;
/// A message that has a name.
const PER_NAME: u64 = 1;
/// The answer is opened for the model.
const ANSWER_OPENED: u64 = 3;

/// A tool's opening, and the end of all tools.
const PER_TOOL: u64 = 7;
const TOOLS_END: u64 = 12;
/// An object with properties, and each of them.
const PROPERTIES_BEGIN: u64 = 3;
const PER_PROPERTY: u64 = 3;
/// A choice of values: each counts three, and the list itself is that much shorter than its parts.
const PER_CHOICE: u64 = 3;
const CHOICES_SAVE: u64 = 3;

/// An image in low detail; and one of 1024 by 1024, four tiles of 170 above that, where nothing smaller is asked for.
/// (OpenAI's guide to images, the counting for `gpt-4o`: what a picture's size is, only its decoder knows.)
const IMAGE_LOW: u64 = 85;
const IMAGE: u64 = IMAGE_LOW + 4 * 170;

/// Bytes of sound to a token: ten tokens a second of MP3 at 128 kbit/s. Uncompressed sound is counted threefold.
const SOUND_BYTES_PER_TOKEN: u64 = 1600;

/// Bytes of a document within the request to a token: a page of text is some 50 kB of PDF, or 800 tokens.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 64;

/// Base64 has four letters for three bytes.
const BASE64: (u64, u64) = (3, 4);

/// How deep the parts of a tool's parameters are looked into: beyond, nobody writes them by hand.
const MAX_DEPTH: usize = 16;

/// What marks a request whose bytes are not all text.
const MEDIA: [&[u8]; 3] = [b"\"image_url\"", b"\"input_audio\"", b"\"file_data\""];

/// What a request's tokens come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// Texts, each to be counted for itself.
    pub texts: Vec<Cow<'a, str>>,
    /// Tokens of all else: overhead, images, sound.
    pub fixed: u64,
}

/// The tokens of a request by its length alone, what is no text in it aside. `text_bytes` of files that it names come on
/// top. Costs one look through its bytes.
pub fn estimate(input: &[u8], text_bytes: u64) -> u64 {
    let of_files = text_bytes / BYTES_PER_TOKEN;
    let media = MEDIA.iter().any(|mark| memmem::find(input, mark).is_some());
    match if media { pieces(input) } else { None } {
        Some(pieces) => {
            let bytes: u64 = pieces.texts.iter().map(|text| text.len() as u64).sum();
            bytes / BYTES_PER_TOKEN + pieces.fixed + of_files
        }
        None => input.len() as u64 / BYTES_PER_TOKEN + of_files,
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    /// Of an embeddings request.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    input_audio: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

/// What the request's tokens come from; none where it can't be read.
pub fn pieces(input: &[u8]) -> Option<Pieces<'_>> {
    let request: Request<'_> = serde_json::from_slice(input).ok()?;
    let mut pieces = Pieces::default();
    if let Some(messages) = request.messages {
        pieces.fixed += ANSWER_OPENED;
        for message in messages {
            pieces.message(message);
        }
    }
    if let Some(texts) = request.input {
        pieces.embedded(texts);
    }
    if let Some(tools) = request.tools.and_then(|tools| serde_json::from_str::<Vec<Value>>(tools.get()).ok())
        && !tools.is_empty()
    {
        pieces.fixed += TOOLS_END;
        for tool in &tools {
            pieces.tool(tool);
        }
    }
    // The model reads the schema that it is held to.
    if let Some(format) = request.response_format.filter(|format| format.get().contains("\"json_schema\"")) {
        pieces.texts.push(Cow::Borrowed(format.get()));
    }
    Some(pieces)
}

impl<'a> Pieces<'a> {
    fn message(&mut self, raw: &'a RawValue) {
        self.fixed += PER_MESSAGE;
        let Ok(message) = serde_json::from_str::<Message<'a>>(raw.get()) else {
            return self.texts.push(Cow::Borrowed(raw.get()));
        };
        self.texts.extend(message.role);
        if let Some(name) = message.name {
            self.fixed += PER_NAME;
            self.texts.push(name);
        }
        if let Some(calls) = message.tool_calls {
            self.texts.push(Cow::Borrowed(calls.get()));
        }
        let Some(content) = message.content else { return };
        // A string without escapes lies in the request as it is.
        if let Ok(text) = serde_json::from_str::<&'a str>(content.get()) {
            self.texts.push(Cow::Borrowed(text));
        } else if let Ok(text) = serde_json::from_str::<String>(content.get()) {
            self.texts.push(Cow::Owned(text));
        } else if let Ok(parts) = serde_json::from_str::<Vec<&'a RawValue>>(content.get()) {
            for part in parts {
                self.part(part);
            }
        }
    }

    fn part(&mut self, raw: &'a RawValue) {
        let Ok(part) = serde_json::from_str::<Part<'a>>(raw.get()) else { return };
        if let Some(image) = part.image_url {
            let detail = serde_json::from_str::<Image<'_>>(image.get()).ok().and_then(|image| image.detail);
            self.fixed += if detail.as_deref() == Some("low") { IMAGE_LOW } else { IMAGE };
        }
        if let Some(sound) = part.input_audio {
            self.fixed += (sound.get().len() as u64 * BASE64.0 / BASE64.1).div_ceil(SOUND_BYTES_PER_TOKEN);
        }
        if let Some(file) = part.file {
            self.fixed += (file.get().len() as u64 * BASE64.0 / BASE64.1).div_ceil(DOCUMENT_BYTES_PER_TOKEN);
        }
        self.texts.extend(part.text);
    }

    /// One text, several, or tokens that are counted already.
    fn embedded(&mut self, raw: &'a RawValue) {
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            self.texts.push(text.into());
        } else if let Ok(texts) = serde_json::from_str::<Vec<String>>(raw.get()) {
            self.texts.extend(texts.into_iter().map(Cow::Owned));
        } else if raw.get().starts_with('[') {
            self.fixed += raw.get().bytes().filter(|byte| *byte == b',').count() as u64 + 1;
        }
    }

    fn tool(&mut self, tool: &Value) {
        self.fixed += PER_TOOL;
        let function = tool.get("function").unwrap_or(tool);
        let line = [text(function, "name"), ":", text(function, "description").trim_end_matches('.')].concat();
        self.texts.push(line.into());
        if let Some(parameters) = function.get("parameters") {
            self.properties(parameters, MAX_DEPTH);
        }
    }

    fn properties(&mut self, schema: &Value, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| depth > 0) else {
            return;
        };
        if properties.is_empty() {
            return;
        }
        self.fixed += PROPERTIES_BEGIN;
        for (name, property) in properties {
            self.fixed += PER_PROPERTY;
            if let Some(choices) = property.get("enum").and_then(Value::as_array).filter(|all| !all.is_empty()) {
                self.fixed += choices.len() as u64 * PER_CHOICE - CHOICES_SAVE;
                self.texts.extend(choices.iter().filter_map(Value::as_str).map(|choice| choice.to_owned().into()));
            }
            let description = text(property, "description").trim_end_matches('.');
            self.texts.push([name, ":", text(property, "type"), ":", description].concat().into());
            self.properties(property, depth - 1);
            if let Some(items) = property.get("items") {
                self.properties(items, depth - 1);
            }
        }
    }
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &'static str) -> (Vec<Cow<'static, str>>, u64) {
        let pieces = pieces(input.as_bytes()).unwrap();
        (pieces.texts, pieces.fixed)
    }

    #[test]
    fn messages_have_their_texts_and_their_overhead() {
        let (texts, fixed) = texts(
            r#"{"messages":[{"role":"system","name":"a","content":"Be\nbrief"},{"role":"user","content":[
            {"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:…","detail":"low"}}]}]}"#,
        );
        assert_eq!(texts, ["system", "a", "Be\nbrief", "user", "What is this?"]);
        assert_eq!(fixed, 3 + 3 + 1 + 3 + 85);
    }

    #[test]
    fn tools_count_with_their_properties() {
        let (texts, fixed) = texts(
            r#"{"messages":[],"tools":[{"type":"function","function":{"name":"get","description":"Gets.",
            "parameters":{"type":"object","properties":{"unit":{"type":"string","description":"Which.",
            "enum":["c","f"]}}}}}]}"#,
        );
        assert_eq!(texts, ["get:Gets", "c", "f", "unit:string:Which"]);
        assert_eq!(fixed, 3 + 12 + 7 + 3 + 3 + 3);
    }

    #[test]
    fn a_picture_within_the_request_is_not_counted_as_text() {
        let picture = "A".repeat(1_000_000);
        let input = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{picture}"}}}}]}}]}}"#
        );
        assert_eq!(estimate(input.as_bytes(), 0), 1 + 3 + 3 + 765);
        assert_eq!(estimate(br#"{"messages":[]}"#, 4000), 3 + 1000, "texts of files come on top");
    }

    #[test]
    fn an_embedding_has_texts_or_tokens() {
        assert_eq!(texts(r#"{"input":"one"}"#).0, ["one"]);
        assert_eq!(texts(r#"{"input":["one","two"]}"#).0, ["one", "two"]);
        assert_eq!(texts(r#"{"input":[1,2,3]}"#).1, 3);
    }

    #[test]
    fn what_cannot_be_read_is_estimated_by_its_bytes() {
        assert!(pieces(b"[").is_none());
        assert_eq!(estimate(&[b'x'; 400], 0), 100);
        // Escaped quotes at the ends are text.
        assert_eq!(texts(r#"{"messages":[{"content":"\"a\""}]}"#).0, ["\"a\""]);
    }
}
