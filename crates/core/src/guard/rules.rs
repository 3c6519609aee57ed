//! Rules that are applied together: of all that match, the leftmost counts, and of two that begin at one place, the one that
//! the configuration names first.

use super::alive::Automaton;
use super::rule::{Action, BadRule, Rule};
use regex_automata::Span;
use std::sync::Arc;

/// Rules for one place of one route.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) all: Vec<Arc<Rule>>,
    pub(super) automaton: Automaton,
    /// How much of an answer is held back at most, in bytes.
    pub(super) window: usize,
}

/// A rule was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its name.
    pub rule: Arc<str>,
    /// What it did.
    pub action: Action,
}

/// What a rule forbids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rule `{rule}` forbids this text")]
pub struct Blocked {
    /// The rule's name.
    pub rule: Arc<str>,
}

/// The matches of a text, from left to right.
pub(super) struct Matches<'r> {
    rules: &'r [Arc<Rule>],
    /// The next one of each rule, as far as it has been looked for.
    next: Vec<Option<Span>>,
}

impl<'r> Matches<'r> {
    pub(super) fn of(rules: &'r [Arc<Rule>], text: &str, from: usize) -> Self {
        Self { rules, next: rules.iter().map(|rule| rule.find(text, from)).collect() }
    }

    /// The leftmost match that begins at `from` or after it.
    pub(super) fn next(&mut self, text: &str, from: usize) -> Option<(&'r Rule, Span)> {
        for (rule, next) in self.rules.iter().zip(&mut self.next) {
            if next.is_some_and(|found| found.start < from) {
                *next = rule.find(text, from);
            }
        }
        let found = self.rules.iter().zip(&self.next).filter_map(|(rule, next)| Some((rule, (*next)?)));
        found.min_by_key(|(_, found)| found.start).map(|(rule, found)| (&**rule, found))
    }
}

impl Rules {
    /// These together. `window_bytes`: how much of an answer they may hold back.
    pub fn new(rules: Vec<Arc<Rule>>, window_bytes: usize) -> Result<Self, BadRule> {
        Ok(Self { automaton: Automaton::new(&rules)?, all: rules, window: window_bytes })
    }

    /// Applies them to a whole text: what it becomes, or nothing where it stays as it is.
    pub fn apply(&self, text: &str, hits: &mut Vec<Hit>) -> Result<Option<String>, Blocked> {
        let mut matches = Matches::of(&self.all, text, 0);
        let (mut out, mut from) = (String::new(), 0);
        while let Some((rule, found)) = matches.next(text, from) {
            hits.push(Hit { rule: rule.name.clone(), action: rule.action });
            if rule.action == Action::Block {
                return Err(Blocked { rule: rule.name.clone() });
            }
            out.push_str(&text[from..found.start]);
            out.push_str(&rule.replacement);
            from = found.end;
        }
        if from == 0 {
            return Ok(None);
        }
        out.push_str(&text[from..]);
        Ok(Some(out))
    }
}
