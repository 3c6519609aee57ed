//! A log as the parts of an answer: text, reasoning, calls of tools, each begun, added to and ended in turn. A fold of the
//! log's events, for the faces whose own words are about such parts.

use serde::de::IgnoredAny;
use serde_json::Value;
use tidewire_core::{Event, Kind};

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Text,
    Reasoning,
    /// Of a tool. `index` is how the log's pieces name it.
    Call {
        index: Option<u64>,
        id: String,
        name: String,
    },
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) role: Role,
    /// Its place in the answer.
    pub(super) place: usize,
    /// Counts all parts of the log, also those that were taken back: no two have the same.
    pub(super) serial: usize,
    /// The text, or the arguments of the call.
    pub(super) text: String,
    /// An OpenAI `logprobs.content` array for the text.
    pub(super) logprobs: Vec<Value>,
}

/// What became of an answer with an event.
pub(super) enum Step<'a> {
    Begins(&'a Part),
    Adds(&'a Part, &'a str),
    Ends(&'a Part),
    /// All that was told no longer counts.
    TakenBack,
}

/// An answer so far. Parts are told one after the other: what comes for a later one, while a call before it is not whole,
/// is held back until it is. So pieces of two calls may come mixed, and are told apart all the same.
#[derive(Default)]
pub(super) struct Answer {
    parts: Vec<Part>,
    serials: usize,
    /// Which part is being told, whether it has begun, and how much of it was told.
    front: usize,
    begun: bool,
    told_bytes: usize,
}

impl Part {
    /// Whether nothing more can come, once another part has begun.
    fn is_whole(&self) -> bool {
        match self.role {
            Role::Text | Role::Reasoning => true,
            Role::Call { .. } => serde_json::from_str::<IgnoredAny>(&self.text).is_ok(),
        }
    }
}

impl Answer {
    /// Its parts.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether the part has been told to its end.
    pub(super) fn has_ended(&self, part: &Part) -> bool {
        part.place < self.front
    }

    /// Takes an event of the log, and tells what comes of it. An event of text is one [`Step::Adds`].
    pub(super) fn hear(&mut self, event: &Event, tell: &mut impl FnMut(Step<'_>)) {
        match event.kind {
            Kind::Text => self.add(Role::Text, &String::from_utf8_lossy(&event.data)),
            Kind::Reasoning => self.add(Role::Reasoning, &String::from_utf8_lossy(&event.data)),
            Kind::ToolCall => {
                for piece in serde_json::from_slice::<Vec<Value>>(&event.data).unwrap_or_default() {
                    self.call(&piece);
                }
            }
            Kind::Logprobs => {
                let text = self.parts.iter_mut().rev().find(|part| part.role == Role::Text);
                if let Some(part) = text {
                    part.logprobs.extend(serde_json::from_slice::<Vec<Value>>(&event.data).unwrap_or_default());
                }
            }
            Kind::Rewind => {
                // An attempt takes back the whole answer or nothing.
                let was_told = self.front > 0 || self.begun;
                *self = Self { serials: self.serials, ..Self::default() };
                if was_told {
                    tell(Step::TakenBack);
                }
            }
            _ => {}
        }
        self.advance(false, tell);
    }

    /// The log has ended and the answer is whole: so are its parts.
    pub(super) fn finish(&mut self, tell: &mut impl FnMut(Step<'_>)) {
        self.advance(true, tell);
    }

    fn add(&mut self, role: Role, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(last) if last.role == role => last.text.push_str(text),
            _ => self.begin(role, text),
        }
    }

    fn begin(&mut self, role: Role, text: &str) {
        let place = self.parts.len();
        self.parts.push(Part { role, place, serial: self.serials, text: text.to_owned(), logprobs: Vec::new() });
        self.serials += 1;
    }

    /// A piece of a call: the `index` says of which, and a new id begins another one also where all have the same index.
    fn call(&mut self, piece: &Value) {
        let index = piece.get("index").and_then(Value::as_u64);
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let more = piece.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
        let known = self.parts.iter_mut().rev().find(|part| match &part.role {
            Role::Call { index: known, id: known_id, .. } => *known == index && (id.is_empty() || id == known_id),
            _ => false,
        });
        match known {
            // Its arguments were whole JSON when it ended: more of them could only break it.
            Some(part) if part.place < self.front => {}
            Some(part) => part.text.push_str(more),
            None => {
                let name = piece.pointer("/function/name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let id = if id.is_empty() { format!("call_{}", self.serials) } else { id.to_owned() };
                self.begin(Role::Call { index, id, name }, more);
            }
        }
    }

    fn advance(&mut self, over: bool, tell: &mut impl FnMut(Step<'_>)) {
        while let Some(part) = self.parts.get(self.front) {
            if !std::mem::replace(&mut self.begun, true) {
                tell(Step::Begins(part));
            }
            if self.told_bytes < part.text.len() {
                tell(Step::Adds(part, &part.text[self.told_bytes..]));
                self.told_bytes = part.text.len();
            }
            let last = self.front + 1 == self.parts.len();
            if !over && (last || !part.is_whole()) {
                return;
            }
            tell(Step::Ends(part));
            (self.front, self.begun, self.told_bytes) = (self.front + 1, false, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidewire_core::{Offset, Timestamp};

    fn told(events: &[(Kind, &'static str)]) -> Vec<String> {
        let mut answer = Answer::default();
        let mut told = Vec::new();
        let mut tell = |step: Step<'_>| {
            told.push(match step {
                Step::Begins(part) => format!("+{}", part.serial),
                Step::Adds(part, text) => format!("{}:{text}", part.serial),
                Step::Ends(part) => format!("-{}", part.serial),
                Step::TakenBack => "back".to_owned(),
            });
        };
        for (offset, (kind, data)) in (0..).zip(events) {
            let (kind, data) = (*kind, Bytes::from_static(data.as_bytes()));
            answer.hear(&Event { offset: Offset(offset), at: Timestamp::from_millis(0), kind, data }, &mut tell);
        }
        answer.finish(&mut tell);
        told
    }

    #[test]
    fn every_event_of_text_is_told_by_itself() {
        let events = [(Kind::Reasoning, "hm"), (Kind::Text, "a"), (Kind::Text, "b"), (Kind::Text, "")];
        assert_eq!(told(&events), ["+0", "0:hm", "-0", "+1", "1:a", "1:b", "-1"]);
    }

    #[test]
    fn calls_whose_pieces_come_mixed_are_told_one_after_the_other() {
        let events = [
            (Kind::Text, "t"),
            (Kind::ToolCall, r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#),
            (Kind::ToolCall, r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]"#),
            (Kind::ToolCall, r#"[{"index":0,"function":{"arguments":"{\"x\":1"}}]"#),
            (Kind::ToolCall, r#"[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":"}"}}]"#),
        ];
        let expected = ["+0", "0:t", "-0", "+1", "1:{\"x\":1", "1:}", "-1", "+2", "2:{}", "-2"];
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn what_was_not_told_needs_no_taking_back() {
        assert_eq!(told(&[(Kind::Rewind, "{}"), (Kind::Text, "a")]), ["+0", "0:a", "-0"]);
        let again = [(Kind::Text, "a"), (Kind::Rewind, "{}"), (Kind::Text, "b")];
        assert_eq!(told(&again), ["+0", "0:a", "back", "+1", "1:b", "-1"]);
    }
}
