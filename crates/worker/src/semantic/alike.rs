//! Whether two questions may have one answer, beyond what their vectors say. Vectors of words put a question and its opposite
//! closer together than two ways of asking one thing, so what they can't tell is read from the words.

use std::collections::BTreeSet;

/// Words that turn a sentence round. Two questions with different ones of these have different answers.
const TURNS: [&str; 20] = [
    "no", "not", "never", "none", "without", "except", "neither", "nor", "cannot", "cant", "dont", "doesnt", "didnt",
    "isnt", "arent", "wasnt", "wont", "shouldnt", "couldnt", "wouldnt",
];

/// Pairs that are close together in every vector space and mean the opposite.
const OPPOSITES: [(&str, &str); 24] = [
    ("on", "off"),
    ("open", "close"),
    ("open", "closed"),
    ("start", "stop"),
    ("begin", "end"),
    ("enable", "disable"),
    ("add", "remove"),
    ("create", "delete"),
    ("increase", "decrease"),
    ("more", "less"),
    ("most", "least"),
    ("before", "after"),
    ("buy", "sell"),
    ("up", "down"),
    ("left", "right"),
    ("in", "out"),
    ("with", "without"),
    ("best", "worst"),
    ("high", "low"),
    ("import", "export"),
    ("upload", "download"),
    ("allow", "deny"),
    ("first", "last"),
    ("true", "false"),
];

/// Why two questions are taken for different ones, however close their vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// One is turned round: `not`, `never`, `without`.
    Negation,
    /// They name different numbers.
    Number,
    /// One has a word and the other its opposite.
    Opposite,
    /// One names somebody or something that the other one does not.
    Name,
    /// The same words in another order: who did what to whom.
    Order,
}

/// Why the two are different questions, where their words say so.
pub(super) fn difference(one: &str, other: &str) -> Option<Difference> {
    let (texts, one, other) = ([one, other], words(one), words(other));
    if one == other {
        return None;
    }
    let turns = |words: &[String]| words.iter().filter(|word| TURNS.contains(&word.as_str())).count();
    if turns(&one) != turns(&other) {
        return Some(Difference::Negation);
    }
    let numbers = |words: &[String]| {
        let mut numbers: Vec<String> =
            words.iter().filter(|word| word.bytes().any(|byte| byte.is_ascii_digit())).cloned().collect();
        numbers.sort_unstable();
        numbers
    };
    if numbers(&one) != numbers(&other) {
        return Some(Difference::Number);
    }
    let (set, other_set): (BTreeSet<&str>, BTreeSet<&str>) =
        (one.iter().map(String::as_str).collect(), other.iter().map(String::as_str).collect());
    let turned = |(a, b): &(&str, &str)| {
        let only = |word, here: &BTreeSet<&str>, there: &BTreeSet<&str>| here.contains(word) && !there.contains(word);
        (only(*a, &set, &other_set) && only(*b, &other_set, &set))
            || (only(*b, &set, &other_set) && only(*a, &other_set, &set))
    };
    if OPPOSITES.iter().any(turned) {
        return Some(Difference::Opposite);
    }
    let strange = |text, known: &BTreeSet<&str>| names(text).iter().any(|name| !known.contains(name.as_str()));
    if strange(texts[0], &other_set) || strange(texts[1], &set) {
        return Some(Difference::Name);
    }
    let sorted = |words: &[String]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words
    };
    (sorted(&one) == sorted(&other)).then_some(Difference::Order)
}

/// The words of a text that are written large within a sentence, in small letters: names, in most languages.
fn names(text: &str) -> Vec<String> {
    let mut begins = true;
    let mut names = Vec::new();
    for part in text.split_whitespace() {
        let word = part.trim_start_matches(|letter: char| !letter.is_alphanumeric());
        let is_large =
            word.chars().next().is_some_and(char::is_uppercase) && word.chars().nth(1).is_some_and(char::is_alphabetic);
        if is_large && !begins {
            names.extend(words(word));
        }
        begins = part.ends_with(['.', '!', '?', ':', '…']);
    }
    names
}

/// Its words, small, without what is around them. An apostrophe joins: `don't` is `dont`.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = text.chars().flat_map(char::to_lowercase).peekable();
    while let Some(letter) = rest.next() {
        let joins = matches!(letter, '.' | ',')
            && word.ends_with(|last: char| last.is_ascii_digit())
            && rest.peek().is_some_and(char::is_ascii_digit);
        if letter.is_alphanumeric() || joins {
            word.push(letter);
        } else if !matches!(letter, '\'' | '’') && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vectors_cant_tell_is_read_from_the_words() {
        let cases = [
            ("Do I need a visa for Japan?", "Don't I need a visa for Japan?", Some(Difference::Negation)),
            ("The dog bit the man", "the man bit the dog", Some(Difference::Order)),
            ("Turn the lights on", "Turn the lights off", Some(Difference::Opposite)),
            ("How far is 10 km?", "How far is 12 km?", Some(Difference::Number)),
            ("What is 1.5 in binary", "What is 1.6 in binary?", Some(Difference::Number)),
            ("What is the capital of France?", "What is the capital of Spain?", Some(Difference::Name)),
            ("How do I reset my password?", "How do I reset my password in Chrome?", Some(Difference::Name)),
            ("Who wrote it? Please tell", "Please tell. Who wrote it", Some(Difference::Order)),
            ("How do I reset my password?", "How can I reset my password?", None),
            ("what is the capital of france", "What is the capital of France?", None),
        ];
        for (one, other, expected) in cases {
            assert_eq!(difference(one, other), expected, "{one} / {other}");
            assert_eq!(difference(other, one), expected, "{other} / {one}");
        }
    }
}
