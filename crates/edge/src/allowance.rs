//! What is left of a caller's limits, as an answer's head tells it, and as words where there is nothing left.

use crate::refusal::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tidewire_core::Money;
use tidewire_core::port::{Account, Allowance, Left, Limited, Over, ReserveError};
use tidewire_proto::Code;
use tidewire_proto::http::{AllowanceBody, LeftBody};

/// OpenAI's own clients try a refused request again by themselves, twice, after at most a minute. One that would be
/// refused again says so.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRIED_BY_CLIENTS: Duration = Duration::from_mins(1);

/// The names of one limit's headers: all there is, what is left, when all of it is back.
type Names = [HeaderName; 3];

const fn names(limit: &'static str, remaining: &'static str, reset: &'static str) -> Names {
    [HeaderName::from_static(limit), HeaderName::from_static(remaining), HeaderName::from_static(reset)]
}

/// The headers of OpenAI's API (<https://platform.openai.com/docs/guides/rate-limits>), which its clients read, and ours
/// beside where theirs has no word.
fn all() -> [Names; 5] {
    [
        names("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        names("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        names("tidewire-limit-input-tokens", "tidewire-remaining-input-tokens", "tidewire-reset-input-tokens"),
        names("tidewire-limit-output-tokens", "tidewire-remaining-output-tokens", "tidewire-reset-output-tokens"),
        names("tidewire-limit-usd", "tidewire-remaining-usd", "tidewire-reset-usd"),
    ]
}

/// What is left, as headers. Where nothing limits the caller, none.
pub(crate) fn headers(left: &Left) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if *left == Left::default() {
        return headers;
    }
    let [requests, tokens, input, output, budget] = all();
    let count = |amount: u64| HeaderValue::from(amount);
    let dollars = |nanos: u64| text(&format!("{:.6}", Money(nanos).dollars()));
    put(&mut headers, requests, left.requests, count);
    put(&mut headers, tokens, scarcer(left.input_tokens, left.output_tokens), count);
    put(&mut headers, input, left.input_tokens, count);
    put(&mut headers, output, left.output_tokens, count);
    put(&mut headers, budget, left.cost, dollars);
    headers
}

fn put(headers: &mut HeaderMap, names: Names, left: Option<Allowance>, shown: impl Fn(u64) -> HeaderValue) {
    let Some(left) = left else { return };
    let [limit, remaining, reset] = names;
    headers.insert(limit, shown(left.limit));
    headers.insert(remaining, shown(left.remaining));
    headers.insert(reset, text(&span(left.reset)));
}

/// Letters, digits and points only.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""))
}

/// The one of which a smaller part is left: OpenAI's headers know one kind of token.
fn scarcer(one: Option<Allowance>, other: Option<Allowance>) -> Option<Allowance> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    let share = |of: Allowance, against: Allowance| u128::from(of.remaining) * u128::from(against.limit);
    Some(if share(a, b) <= share(b, a) { a } else { b })
}

/// As OpenAI writes spans: `6m0s`, `1.5s`, `120ms`; rounded up to the millisecond.
fn span(span: Duration) -> String {
    let millis = span.as_micros().div_ceil(1000);
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let seconds = if millis % 1000 == 0 {
        format!("{}s", millis / 1000)
    } else {
        format!("{}.{:03}s", millis / 1000, millis % 1000)
    };
    match (minutes, millis) {
        (0, 1..1000) => format!("{millis}ms"),
        (0, _) => seconds,
        (minutes, _) if minutes >= 60 => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
        (minutes, _) => format!("{minutes}m{seconds}"),
    }
}

/// What is left, as JSON; none where nothing limits the caller.
pub(crate) fn body(left: &Left) -> Option<LeftBody> {
    let one = |left: Allowance| AllowanceBody {
        limit: left.limit,
        remaining: left.remaining,
        reset_ms: u64::try_from(left.reset.as_micros().div_ceil(1000)).unwrap_or(u64::MAX),
    };
    (*left != Left::default()).then(|| LeftBody {
        requests: left.requests.map(one),
        input_tokens: left.input_tokens.map(one),
        output_tokens: left.output_tokens.map(one),
        cost_nanousd: left.cost.map(one),
    })
}

impl From<ReserveError> for Refusal {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Over(over) => over.into(),
            ReserveError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        let code = match over.what {
            Limited::CostPerDay | Limited::CostPerMonth => Code::BudgetExceeded,
            Limited::Requests | Limited::InputTokens | Limited::OutputTokens => Code::RateLimited,
        };
        let refusal = Self::new(code, words(&over)).with_left(over.left);
        match over.retry_after {
            Some(wait) => refusal.retry_after(wait),
            None => refusal,
        }
    }
}

/// What a refusal adds to its head: a client that tries again by itself should know when that is in vain.
pub(crate) fn refusal_headers(left: &Left, retry_after: Option<Duration>) -> HeaderMap {
    let mut headers = headers(left);
    if retry_after.is_none_or(|wait| wait > RETRIED_BY_CLIENTS) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    headers
}

/// Whose limit, how much, and when.
fn words(over: &Over) -> String {
    let whose = match &over.account {
        Account::Tenant(_) => "the tenant".to_owned(),
        Account::Key(_, key) => format!("the key {key}"),
        Account::User(_, user) => format!("the user `{user}`"),
        Account::Route(route) => format!("the route `{route}`"),
    };
    let amount = |amount: u64| match over.what {
        Limited::Requests => format!("{amount} requests"),
        Limited::InputTokens => format!("{amount} input tokens"),
        Limited::OutputTokens => format!("{amount} output tokens"),
        Limited::CostPerDay | Limited::CostPerMonth => format!("${:.6}", Money(amount).dollars()),
    };
    let per = match over.what {
        Limited::CostPerDay => "a day (UTC)",
        Limited::CostPerMonth => "a month (UTC)",
        _ => "a minute",
    };
    let may = format!("{whose} may use {} {per}", amount(over.limit));
    let needs = amount(over.asked);
    match over.retry_after {
        Some(wait) => {
            let left = amount(over.remaining);
            format!("{may}; {left} are left and this needs {needs}: try again in {}", span(wait))
        }
        None => {
            format!("{may}, and this needs {needs}: ask for less (`max_tokens`, a shorter input), or raise the limit")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::TenantId;

    const fn allowance(limit: u64, remaining: u64) -> Allowance {
        Allowance { limit, remaining, reset: Duration::from_millis(90_500) }
    }

    #[test]
    fn headers_tell_of_each_limit_and_of_the_scarcer_tokens() {
        let left = Left {
            requests: Some(allowance(60, 59)),
            input_tokens: Some(allowance(1000, 900)),
            output_tokens: Some(allowance(100, 10)),
            cost: Some(allowance(5_000_000_000, 1_250_000_000)),
        };
        let headers = headers(&left);
        let get = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            (get("x-ratelimit-limit-requests"), get("x-ratelimit-remaining-requests")),
            ("60".into(), "59".into())
        );
        assert_eq!(get("x-ratelimit-reset-requests"), "1m30.500s");
        assert_eq!(get("x-ratelimit-remaining-tokens"), "10");
        assert_eq!(get("tidewire-remaining-input-tokens"), "900");
        assert_eq!((get("tidewire-limit-usd"), get("tidewire-remaining-usd")), ("5.000000".into(), "1.250000".into()));
        assert!(super::headers(&Left::default()).is_empty());
        let only = Left { input_tokens: Some(allowance(5, 1)), ..Left::default() };
        assert_eq!(super::headers(&only).len(), 6, "{only:?}");
    }

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        let written = |millis| span(Duration::from_millis(millis));
        assert_eq!(
            [0, 120, 1000, 1500, 360_000, 86_400_000].map(written),
            ["0s", "120ms", "1s", "1.500s", "6m0s", "24h0m0s"]
        );
    }

    #[test]
    fn a_refusal_says_whose_limit_how_much_and_when() {
        let over = |what, retry_after| Over {
            account: Account::Tenant(TenantId(1)),
            what,
            limit: 20,
            asked: 1,
            remaining: 0,
            retry_after,
            left: Left::default(),
        };
        let rate = Refusal::from(over(Limited::Requests, Some(Duration::from_secs(3))));
        assert_eq!((rate.0.code.as_str(), rate.0.retry_after_ms), ("rate_limited", Some(3000)));
        assert_eq!(
            rate.0.message,
            "the tenant may use 20 requests a minute; 0 requests are left and this needs 1 requests: try again in 3s"
        );
        assert_eq!(rate.headers().get(SHOULD_RETRY), None);
        let never = Refusal::from(over(Limited::CostPerDay, None));
        assert_eq!((never.0.code.as_str(), never.status().as_u16()), ("budget_exceeded", 429));
        assert_eq!(never.headers()[SHOULD_RETRY], "false");
    }
}
