//! Moments as RFC 3339 writes them (<https://www.rfc-editor.org/rfc/rfc3339>).

use std::time::Duration;
use tidewire_core::Timestamp;

const DAY_S: u64 = 86_400;

/// A moment from its text; `None` where it is none, or lies before 1970.
pub(in crate::transport) fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..)?)?);
    let (hour, minute, second) = (number(time.get(..2)?)?, number(time.get(3..5)?)?, number(time.get(6..8)?)?);
    let marks = [date.get(4..5)?, date.get(7..8)?, time.get(2..3)?, time.get(5..6)?] == ["-", "-", ":", ":"];
    let known = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // 60 is a leap second, which counts as the next one's beginning.
    if !marks || !known || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, zone) = fraction(time.get(8..)?)?;
    let seconds = days_before(year, month, day)? * DAY_S + hour * 3600 + minute * 60 + second;
    let local = i64::try_from(seconds).ok()?;
    let universal = u64::try_from(local.checked_sub(zone_s(zone)?)?).ok()?;
    Some(Timestamp::default().plus(Duration::from_secs(universal)).plus(Duration::from_micros(micros)))
}

/// A moment as text, to the millisecond.
pub(in crate::transport) fn show(at: Timestamp) -> String {
    let (mut days, millis) = (at.as_millis() / 1000 / DAY_S, at.as_millis() % (DAY_S * 1000));
    let mut year = 1970;
    while days >= days_in_year(year) {
        days -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", days + 1)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The microseconds, and what follows them.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let micros = format!("{:0<6}", rest.get(..digits.min(6))?);
    (digits > 0).then_some((number(&micros)?, rest.get(digits..)?))
}

/// How far ahead of universal time, in seconds.
fn zone_s(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(text.get(1..3)?)?, number(text.get(4..)?)?);
    let whole = text.len() == 6 && text.get(3..4)? == ":" && hours < 24 && minutes < 60;
    whole.then(|| i64::try_from(hours * 3600 + minutes * 60).ok()).flatten().map(|seconds| sign * seconds)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

const fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between 1970 and a date.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let years: u64 = (1970..year).map(days_in_year).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    (year >= 1970).then_some(years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_as_the_standard_writes_them() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:30:15.5Z", 951_827_415_500),
            ("2026-11-22T20:40:20+01:00", 1_795_376_420_000),
            ("2026-11-22t20:40:20.123456789-00:30", 1_795_381_820_123),
        ] {
            assert_eq!(parse(text).map(Timestamp::as_millis), Some(millis), "{text}");
        }
        for wrong in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T20:40",
            "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T20:40:20",
            "2026-11-22T20:40:20.Z",
            "2026-11-22T20:40:20+1:00",
            "1969-12-31T23:59:59Z",
            "2026-11-22T20:40:20Zé",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0..253_402_300_800_000u64) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(parse(&show(at)), Some(at));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
