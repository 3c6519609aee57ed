//! One pattern, where it is looked for, and what becomes of what it matches.

use super::built_in;
use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, Span};
use std::sync::Arc;

/// The largest automaton of one pattern: a few hundred characters of classes and small counts. A stream follows all that
/// could still match through it, byte for byte.
const MAX_AUTOMATON_BYTES: usize = 1024 * 1024;

/// How deep a pattern's brackets may be nested: the parser's own default is 250, and nobody reads ten.
const MAX_NESTING: u32 = 50;

/// Where a pattern is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In what a model is asked.
    Prompt,
    /// In what it answers.
    Answer,
    /// In both.
    Both,
}

impl Place {
    /// Whether this place is the other one, or holds it.
    pub(super) fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// What becomes of what a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request is refused, or the answer ended.
    Block,
    /// The replacement stands in its place.
    Mask,
}

impl Action {
    /// As metrics and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Mask => "mask",
        }
    }
}

/// What a rule is made from.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name, which refusals, logs and metrics tell.
    pub name: String,
    /// The pattern, or the name of one that is built in.
    pub pattern: Result<String, String>,
    /// Where it is looked for.
    pub place: Place,
    /// What becomes of it.
    pub action: Action,
    /// What stands in the place of what is masked; the rule's name in brackets unless set.
    pub replacement: Option<String>,
    /// The routes that it is for; all where there is none.
    pub routes: Vec<String>,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// No pattern.
    #[error("the pattern can't be read: {0}")]
    Pattern(String),
    /// Too large.
    #[error("the pattern needs more than {MAX_AUTOMATON_BYTES} bytes: make its classes or counts smaller")]
    TooLarge,
    /// It matches everywhere.
    #[error("the pattern matches the empty text, so it would match everywhere")]
    Empty,
    /// Not one of ours.
    #[error("there is no built-in pattern `{0}`; there are {known}", known = built_in::NAMES.join(", "))]
    UnknownBuiltIn(String),
}

/// Looks again at what a pattern matched: how many bytes of it are a match, if any.
pub(super) type Check = fn(&str) -> Option<usize>;

/// A rule that can be applied.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is looked for.
    pub place: Place,
    /// What becomes of it.
    pub action: Action,
    /// The routes that it is for; all where there is none.
    pub routes: Vec<String>,
    pub(super) replacement: Arc<str>,
    /// The same, as it stands within a JSON string.
    pub(super) escaped: Arc<str>,
    pub(super) pattern: String,
    regex: Regex,
    check: Option<Check>,
}

impl Rule {
    /// Reads a pattern.
    pub fn new(spec: Spec) -> Result<Self, BadRule> {
        let (pattern, check) = match spec.pattern {
            Ok(pattern) => (pattern, None),
            Err(name) => {
                let (pattern, check) = built_in::named(&name).ok_or(BadRule::UnknownBuiltIn(name))?;
                (pattern.to_owned(), check)
            }
        };
        let config = Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES)).onepass(false);
        let built = Regex::builder().configure(config).syntax(syntax()).build(&pattern);
        let regex = built.map_err(|error| bad(&error))?;
        if regex.is_match("") {
            return Err(BadRule::Empty);
        }
        let replacement = spec.replacement.unwrap_or_else(|| format!("[{}]", spec.name));
        let escaped = serde_json::Value::String(replacement.clone()).to_string();
        Ok(Self {
            name: spec.name.into(),
            place: spec.place,
            action: spec.action,
            routes: spec.routes,
            escaped: escaped[1..escaped.len() - 1].into(),
            replacement: replacement.into(),
            pattern,
            regex,
            check,
        })
    }

    /// All that says what it does, so that two that do the same say the same.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let Self { action, pattern, replacement, check, .. } = self;
        // Quoted, so that no text can be taken for the next part.
        out.extend_from_slice(format!("{action:?} {pattern:?} {replacement:?} {} ", check.is_some()).as_bytes());
    }

    /// The next match that begins at `from` or after it. What stands before is looked at for word boundaries alone.
    pub(super) fn find(&self, text: &str, mut from: usize) -> Option<Span> {
        loop {
            let found = self.regex.find(Input::new(text).span(from..text.len()))?.span();
            let Some(check) = self.check else { return Some(found) };
            if let Some(length) = check(&text[found.range()]) {
                return Some(Span { start: found.start, end: found.start + length });
            }
            from = found.start + text[found.start..].chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// How patterns are read, for finding matches and for following what could become one.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new().nest_limit(MAX_NESTING)
}

fn bad(error: &BuildError) -> BadRule {
    match error.syntax_error() {
        Some(error) => BadRule::Pattern(error.to_string()),
        None if error.size_limit().is_some() => BadRule::TooLarge,
        None => BadRule::Pattern(error.to_string()),
    }
}
