//! A log as OpenAI's events of a response, each with a number that never changes.
//!
//! The events are a fold of the log from offset 0, and of what the task was asked: nothing else, no clock and no cursor.
//! So an event has the same number however often, from wherever and on whichever server it is read, over a restart too.
//! Each event of text in the log is one delta, whatever was merged on the way. What a rewind takes back keeps its numbers:
//! it is followed by an `error` event, and the next attempt's events count on after that. A reader that has some of what was
//! taken back gets the rest of it and the error, and nothing after; one that has none of it gets what is left, with a gap in
//! the numbers.

use super::object::{About, Standing, content, error, item, item_id, no_content};
use crate::transport::answer::{Answer, Part, Role, Step};
use crate::transport::openai::fault::rewound;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use tidewire_core::{Ending, Event, Kind, Outcome, Timestamp};
use tidewire_proto::{Code, WireError};

/// One event of a response.
pub(super) struct Said {
    pub(super) number: u64,
    /// All from this number up to this event is taken back by it.
    pub(super) takes_back_from: Option<u64>,
    /// As SSE.
    pub(super) frame: Vec<u8>,
}

/// What is said of the response as a whole.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    response: &'a RawValue,
}

/// The fold.
pub(super) struct Projection {
    about: Arc<About>,
    answer: Answer,
    next: u64,
    running: bool,
    end: Option<(Timestamp, Ending)>,
    /// The number of the first event of the answer, once it has begun.
    began: Option<u64>,
}

impl Projection {
    pub(super) fn new(about: Arc<About>) -> Self {
        Self { about, answer: Answer::default(), next: 0, running: false, end: None, began: None }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What is said before the log has anything.
    pub(super) fn open(&mut self, out: &mut Vec<Said>) {
        let standing = if self.about.background { Standing::Queued } else { Standing::Running };
        self.whole("response.created", standing, &[], out);
        if self.about.background {
            self.whole("response.queued", standing, &[], out);
        }
    }

    /// Takes an event of the log.
    pub(super) fn hear(&mut self, event: &Event, out: &mut Vec<Said>) {
        if event.kind == Kind::Started && !std::mem::replace(&mut self.running, true) {
            return self.whole("response.in_progress", Standing::Running, &[], out);
        }
        if event.kind == Kind::End {
            return self.end(event, out);
        }
        let mut teller = Teller { about: &self.about, next: &mut self.next, began: &mut self.began, out, broke: false };
        self.answer.hear(event, &mut |step| teller.tell(&step));
    }

    fn end(&mut self, event: &Event, out: &mut Vec<Said>) {
        let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) else {
            let damaged = WireError::new(Code::Damaged, "the end of the log can't be read");
            let value = error(&damaged, self.next);
            return say(&mut self.next, &value, out);
        };
        if ending.state == Outcome::Done {
            let broke = ending.finish_reason.as_deref() == Some("length");
            let mut teller = Teller { about: &self.about, next: &mut self.next, began: &mut self.began, out, broke };
            self.answer.finish(&mut |step| teller.tell(&step));
        }
        let standing = Standing::Ended(event.at, &ending);
        let output = self.output(standing);
        self.whole(standing.event(), standing, &output, out);
        self.end = Some((event.at, ending));
    }

    fn whole(&mut self, kind: &'static str, standing: Standing<'_>, output: &[Value], out: &mut Vec<Said>) {
        let response = self.about.object(standing, output);
        let frame = frame(kind, &Whole { kind, sequence_number: self.next, response: &response });
        out.push(Said { number: self.next, takes_back_from: None, frame });
        self.next += 1;
    }

    /// Where the response stands, by its log.
    pub(super) fn standing(&self) -> Standing<'_> {
        match &self.end {
            Some((at, ending)) => Standing::Ended(*at, ending),
            None if self.running || !self.about.background => Standing::Running,
            None => Standing::Queued,
        }
    }

    /// The response as it is now.
    pub(super) fn object(&self) -> Box<RawValue> {
        let standing = self.standing();
        self.about.object(standing, &self.output(standing))
    }

    /// What was said, as a message of a chat.
    pub(super) fn message(&self) -> Value {
        let parts = self.answer.parts();
        let text: String = parts.iter().filter(|part| part.role == Role::Text).map(|part| part.text.as_str()).collect();
        let calls = parts.iter().filter_map(|part| match &part.role {
            Role::Call { id, name, .. } => Some(json!({ "id": id, "type": "function",
                "function": { "name": name, "arguments": part.text } })),
            _ => None,
        });
        let calls: Vec<Value> = calls.collect();
        if calls.is_empty() {
            return json!({ "role": "assistant", "content": text });
        }
        let text = if text.is_empty() { Value::Null } else { text.into() };
        json!({ "role": "assistant", "content": text, "tool_calls": calls })
    }

    fn output(&self, standing: Standing<'_>) -> Vec<Value> {
        let status = |part: &Part| match standing {
            // The last part is the one that broke off.
            Standing::Ended(..) if standing.status() == "incomplete" && part.place + 1 == self.answer.parts().len() => {
                "incomplete"
            }
            _ if self.answer.has_ended(part) => "completed",
            _ => "incomplete",
        };
        self.answer.parts().iter().map(|part| item(&self.about, part, status(part))).collect()
    }
}

/// Says what becomes of an answer.
struct Teller<'a> {
    about: &'a About,
    next: &'a mut u64,
    began: &'a mut Option<u64>,
    out: &'a mut Vec<Said>,
    /// The part that ends breaks off.
    broke: bool,
}

impl Teller<'_> {
    fn tell(&mut self, step: &Step<'_>) {
        match step {
            Step::Begins(part) => self.begins(part),
            Step::Adds(part, text) => {
                let kind = match part.role {
                    Role::Text => "response.output_text.delta",
                    Role::Reasoning => "response.reasoning_text.delta",
                    Role::Call { .. } => "response.function_call_arguments.delta",
                };
                let mut value = self.of(kind, part);
                value["delta"] = (*text).into();
                if part.role == Role::Text {
                    value["logprobs"] = json!([]);
                }
                say(self.next, &value, self.out);
            }
            Step::Ends(part) => self.ends(part),
            Step::TakenBack => {
                let value = error(&rewound(), *self.next);
                say(self.next, &value, self.out);
                if let (Some(last), Some(began)) = (self.out.last_mut(), self.began.take()) {
                    last.takes_back_from = Some(began);
                }
            }
        }
    }

    fn begins(&mut self, part: &Part) {
        self.began.get_or_insert(*self.next);
        let mut value = self.of("response.output_item.added", part);
        value["item"] = item(self.about, part, "in_progress");
        say(self.next, &value, self.out);
        if !matches!(part.role, Role::Call { .. }) {
            let mut value = self.of("response.content_part.added", part);
            value["part"] = no_content(part);
            say(self.next, &value, self.out);
        }
    }

    fn ends(&mut self, part: &Part) {
        let kind = match part.role {
            Role::Text => "response.output_text.done",
            Role::Reasoning => "response.reasoning_text.done",
            Role::Call { .. } => "response.function_call_arguments.done",
        };
        let mut value = self.of(kind, part);
        match &part.role {
            Role::Call { name, .. } => {
                (value["arguments"], value["name"]) = (part.text.as_str().into(), name.as_str().into());
            }
            Role::Text => (value["text"], value["logprobs"]) = (part.text.as_str().into(), json!(part.logprobs)),
            Role::Reasoning => value["text"] = part.text.as_str().into(),
        }
        say(self.next, &value, self.out);
        if !matches!(part.role, Role::Call { .. }) {
            let mut value = self.of("response.content_part.done", part);
            value["part"] = content(part);
            say(self.next, &value, self.out);
        }
        let mut value = self.of("response.output_item.done", part);
        value["item"] = item(self.about, part, if self.broke { "incomplete" } else { "completed" });
        say(self.next, &value, self.out);
    }

    /// What all events about a part have.
    fn of(&self, kind: &str, part: &Part) -> Value {
        let mut value = json!({ "type": kind, "sequence_number": *self.next, "output_index": part.place });
        let is_item = kind.starts_with("response.output_item.");
        if !is_item {
            value["item_id"] = item_id(self.about, part).into();
        }
        if !is_item && !matches!(part.role, Role::Call { .. }) {
            value["content_index"] = 0.into();
        }
        value
    }
}

fn say(next: &mut u64, value: &Value, out: &mut Vec<Said>) {
    let frame = frame(value["type"].as_str().unwrap_or_default(), value);
    out.push(Said { number: *next, takes_back_from: None, frame });
    *next += 1;
}

/// An event as SSE.
pub(super) fn frame(kind: &str, value: &impl Serialize) -> Vec<u8> {
    let mut out = format!("event: {kind}\ndata: ").into_bytes();
    // Strings, numbers and JSON that was parsed before: writing them to a vector can't fail.
    let _ = serde_json::to_writer(&mut out, value);
    out.extend_from_slice(b"\n\n");
    out
}
