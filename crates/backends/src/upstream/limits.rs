//! What an upstream tells of its own limits, in the headers of its answers.

use http::HeaderMap;
use http::header::{DATE, HeaderName};
use std::time::{Duration, UNIX_EPOCH};
use tidewire_core::port::{Counted, UpstreamLimit};

/// The headers of one limit.
struct Names {
    of: Counted,
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
    /// How the time of its reset is written.
    written: fn(&str, &HeaderMap) -> Option<Duration>,
}

macro_rules! names {
    ($of:ident, $limit:literal, $remaining:literal, $reset:literal, $written:ident) => {
        Names {
            of: Counted::$of,
            limit: HeaderName::from_static($limit),
            remaining: HeaderName::from_static($remaining),
            reset: HeaderName::from_static($reset),
            written: $written,
        }
    };
}

/// OpenAI's names, which Azure, Groq and most compatible servers have too, then Anthropic's. Of Anthropic's counts of
/// tokens this is the one that is nearest to its end.
static NAMES: [Names; 4] = [
    names!(
        Requests,
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        from_now
    ),
    names!(Tokens, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", from_now),
    names!(
        Requests,
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
        at_date
    ),
    names!(
        Tokens,
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
        at_date
    ),
];

/// All that the headers tell. A number that can't be read is left out.
pub(super) fn read(headers: &HeaderMap) -> Vec<UpstreamLimit> {
    let mut limits = Vec::new();
    for names in &NAMES {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        // A negative one is an upstream's way to say that more was used than there is.
        let count = |text: &str| text.parse::<i64>().ok().map(|count| count.max(0).unsigned_abs());
        let Some(remaining) = text(&names.remaining).and_then(count) else { continue };
        limits.push(UpstreamLimit {
            of: names.of,
            limit: text(&names.limit).and_then(count),
            remaining,
            reset: text(&names.reset).and_then(|text| (names.written)(text, headers)),
        });
    }
    limits
}

/// `1s`, `6m0s`, `20ms`, `2m59.56s`; a bare number is seconds.
fn from_now(text: &str, _: &HeaderMap) -> Option<Duration> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|char: char| !char.is_ascii_digit() && char != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|char: char| char.is_ascii_digit()).unwrap_or(tail.len()));
        let unit_seconds = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum = sum.checked_add(seconds(number.parse::<f64>().ok()? * unit_seconds)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

/// RFC 3339, counted from the upstream's own now: its clock and ours need not agree.
fn at_date(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let now_seconds = i64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let wait_seconds = rfc_3339(text)? - now_seconds;
    Some(Duration::from_secs(wait_seconds.max(0).unsigned_abs()))
}

/// Seconds since 1970 of `2026-11-22T10:00:00Z`, fractions dropped. Offsets other than `Z` are read too.
fn rfc_3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_at_checked(10)?;
    let number = |text: Option<&str>| text.filter(|text| text.len() <= 4).and_then(|text| text.parse::<i64>().ok());
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
    let (clock, zone) = time.get(1..)?.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
    let sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && [(hours, 24), (minutes, 60), (seconds, 61)].iter().all(|(value, end)| (0..*end).contains(value));
    if !sane {
        return None;
    }
    let zone = zone.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    let offset_minutes = match zone.as_bytes().first()? {
        b'Z' | b'z' if zone.len() == 1 => 0,
        sign @ (b'+' | b'-') => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = number(Some(hours))? * 60 + number(Some(minutes))?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(days(year, month, day) * 86_400 + (hours * 60 + minutes - offset_minutes) * 60 + seconds)
}

/// Days since 1970-01-01 of a date of our calendar, by the count of days in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE_1970: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn waits_are_read_as_they_are_written() {
        let wait = |text| from_now(text, &HeaderMap::new()).map(|wait| wait.as_micros());
        assert_eq!(wait("1s"), Some(1_000_000));
        assert_eq!(wait("6m0s"), Some(360_000_000));
        assert_eq!(wait("20ms"), Some(20_000));
        assert_eq!(wait("2m59.56s"), Some(179_560_000));
        assert_eq!(wait("1h0m0.5s"), Some(3_600_500_000));
        assert_eq!(wait("7"), Some(7_000_000));
        assert_eq!(wait("0.5"), Some(500_000));
        for unreadable in ["", "s", "1", "1x", "-1s", "1.2.3s", "1s2", "1e400s", "99999999999999999999d", "µ"] {
            let wait = wait(unreadable);
            assert!(wait.is_none() || unreadable == "1", "{unreadable}: {wait:?}");
        }
    }

    #[test]
    fn a_date_counts_from_the_upstreams_now() {
        let now = headers(&[("date", "Sun, 22 Nov 2026 10:00:00 GMT")]);
        let wait = |text| at_date(text, &now).map(|wait| wait.as_secs());
        assert_eq!(wait("2026-11-22T10:00:30Z"), Some(30));
        assert_eq!(wait("2026-11-22T10:00:30.123Z"), Some(30));
        assert_eq!(wait("2026-11-22T11:01:00+01:00"), Some(60));
        assert_eq!(wait("2027-01-01T00:00:00Z"), Some(39 * 86_400 + 14 * 3600));
        assert_eq!(wait("2026-11-22T09:00:00Z"), Some(0));
        for unreadable in ["", "soon", "2026-13-01T00:00:00Z", "2026-11-22T10:00:30", "2026-11-22T1é:00:30Z"] {
            assert_eq!(wait(unreadable), None, "{unreadable}");
        }
        assert_eq!(at_date("2026-11-22T10:00:30Z", &HeaderMap::new()), None);
        assert_eq!(rfc_3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc_3339("2000-02-29T12:00:00Z"), Some(951_825_600));
    }

    #[test]
    fn each_providers_names_are_known() {
        let told = read(&headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "-5"),
            ("x-ratelimit-limit-tokens", "a lot"),
        ]));
        let (requests, tokens) = (Counted::Requests, Counted::Tokens);
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            told,
            [
                UpstreamLimit { of: requests, limit: Some(60), remaining: 59, reset: wait(1) },
                UpstreamLimit { of: tokens, limit: None, remaining: 0, reset: None },
            ]
        );
        let told = read(&headers(&[
            ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "80000"),
            ("anthropic-ratelimit-tokens-remaining", "79000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-22T10:00:02Z"),
        ]));
        assert_eq!(
            told,
            [
                UpstreamLimit { of: requests, limit: Some(50), remaining: 49, reset: wait(1) },
                UpstreamLimit { of: tokens, limit: Some(80_000), remaining: 79_000, reset: wait(2) },
            ]
        );
        assert_eq!(read(&HeaderMap::new()), []);
    }
}
