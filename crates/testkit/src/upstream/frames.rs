//! The bytes of an answer, made once for all calls that get the same one.

use super::dialects;
use super::request::{Asked, Path};
use super::script::{Reported, Script, text, token};
use bytes::Bytes;
use serde_json::{Value, json};
use std::fmt::Write;

/// When all of this server's answers were made.
const CREATED: u64 = 1_700_000_000;

/// What makes one answer differ from another of the same script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    path: Path,
    pub(super) model: String,
    stream: bool,
    include_usage: bool,
    choices: u32,
    /// The first token, where an answer is gone on with.
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Key {
    pub(super) fn new(script: &Script, path: Path, asked: &Asked<'_>) -> Self {
        let from = asked.begun().filter(|_| script.continues).map_or(0, |begun| tokens_in(script, &begun));
        Self {
            path,
            model: asked.model.clone().into_owned(),
            stream: script.streams && (asked.stream() || path == Path::Generate),
            include_usage: asked.include_usage(),
            choices: asked.choices(),
            from,
            to: from.saturating_add(asked.max_tokens()).min(script.tokens),
        }
    }

    /// How many tokens a whole answer has, over all its choices.
    fn tokens(&self) -> u32 {
        (self.to - self.from) * self.choices
    }
}

/// How many whole tokens of the script this is the beginning of; 0 where it is none.
fn tokens_in(script: &Script, begun: &str) -> u32 {
    let mut left = begun;
    for number in 0..script.tokens {
        if left.is_empty() {
            return number;
        }
        let word = token(number);
        match left.strip_prefix(word.as_str()) {
            Some(rest) => left = rest,
            // Some servers take the space at the end away.
            None if left == word.trim_end() => return number + 1,
            None => return 0,
        }
    }
    if left.is_empty() { script.tokens } else { 0 }
}

/// An answer. A stream's frames are whole HTTP chunks.
#[derive(Debug)]
pub(super) struct Answer {
    /// The head, and in a stream the frame that says who speaks.
    pub(super) opening: Bytes,
    /// A stream's tokens; empty in a document.
    pub(super) tokens: Vec<Bytes>,
    /// What says why a stream ends; empty in a document.
    pub(super) reason: Bytes,
    /// What comes after it: the usage, the end of the body. In a document all of its body.
    pub(super) ending: Bytes,
    /// The whole of it, for a script without pauses and faults.
    pub(super) whole: Bytes,
    /// How many tokens it has.
    pub(super) count: u32,
}

/// The frames of an answer, in the order in which they go out.
pub(super) struct Frames {
    pub(super) opening: Bytes,
    pub(super) tokens: Vec<Bytes>,
    pub(super) reason: Bytes,
    pub(super) ending: Bytes,
}

impl Answer {
    pub(super) fn make(script: &Script, key: &Key) -> Self {
        let Frames { opening, tokens, reason, ending } = match key.path {
            Path::Messages => dialects::messages(script, key),
            Path::Generate => dialects::pieces(script, key),
            _ if key.stream => stream(script, key),
            _ => document(script, key),
        };
        let whole = [&opening[..], &tokens.concat(), &reason, &ending].concat().into();
        Self { opening, tokens, reason, ending, whole, count: key.tokens() }
    }
}

fn stream(script: &Script, key: &Key) -> Frames {
    let mut opening = head(script, 200, "text/event-stream; charset=utf-8", None).into_bytes();
    for choice in 0..key.choices {
        let delta = json!({"role": "assistant", "content": ""});
        opening.extend_from_slice(&event(&chunk(key, choice, &delta, None)));
    }
    let one = |number, choice| event(&chunk(key, choice, &json!({"content": token(number)}), None));
    let tokens = (key.from..key.to).flat_map(|number| (0..key.choices).map(move |choice| one(number, choice)));
    let tokens = tokens.map(Bytes::from).collect();
    let stop = if key.to < script.tokens { "length" } else { "stop" };
    let mut reason = Vec::new();
    for choice in 0..key.choices {
        reason.extend_from_slice(&event(&chunk(key, choice, &json!({}), Some(stop))));
    }
    let mut ending = Vec::new();
    if let Some(usage) = openai_usage(script, key).filter(|_| key.include_usage) {
        let mut last = chunk(key, 0, &json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = usage;
        ending.extend_from_slice(&event(&last));
    }
    ending.extend_from_slice(&end());
    Frames { opening: opening.into(), tokens, reason: reason.into(), ending: ending.into() }
}

fn document(script: &Script, key: &Key) -> Frames {
    let reason = if key.to < script.tokens { "length" } else { "stop" };
    let message = json!({"role": "assistant", "content": text(key.from, key.to), "refusal": null});
    let choice = |index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": reason});
    let mut body = json!({
        "id": "chatcmpl-scripted", "object": "chat.completion", "created": CREATED, "model": key.model,
        "choices": (0..key.choices).map(choice).collect::<Vec<_>>(),
    });
    if let Some(usage) = openai_usage(script, key) {
        body["usage"] = usage;
    }
    let body = body.to_string();
    let head = head(script, 200, "application/json", Some(body.len()));
    Frames { opening: head.into(), tokens: Vec::new(), reason: Bytes::new(), ending: body.into() }
}

/// Tokens of the prompt and of the answer, as the script tells of them.
pub(super) fn usage(script: &Script, key: &Key) -> Option<(u64, u64)> {
    match script.usage {
        Reported::Truth => Some((script.input_tokens, key.tokens().into())),
        Reported::Nothing => None,
        Reported::Wrong { input, output } => Some((input, output)),
    }
}

fn openai_usage(script: &Script, key: &Key) -> Option<Value> {
    let (input, output) = usage(script, key)?;
    Some(json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": script.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
    }))
}

/// A streamed chunk in OpenAI's form.
fn chunk(key: &Key, choice: u32, delta: &Value, reason: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": CREATED, "model": key.model,
        "choices": [{"index": choice, "delta": delta, "logprobs": null, "finish_reason": reason}],
    })
}

/// One server-sent event as one HTTP chunk.
pub(super) fn event(data: &Value) -> Vec<u8> {
    http_chunk(&format!("data: {data}\n\n"))
}

/// The same with the event's name before it.
pub(super) fn named_event(name: &str, data: &Value) -> Vec<u8> {
    http_chunk(&format!("event: {name}\ndata: {data}\n\n"))
}

fn http_chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// The end of a stream that ends in order, as OpenAI writes it.
pub(super) fn end() -> Vec<u8> {
    [&http_chunk("data: [DONE]\n\n")[..], &closing()].concat()
}

/// The end of a body.
pub(super) fn closing() -> Vec<u8> {
    b"0\r\n\r\n".to_vec()
}

/// A chunk that is no JSON.
pub(super) fn malformed() -> Vec<u8> {
    http_chunk("data: {\"choices\":[{\"delta\":{\"cont\n\n")
}

/// The body of an error in the middle of an answer.
pub(super) fn error_body() -> Value {
    let message = "The scripted upstream broke.";
    json!({"error": {"message": message, "type": "server_error", "param": null, "code": "server_error"}})
}

/// An error in the place of a chunk, and the end.
pub(super) fn error_event(path: Path) -> Vec<u8> {
    [dialects::error(path), closing()].concat()
}

/// The end of a body whose answer is not whole.
pub(super) fn early_end(path: Path) -> Vec<u8> {
    if path == Path::Chat { end() } else { closing() }
}

/// An answer that is one document.
pub(super) fn whole(script: &Script, status: u16, more_headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let mut head = head(script, status, "application/json", Some(body.len()));
    head.insert_str(head.len() - 2, more_headers);
    [head.as_bytes(), body.as_bytes()].concat()
}

pub(super) fn head(script: &Script, status: u16, content_type: &str, length: Option<usize>) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", reason(status));
    // Writing to a string can't fail.
    let _ = match length {
        Some(length) => write!(head, "content-length: {length}\r\n"),
        None => write!(head, "transfer-encoding: chunked\r\n"),
    };
    for (name, value) in &script.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head + "\r\n"
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "As Scripted",
    }
}
