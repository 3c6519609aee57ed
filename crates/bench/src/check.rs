//! Checks one task's events: offsets dense and in order, each event once, one end, and, where the scripted
//! backend plays, each of its words once and in its place.

use tidewire_proto::WireEvent;

/// What was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
}

/// Follows one task's log.
#[derive(Debug, Default)]
pub(crate) struct Check {
    /// How many words the script says; `None` is a real model, whose words are only counted.
    script: Option<u64>,
    next_offset: u64,
    words: u64,
    /// The beginning of a word that goes on in the next event.
    partial: String,
    /// How many words there were before each text event: what a rewind goes back to.
    marks: Vec<(u64, u64)>,
    text_events: u64,
    end: Option<End>,
    faults: Faults,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) state: String,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) error: Option<String>,
}

impl Check {
    pub(crate) fn new(script_tokens: Option<u32>) -> Self {
        Self { script: script_tokens.map(u64::from), ..Self::default() }
    }

    /// The log is read from its start again.
    pub(crate) fn start_over(&mut self) {
        *self = Self { script: self.script, faults: self.faults, ..Self::default() };
    }

    /// Takes the next event, and says whether it was text.
    pub(crate) fn event(&mut self, event: &WireEvent<'_>) -> bool {
        if event.offset > self.next_offset {
            self.faults.lost += event.offset - self.next_offset;
        } else if event.next() <= self.next_offset {
            self.faults.doubled += event.count;
        } else if event.offset < self.next_offset {
            self.faults.out_of_order += 1;
        }
        self.next_offset = self.next_offset.max(event.next());
        match &*event.kind {
            "text" => {
                self.text(event);
                return true;
            }
            "rewind" => self.rewind(event),
            "end" => self.ended(event),
            _ => {}
        }
        false
    }

    fn text(&mut self, event: &WireEvent<'_>) {
        self.text_events += event.count;
        if self.end.is_some() {
            self.faults.out_of_order += 1;
        }
        if self.script.is_none() {
            return;
        }
        self.marks.push((event.offset, self.words));
        let Some(text) = event.text() else { return };
        for piece in text.split_inclusive(' ') {
            self.partial.push_str(piece);
            if piece.ends_with(' ') {
                self.word();
                self.partial.clear();
            }
        }
    }

    /// The scripted backend's word `k` begins with `w` and `k`; some go on with `-` and other letters.
    fn word(&mut self) {
        let word = self.partial.trim_end();
        let number = word.strip_prefix('w').and_then(|word| word.split('-').next()).and_then(|k| k.parse().ok());
        match number {
            Some(number) => {
                let number: u64 = number;
                self.faults.lost += number.saturating_sub(self.words);
                self.faults.doubled += u64::from(number < self.words);
                self.words = self.words.max(number + 1);
            }
            // Two words that ran into each other, or one that was torn.
            None => self.faults.out_of_order += 1,
        }
    }

    fn rewind(&mut self, event: &WireEvent<'_>) {
        let to = event.value().get("to").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let stays = self.marks.partition_point(|(offset, _)| *offset < to);
        if let Some((_, words)) = self.marks.get(stays) {
            self.words = *words;
            self.marks.truncate(stays);
            self.partial.clear();
        }
    }

    fn ended(&mut self, event: &WireEvent<'_>) {
        if self.end.is_some() {
            self.faults.doubled += 1;
        }
        let data = event.value();
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let end = End {
            state: text(&data["state"]).unwrap_or_default(),
            output_tokens: data["usage"]["output_tokens"].as_u64(),
            error: text(&data["error"]["code"]),
        };
        if let Some(script) = self.script.filter(|_| end.state == "done") {
            self.faults.lost += script.saturating_sub(self.words);
            self.faults.doubled += self.words.saturating_sub(script);
        }
        self.end = Some(end);
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    /// How many tokens came: the script's words, else what the backend counted, else text events.
    pub(crate) fn tokens(&self) -> u64 {
        match self.script {
            Some(_) => self.words,
            None => self.end.as_ref().and_then(|end| end.output_tokens).unwrap_or(self.text_events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(tokens: u32, events: &[Value]) -> (u64, u64, u64) {
        let mut check = Check::new(Some(tokens));
        for event in events {
            check.event(&serde_json::from_str(&event.to_string()).unwrap());
        }
        let Faults { lost, doubled, out_of_order } = check.faults();
        (lost, doubled, out_of_order)
    }

    fn event(offset: u64, kind: &str, data: &Value) -> Value {
        json!({"offset": offset, "type": kind, "at": 1, "data": data})
    }

    fn text(offset: u64, text: &str) -> Value {
        event(offset, "text", &json!(text))
    }

    fn end(offset: u64) -> Value {
        event(offset, "end", &json!({"state": "done", "usage": {"output_tokens": 3}}))
    }

    #[test]
    fn a_good_log_has_no_faults() {
        let merged = json!({"offset": 1, "count": 2, "type": "text", "at": 1, "data": "w1 w"});
        assert_eq!(faults(3, &[text(0, "w0 "), merged, text(3, "2-é漢 "), end(4)]), (0, 0, 0));
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        assert_eq!(faults(3, &[text(0, "w0 "), text(1, "w1 "), end(2)]), (1, 0, 0), "the last word");
        assert_eq!(faults(3, &[text(0, "w0 "), text(1, "w2 "), end(2)]), (1, 0, 0), "a word within");
        assert_eq!(faults(2, &[text(0, "w0 "), text(1, "w0 "), text(2, "w1 "), end(3)]), (0, 1, 0), "a word twice");
        assert_eq!(faults(2, &[text(0, "w0 "), text(1, "w1 "), text(2, "w2 "), end(3)]), (0, 1, 0), "one too many");
        assert_eq!(faults(1, &[text(0, "w0 "), end(2)]), (1, 0, 0), "an offset");
        assert_eq!(faults(1, &[text(0, "w0 "), end(1), end(1)]), (0, 2, 0), "the end twice, at one offset");
        assert_eq!(faults(2, &[text(0, "w0w1 "), end(1)]), (2, 0, 1), "words that ran together");
    }

    #[test]
    fn a_rewind_makes_the_words_after_it_void() {
        let rewind = event(3, "rewind", &json!({"to": 1}));
        let events = [text(0, "w0 "), text(1, "w1 "), text(2, "w2 w"), rewind, text(4, "w1 "), text(5, "w2 "), end(6)];
        assert_eq!(faults(3, &events), (0, 0, 0));
    }
}
