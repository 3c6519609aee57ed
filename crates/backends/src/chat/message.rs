//! Messages, their parts and their tool calls.

use crate::json::{self, Fields};
use crate::upstream::invalid;
use std::borrow::Cow;
use tidewire_core::port::BackendError;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `developer` is its newer name.
    System,
    User,
    Assistant,
    Tool,
}

/// One message.
pub(crate) struct Message<'a> {
    pub(crate) role: Role,
    pub(crate) fields: Fields<'a>,
}

/// A piece of a message.
pub(crate) enum Part<'a> {
    /// A string, as JSON; and the whole part, where it is one.
    Text {
        text: &'a str,
        whole: Option<&'a str>,
    },
    Media(Media<'a>),
    /// What OpenAI does not have: of the upstream's own form.
    Other(&'a str),
}

/// An image, a sound or a file.
pub(crate) struct Media<'a> {
    pub(crate) source: Source<'a>,
    /// The file's name, as JSON.
    pub(crate) name: Option<&'a str>,
    /// The part's own fields.
    pub(crate) part: Fields<'a>,
}

/// Where its bytes are.
pub(crate) enum Source<'a> {
    /// Here: its type, and base64.
    Here { kind: Cow<'a, str>, data: Cow<'a, str> },
    /// There.
    Url(Cow<'a, str>),
}

/// A tool call in a message of the assistant.
pub(crate) struct ToolCall<'a> {
    pub(crate) id: Cow<'a, str>,
    /// As JSON.
    pub(crate) name: &'a str,
    /// A JSON object.
    pub(crate) arguments: Cow<'a, str>,
    pub(crate) fields: Fields<'a>,
}

pub(super) fn all<'a>(fields: &Fields<'a>) -> Result<Vec<Message<'a>>, BackendError> {
    let messages = fields.get("messages").and_then(json::array);
    let messages = messages.ok_or_else(|| invalid("the request has no messages"))?;
    messages.into_iter().map(Message::read).collect()
}

impl<'a> Message<'a> {
    fn read(json: &'a str) -> Result<Self, BackendError> {
        let fields = Fields::of(json).ok_or_else(|| invalid("a message is no object"))?;
        let role = match fields.text("role").as_deref() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("tool") => Role::Tool,
            other => return Err(invalid(format!("a message has the role {other:?}, which this API does not have"))),
        };
        Ok(Self { role, fields })
    }

    /// What it says, in pieces. Empty texts are left out: other APIs refuse them.
    pub(crate) fn parts(&self) -> Result<Vec<Part<'a>>, BackendError> {
        let Some(content) = self.fields.get("content") else { return Ok(Vec::new()) };
        if content.starts_with('"') {
            return Ok(if content == "\"\"" { Vec::new() } else { vec![Part::Text { text: content, whole: None }] });
        }
        let parts = json::array(content).ok_or_else(|| invalid("a message's content is neither text nor parts"))?;
        let mut read = Vec::with_capacity(parts.len());
        for part in parts {
            match Part::read(part)? {
                Part::Text { text: "\"\"", .. } => {}
                part => read.push(part),
            }
        }
        Ok(read)
    }

    pub(crate) fn tool_calls(&self) -> Result<Vec<ToolCall<'a>>, BackendError> {
        let calls = self.fields.get("tool_calls").and_then(json::array).unwrap_or_default();
        calls.into_iter().map(ToolCall::read).collect()
    }

    /// Which call it answers.
    pub(crate) fn tool_call_id(&self) -> Result<Cow<'a, str>, BackendError> {
        self.fields.text("tool_call_id").ok_or_else(|| invalid("a message of a tool has no tool_call_id"))
    }
}

impl<'a> ToolCall<'a> {
    fn read(json: &'a str) -> Result<Self, BackendError> {
        let wrong = || invalid("a tool call is not an object with id, function.name and function.arguments");
        let fields = Fields::of(json).ok_or_else(wrong)?;
        let function = fields.object("function").ok_or_else(wrong)?;
        let name = function.get("name").ok_or_else(wrong)?;
        let arguments = function.text("arguments").unwrap_or_default();
        let arguments = if arguments.trim().is_empty() { Cow::Borrowed("{}") } else { arguments };
        if Fields::of(&arguments).is_none() {
            return Err(invalid("a tool call's arguments are no JSON object, which this API wants"));
        }
        Ok(Self { id: fields.text("id").ok_or_else(wrong)?, name, arguments, fields })
    }
}

impl<'a> Part<'a> {
    fn read(json: &'a str) -> Result<Self, BackendError> {
        let part = Fields::of(json).ok_or_else(|| invalid("a part of a message is no object"))?;
        let kind = part.text("type");
        let wrong = || invalid(format!("a part of the type {:?} is not complete", kind.as_deref().unwrap_or_default()));
        let source = |source, name| Ok(Self::Media(Media { source, name, part: part.clone() }));
        match kind.as_deref() {
            Some("text") => Ok(Self::Text { text: part.get("text").ok_or_else(wrong)?, whole: Some(json) }),
            Some("refusal") => Ok(Self::Text { text: part.get("refusal").ok_or_else(wrong)?, whole: None }),
            Some("image_url") => {
                let url = part.object("image_url").and_then(|image| image.text("url"));
                source(Source::of(url.ok_or_else(wrong)?)?, None)
            }
            Some("input_audio") => {
                let audio = part.object("input_audio").ok_or_else(wrong)?;
                let data = audio.text("data").ok_or_else(wrong)?;
                let kind = format!("audio/{}", audio.text("format").ok_or_else(wrong)?).into();
                source(Source::Here { kind, data }, None)
            }
            Some("file") => {
                let file = part.object("file").ok_or_else(wrong)?;
                let data = file.text("file_data").or_else(|| file.text("file_url"));
                let data = data.ok_or_else(|| invalid("a file by its id lies where another API can't read it"))?;
                source(Source::of(data)?, file.get("filename"))
            }
            _ => Ok(Self::Other(json)),
        }
    }
}

impl<'a> Source<'a> {
    /// A `data:` URL has the bytes in it.
    fn of(url: Cow<'a, str>) -> Result<Self, BackendError> {
        if !url.starts_with("data:") {
            return Ok(Self::Url(url));
        }
        let split = |url: &str| {
            let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
            let kind = head.strip_suffix(";base64")?.split(';').next()?;
            Some(("data:".len()..kind.len() + "data:".len(), url.len() - data.len()))
        };
        let (kind, data) =
            split(&url).ok_or_else(|| invalid("a data: URL is not of the form data:TYPE;base64,DATA"))?;
        Ok(match url {
            Cow::Borrowed(url) => Self::Here { kind: url[kind].into(), data: url[data..].into() },
            Cow::Owned(url) => Self::Here { kind: url[kind].to_owned().into(), data: url[data..].to_owned().into() },
        })
    }
}
