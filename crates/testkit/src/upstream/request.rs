//! A request as it comes in: HTTP/1.1 with a content-length, and the few fields of its body that matter here.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longer heads are no requests of ours.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What is asked for, by the end of the path: a base URL may put anything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// `/chat/completions`.
    Chat,
    /// `/messages`: Anthropic's.
    Messages,
    /// `/models/NAME:streamGenerateContent`: Gemini's.
    Generate,
    /// `/embeddings`.
    Embeddings,
    /// `/models`.
    Models,
    /// Anything else: 404.
    Other,
}

pub(super) struct Request {
    pub(super) path: Path,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// Reads the next request; `None` when the client has gone.
pub(super) async fn read(socket: &mut TcpStream, buffer: &mut BytesMut) -> Option<Request> {
    loop {
        if let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            let length = content_length(&buffer[..end]);
            let whole = end + 4 + length;
            while buffer.len() < whole {
                if socket.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let mut request = buffer.split_to(whole).freeze();
            let body = request.split_off(end + 4);
            return Some(Request { path: path(&request), head: request, body });
        }
        if buffer.len() > MAX_HEAD_BYTES || socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    line.and_then(|line| std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()).unwrap_or(0)
}

fn path(head: &[u8]) -> Path {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.ends_with(b"/chat/completions") {
        Path::Chat
    } else if path.ends_with(b"/messages") {
        Path::Messages
    } else if path.ends_with(b":streamGenerateContent") {
        Path::Generate
    } else if path.ends_with(b"/embeddings") {
        Path::Embeddings
    } else if path.ends_with(b"/models") {
        Path::Models
    } else {
        Path::Other
    }
}

/// The model that a path names, where it names one.
pub(super) fn model_of(head: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(head).ok()?.split(' ').nth(1)?;
    let (_, named) = target.split_once("/models/")?;
    Some(named.split_once(':')?.0.to_owned())
}

/// The fields of a body that decide about the answer.
#[derive(Default, Deserialize)]
pub(super) struct Asked<'a> {
    #[serde(borrow, default)]
    pub(super) model: Cow<'a, str>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) encoding_format: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: serde_json::Value,
}

impl Message {
    /// Its text, in one piece or in parts.
    fn text(&self) -> String {
        match &self.content {
            serde_json::Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            whole => whole.as_str().unwrap_or_default().to_owned(),
        }
    }
}

impl<'a> Asked<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(super) fn stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(super) fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    pub(super) fn max_tokens(&self) -> u32 {
        self.max_completion_tokens.or(self.max_tokens).unwrap_or(u32::MAX)
    }

    pub(super) fn choices(&self) -> u32 {
        self.n.unwrap_or(1).max(1)
    }

    /// The text of the last message, where it is the assistant's: an answer that is to be gone on with.
    pub(super) fn begun(&self) -> Option<String> {
        let messages = self.messages?.get();
        // Nearly no request has one, and looking for it costs less than parsing all of them.
        if !messages.contains("assistant") {
            return None;
        }
        let last = serde_json::from_str::<Vec<Message>>(messages).ok()?.pop()?;
        (last.role == "assistant").then(|| last.text())
    }
}
