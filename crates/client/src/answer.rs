//! The answer that a log amounts to: its text events joined, with each rewind obeyed.

use tidewire_proto::WireEvent;

/// A log's text so far, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    text: String,
    /// Where each text event begins: its offset, and its place in `text`.
    pieces: Vec<(u64, usize)>,
    end: Option<serde_json::Value>,
}

/// What an event did to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Text was added: all of [`Answer::text`] from this byte on.
    Added {
        /// Where the new text begins.
        from: usize,
    },
    /// Text was taken back: [`Answer::text`] is what stays.
    Rewound,
    /// The log ended.
    Ended,
    /// Nothing that shows in the text.
    Nothing,
}

impl Answer {
    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The `end` event's data, once it has come.
    pub fn end(&self) -> Option<&serde_json::Value> {
        self.end.as_ref()
    }

    /// Forgets all: the log is read from its start again.
    pub fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Takes the next event.
    pub fn apply(&mut self, event: &WireEvent<'_>) -> Change {
        match &*event.kind {
            "text" => self.add(event),
            "rewind" => self.rewind(event.value().get("to").and_then(serde_json::Value::as_u64).unwrap_or(0)),
            "end" => {
                self.end = Some(event.value());
                Change::Ended
            }
            _ => Change::Nothing,
        }
    }

    fn add(&mut self, event: &WireEvent<'_>) -> Change {
        let Some(text) = event.text() else { return Change::Nothing };
        let from = self.text.len();
        self.pieces.push((event.offset, from));
        self.text.push_str(&text);
        Change::Added { from }
    }

    fn rewind(&mut self, to: u64) -> Change {
        // A rewind names the offset where an attempt's events begin, which no merged event reaches across:
        // `started` stands between the texts of two attempts.
        let stays = self.pieces.partition_point(|(offset, _)| *offset < to);
        let Some((_, at)) = self.pieces.get(stays) else { return Change::Nothing };
        self.text.truncate(*at);
        self.pieces.truncate(stays);
        Change::Rewound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(answer: &mut Answer, event: &str) -> Change {
        answer.apply(&serde_json::from_str(event).unwrap())
    }

    #[test]
    fn a_rewind_takes_back_what_came_from_its_offset_on() {
        let mut answer = Answer::default();
        apply(&mut answer, r#"{"offset":0,"type":"started","at":1,"data":{"attempt":1}}"#);
        apply(&mut answer, r#"{"offset":1,"type":"text","at":1,"data":"one "}"#);
        let change = apply(&mut answer, r#"{"offset":2,"count":3,"type":"text","at":1,"data":"two \"é\""}"#);
        assert_eq!(change, Change::Added { from: 4 });
        assert_eq!(answer.text(), "one two \"é\"");
        assert_eq!(apply(&mut answer, r#"{"offset":5,"type":"rewind","at":1,"data":{"to":2}}"#), Change::Rewound);
        assert_eq!(answer.text(), "one ");
        apply(&mut answer, r#"{"offset":6,"type":"text","at":1,"data":"three"}"#);
        assert_eq!(answer.text(), "one three");
        assert_eq!(apply(&mut answer, r#"{"offset":7,"type":"rewind","at":1,"data":{"to":1}}"#), Change::Rewound);
        assert_eq!(answer.text(), "");
        assert_eq!(apply(&mut answer, r#"{"offset":8,"type":"from_tomorrow","at":1,"data":null}"#), Change::Nothing);
        assert_eq!(apply(&mut answer, r#"{"offset":9,"type":"end","at":1,"data":{"state":"done"}}"#), Change::Ended);
        assert_eq!(answer.end().unwrap()["state"], "done");
    }
}
