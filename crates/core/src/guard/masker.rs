//! Applies rules to a text that comes in pieces: holds back only what could still become part of a match.
//!
//! ```text
//!  ... told │ context │ held: may become a match │ ◀── next piece
//!                      ▲ decided up to here
//! ```
//!
//! Cut where it may be, a text comes out as if it had come in one piece, as long as no match is longer than the window. Of a
//! longer one, what lies further back than the window has been told before the rest of it came; the rest is looked at as if
//! it began there.

use super::alive::Alive;
use super::rule::Action;
use super::rules::{Blocked, Hit, Matches, Rules};
use std::ops::Range;
use std::sync::Arc;

/// One text that comes in pieces.
#[derive(Debug)]
pub struct Masker {
    rules: Arc<Rules>,
    /// The last character that was decided on, and what is held.
    text: String,
    /// The place of `text` in the whole.
    base: usize,
    /// What is held begins here, in `text`.
    held: usize,
    alive: Alive,
    /// Replacements stand within a JSON string.
    in_json: bool,
}

/// What may be told of a text by now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// The text, with replacements.
    pub text: String,
    /// Up to which place of the original all is decided.
    pub decided: usize,
    /// Which parts of the original are not in it.
    pub hidden: Vec<Range<usize>>,
}

impl Masker {
    /// For a text that begins after this one.
    pub fn new(rules: Arc<Rules>, before: &str) -> Self {
        let context: String = before.chars().next_back().into_iter().collect();
        Self { rules, base: 0, held: context.len(), text: context, alive: Alive::default(), in_json: false }
    }

    /// For the source of JSON strings: what stands in the place of a match is escaped.
    pub fn in_json(rules: Arc<Rules>) -> Self {
        Self { in_json: true, ..Self::new(rules, "") }
    }

    /// The place at which the next piece begins.
    pub fn at(&self) -> usize {
        self.base + self.text.len()
    }

    /// Takes the next piece in.
    pub fn push(&mut self, piece: &str, hits: &mut Vec<Hit>) -> Result<Masked, Blocked> {
        let at = self.at();
        self.text.push_str(piece);
        self.alive.read(&self.rules.automaton, piece.as_bytes(), at);
        self.alive.not_before(self.at().saturating_sub(self.rules.window));
        let until = self.alive.earliest().map_or(self.text.len(), |place| place.saturating_sub(self.base));
        let until = self.text.floor_char_boundary(until);
        self.decide(until.max(self.held), hits)
    }

    /// No further piece comes: what is held is decided.
    pub fn finish(&mut self, hits: &mut Vec<Hit>) -> Result<Masked, Blocked> {
        let masked = self.decide(self.text.len(), hits);
        self.alive = Alive::default();
        masked
    }

    /// Decides on what begins before `until`. What could become a match begins there or after it, so each match that
    /// begins before is one whatever comes.
    fn decide(&mut self, until: usize, hits: &mut Vec<Hit>) -> Result<Masked, Blocked> {
        let mut masked = Masked::default();
        let mut from = self.held;
        if self.alive.matched_after(self.base + self.held) {
            let mut matches = Matches::of(&self.rules.all, &self.text, from);
            while let Some((rule, found)) = matches.next(&self.text, from).filter(|(_, found)| found.start < until) {
                hits.push(Hit { rule: rule.name.clone(), action: rule.action });
                if rule.action == Action::Block {
                    return Err(Blocked { rule: rule.name.clone() });
                }
                masked.text.push_str(&self.text[from..found.start]);
                masked.text.push_str(if self.in_json { &rule.escaped } else { &rule.replacement });
                masked.hidden.push(self.base + found.start..self.base + found.end);
                from = found.end;
            }
        }
        if from < until {
            masked.text.push_str(&self.text[from..until]);
            from = until;
        }
        self.held = from;
        masked.decided = self.base + from;
        self.forget();
        Ok(masked)
    }

    /// Forgets what was decided on, but for the last character: a word's boundary is between two.
    fn forget(&mut self) {
        let last = self.text[..self.held].chars().next_back().map_or(0, char::len_utf8);
        let gone = self.held - last;
        self.text.drain(..gone);
        self.base += gone;
        self.held = last;
    }
}
