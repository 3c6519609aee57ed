//! What could still become a match: the automaton of all patterns together, followed byte for byte, with the place where the
//! earliest possible match began.
//!
//! What a pattern asks of its surroundings (a word's boundary, a line's end) counts as given here. So more may be held back
//! than is needed, and never less.

use super::rule::{BadRule, Rule, syntax};
use regex_automata::nfa::thompson::{NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use std::sync::Arc;

/// The automaton of some patterns.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    nfa: NFA,
    /// Where matches begin.
    start: Vec<StateID>,
    /// Bytes with which a match can begin.
    first: Box<[bool; 256]>,
}

impl Automaton {
    pub(super) fn new(rules: &[Arc<Rule>]) -> Result<Self, BadRule> {
        let patterns: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
        let config = NFA::config().which_captures(WhichCaptures::None);
        let built = NFA::compiler().configure(config).syntax(syntax()).build_many(&patterns);
        let nfa = built.map_err(|error| BadRule::Pattern(error.to_string()))?;
        let mut automaton = Self { nfa, start: Vec::new(), first: Box::new([false; 256]) };
        let mut beginning = Alive::default();
        beginning.enter(&automaton, automaton.nfa.start_anchored(), 0);
        automaton.start = beginning.next.into_iter().map(|(state, _)| state).collect();
        for byte in 0..=u8::MAX {
            let begins = automaton.start.iter().any(|&state| automaton.step(state, byte).is_some());
            automaton.first[usize::from(byte)] = begins;
        }
        Ok(automaton)
    }

    fn step(&self, state: StateID, byte: u8) -> Option<StateID> {
        match self.nfa.state(state) {
            State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
            State::Sparse(all) => all.matches_byte(byte),
            State::Dense(all) => all.matches_byte(byte),
            _ => None,
        }
    }
}

/// The states that a text has led to.
#[derive(Clone, Debug, Default)]
pub(super) struct Alive {
    /// Each with the earliest place at which a match that is in it may have begun; the earliest ones first.
    now: Vec<(StateID, usize)>,
    next: Vec<(StateID, usize)>,
    /// States of `next`, and those that lead to them, a bit each.
    seen: Vec<u64>,
    touched: Vec<usize>,
    stack: Vec<StateID>,
    /// After which byte something last matched.
    matched: Option<usize>,
}

impl Alive {
    /// Reads on; `at` is the place of the first byte.
    pub(super) fn read(&mut self, automaton: &Automaton, bytes: &[u8], at: usize) {
        for (index, &byte) in bytes.iter().enumerate() {
            let place = at + index;
            let now = std::mem::take(&mut self.now);
            for &(state, began) in &now {
                if let Some(to) = automaton.step(state, byte) {
                    self.enter(automaton, to, began);
                }
            }
            if automaton.first[usize::from(byte)] {
                for &state in &automaton.start {
                    if let Some(to) = automaton.step(state, byte) {
                        self.enter(automaton, to, place);
                    }
                }
            }
            if self.next.iter().any(|&(state, _)| matches!(automaton.nfa.state(state), State::Match { .. })) {
                self.matched = Some(place + 1);
            }
            self.now = now;
            self.now.clear();
            std::mem::swap(&mut self.now, &mut self.next);
            for word in self.touched.drain(..) {
                self.seen[word] = 0;
            }
        }
    }

    /// Adds a state and those that it leads to without a byte.
    fn enter(&mut self, automaton: &Automaton, state: StateID, began: usize) {
        self.seen.resize(automaton.nfa.states().len().div_ceil(64), 0);
        self.stack.push(state);
        while let Some(state) = self.stack.pop() {
            let (word, bit) = (state.as_usize() / 64, 1 << (state.as_usize() % 64));
            if self.seen[word] & bit != 0 {
                continue;
            }
            self.seen[word] |= bit;
            self.touched.push(word);
            match automaton.nfa.state(state) {
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => {
                    self.next.push((state, began));
                }
                State::Look { next, .. } | State::Capture { next, .. } => self.stack.push(*next),
                State::Union { alternates } => self.stack.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Fail => {}
            }
        }
    }

    /// Where the earliest match may have begun that what comes could still complete or lengthen.
    pub(super) fn earliest(&self) -> Option<usize> {
        self.now.first().map(|&(_, began)| began)
    }

    /// Forgets what began before; it counts as begun here, since another one in the same state may have.
    pub(super) fn not_before(&mut self, place: usize) {
        for (_, began) in self.now.iter_mut().take_while(|(_, began)| *began < place) {
            *began = place;
        }
    }

    /// Whether anything may have matched that ends after this place.
    pub(super) fn matched_after(&self, place: usize) -> bool {
        self.matched.is_some_and(|end| end > place)
    }
}
