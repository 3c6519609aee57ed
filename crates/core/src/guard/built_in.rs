//! Patterns that many want and few write well.

use super::rule::Check;

/// Their names.
pub const NAMES: &[&str] = &["email", "credit_card", "us_ssn", "aws_access_key", "openai_key", "github_token"];

/// The fewest and the most digits of a card's number (ISO/IEC 7812).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// A pattern by its name.
pub(super) fn named(name: &str) -> Option<(&'static str, Option<Check>)> {
    Some(match name {
        // RFC 5321 bounds the part before the `@` at 64 bytes and each label at 63.
        "email" => (r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", None),
        "credit_card" => (r"\b[0-9](?:[ -]?[0-9]){12,18}\b", Some(card)),
        "us_ssn" => (r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", None),
        // The prefixes of AWS's identifiers for long-term and temporary access keys.
        "aws_access_key" => (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", None),
        "openai_key" => (r"\bsk-[A-Za-z0-9_-]{20,200}", None),
        "github_token" => (r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,100})\b", None),
        _ => return None,
    })
}

/// How much of a run of digits is a card's number: all of it, or what stands before a gap.
fn card(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let ends = (0..=bytes.len()).rev().filter(|&end| {
        let after_digit = end > 0 && bytes[end - 1].is_ascii_digit();
        after_digit && bytes.get(end).is_none_or(|next| !next.is_ascii_digit())
    });
    ends.into_iter().find(|&end| {
        let digits: Vec<u32> = text[..end].chars().filter_map(|char| char.to_digit(10)).collect();
        CARD_DIGITS.contains(&digits.len()) && luhn(&digits)
    })
}

/// The check digit of ISO/IEC 7812, annex B.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}
