//! An answer as it comes: when its tokens came, how many there were, and whether it is whole.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// What was seen of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// When the first and the last piece of it came.
    pub(super) span: Option<(Duration, Duration)>,
    /// Pieces with something in them.
    pieces: u64,
    /// What the server counted.
    counted: Option<u64>,
    finished: bool,
    /// A stream's beginning of a line, or a document's beginning.
    partial: Vec<u8>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default, alias = "message")]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: Option<u64>,
}

impl Answer {
    /// A piece of a stream.
    pub(super) fn events(&mut self, piece: &[u8], now: Duration) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if self.partial.is_empty() {
                self.line(line, now);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole, now);
            }
            rest = after;
        }
        self.partial.extend_from_slice(rest);
    }

    fn line(&mut self, line: &[u8], now: Duration) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let data = data.trim_ascii();
        if data != b"[DONE]" && !data.is_empty() {
            self.frame(data, now);
        }
    }

    fn frame(&mut self, json: &[u8], now: Duration) {
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(json) else {
            self.error.get_or_insert_with(|| "unreadable".to_owned());
            return;
        };
        if frame.error.is_some() {
            self.error.get_or_insert_with(|| code(json).unwrap_or_else(|| "error".to_owned()));
        }
        if let Some(counted) = frame.usage.and_then(|usage| usage.completion_tokens) {
            self.counted = Some(counted);
        }
        for choice in &frame.choices {
            self.finished |= choice.finish_reason.is_some();
            let Some(delta) = &choice.delta else { continue };
            let parts = [delta.content, delta.reasoning_content, delta.reasoning, delta.tool_calls];
            if parts.into_iter().flatten().any(|part| part.get() != "\"\"") {
                self.pieces += 1;
                self.span = Some((self.span.map_or(now, |(first, _)| first), now));
            }
        }
    }

    /// A piece of a document.
    pub(super) fn document(&mut self, piece: &[u8]) {
        self.partial.extend_from_slice(piece);
    }

    /// The document is whole.
    pub(super) fn end_document(&mut self, now: Duration) {
        let document = std::mem::take(&mut self.partial);
        self.frame(&document, now);
        // All of it came at once: there is no first token to speak of.
        self.span = None;
    }

    /// What the body of a refusal calls itself.
    pub(super) fn refusal(&self, status: u16) -> String {
        code(&self.partial).unwrap_or_else(|| format!("http_{status}"))
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let early = || (!self.finished).then(|| "no_finish_reason".to_owned());
        self.error.clone().or_else(early)
    }

    /// How many tokens: what the server counted, else pieces.
    pub(super) fn tokens(&self) -> u64 {
        self.counted.unwrap_or(self.pieces)
    }

    /// Time per output token after the first: (last - first) / (n - 1).
    pub(super) fn per_token(&self) -> Option<Duration> {
        let (first, last) = self.span?;
        let gaps = u32::try_from(self.tokens().max(self.pieces).checked_sub(1)?).ok().filter(|gaps| *gaps > 0)?;
        Some(last.saturating_sub(first) / gaps)
    }
}

/// `error.code`, else `error.type`.
fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = &body["error"];
    match (&error["code"], &error["type"]) {
        (Value::String(code), _) | (Value::Null, Value::String(code)) => Some(code.clone()),
        (Value::Number(code), _) => Some(code.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let stream =
            b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n: hello\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
        for size in [1, 7, 50, 1000] {
            let mut answer = Answer::default();
            for (number, piece) in (0_u64..).zip(stream.chunks(size)) {
                answer.events(piece, at(number * size as u64));
            }
            assert_eq!((answer.tokens(), answer.pieces, answer.fault()), (3, 2, None), "pieces of {size}");
            let (first, last) = answer.span.unwrap();
            assert_eq!(answer.per_token(), Some(last.saturating_sub(first) / 2));
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let seen = |stream: &str| {
            let mut answer = Answer::default();
            answer.events(stream.as_bytes(), at(1));
            answer.fault()
        };
        assert_eq!(seen("data: [DONE]\n\n").as_deref(), Some("no_finish_reason"));
        assert_eq!(seen("data: {\"error\":{\"code\":\"broken\"}}\n\n").as_deref(), Some("broken"));
        assert_eq!(seen("data: {\"choi\n\n").as_deref(), Some("unreadable"));
        let mut refused = Answer::default();
        refused.document(b"{\"error\":{\"code\":null,\"type\":\"too_many\"}}");
        assert_eq!((refused.refusal(429), Answer::default().refusal(502)), ("too_many".into(), "http_502".into()));
    }
}
