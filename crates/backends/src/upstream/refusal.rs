//! What an upstream's error means for us. Its forms differ from server to server; they are listed at `Told::parse`.

use super::limits;
use super::secret::Secret;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault};

/// How much of an upstream's own message is passed on: enough for every one known, short enough for a log line.
const MAX_MESSAGE_CHARS: usize = 400;

/// An answer with another status than 200.
pub(super) fn by_status(status: StatusCode, headers: &HeaderMap, body: &[u8], secret: &Secret) -> BackendError {
    let told = serde_json::from_slice(body).map_or_else(|_| Told::plain(body), |body| Told::parse(&body));
    let fault = told.fault_by_name().unwrap_or_else(|| fault_by_status(status.as_u16()));
    let message = match &told.message {
        Some(message) => format!("the upstream answered {status}: {}", presentable(message, secret)),
        None => format!("the upstream answered {status}"),
    };
    BackendError {
        fault,
        message,
        retry_after: retry_after(headers).or(told.retry_after),
        status: Some(status.as_u16()),
        limits: limits::read(headers),
    }
}

/// An error in an answer that began with status 200: the text of an event, or of a whole body.
pub(super) fn in_band(body: &[u8], secret: &Secret) -> BackendError {
    let told = serde_json::from_slice(body).map(|body| Told::parse(&body)).unwrap_or_default();
    let by_code = || told.status.map(fault_by_status);
    let fault = told.fault_by_name().or_else(by_code).or_else(|| told.fault_by_family()).unwrap_or(Fault::Broken);
    let message = match &told.message {
        Some(message) => format!("the upstream broke off with an error: {}", presentable(message, secret)),
        None => "the upstream broke off with an error".to_owned(),
    };
    BackendError { fault, message, retry_after: told.retry_after, status: told.status, limits: Vec::new() }
}

/// What an upstream told of its error.
#[derive(Default)]
struct Told {
    message: Option<String>,
    code: String,
    kind: String,
    param: String,
    /// A code that is a number is an HTTP status.
    status: Option<u16>,
    /// Google tells in the body when to come again.
    retry_after: Option<Duration>,
}

impl Told {
    /// `{"error": {...}}` is OpenAI's form, and that of most; `[{"error": {...}}]` Google's; `{"error": "..."}` that
    /// of TGI and Ollama; `{"object": "error", "message": ...}` that of older vLLM and of Mistral; `{"detail": ...}`
    /// that of a bare FastAPI.
    fn parse(body: &Value) -> Self {
        let body = body.get(0).unwrap_or(body);
        let error = match body.get("error") {
            Some(Value::String(message)) => return Self { message: Some(message.clone()), ..Self::default() },
            Some(error) if error.is_object() => error,
            _ => body,
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let code = error.get("code");
        let number = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
        let message = error.get("message").or_else(|| error.get("detail")).map(|message| match message {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        });
        Self {
            message: message.filter(|message| !message.is_empty()),
            code: google_reason(error).unwrap_or(text("code")).to_owned(),
            // Google calls `status` what others call `type`.
            kind: if text("type").is_empty() { text("status") } else { text("type") }.to_owned(),
            param: text("param").to_owned(),
            status: number.and_then(|number| u16::try_from(number).ok()).filter(|status| (400..600).contains(status)),
            retry_after: google_delay(error),
        }
    }

    /// A body that is no JSON: what a proxy in front of the upstream says. A page of HTML helps nobody.
    fn plain(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let message = (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned());
        Self { message, ..Self::default() }
    }

    /// Names that mean one thing, whatever the status.
    fn fault_by_name(&self) -> Option<Fault> {
        match (self.code.as_str(), self.kind.as_str()) {
            ("context_length_exceeded", _) | (_, "exceed_context_size_error" | "context_length_exceeded") => {
                Some(Fault::ContextTooLong)
            }
            // Azure's deployments are its models.
            ("model_not_found" | "DeploymentNotFound", _) | (_, "model_not_found") => Some(Fault::UnknownModel),
            // Google says 400 to a wrong key, and to an account or a country that it does not serve.
            ("API_KEY_INVALID", _) | (_, "FAILED_PRECONDITION") => Some(Fault::Unauthorized),
            // Anthropic and Google have no name for it, only these sentences.
            (_, "invalid_request_error" | "INVALID_ARGUMENT") if self.says_too_long() => Some(Fault::ContextTooLong),
            // vLLM has no name for it: newer ones mark the parameter, and older ones only say this sentence.
            (_, "BadRequestError")
                if self.param == "input_tokens"
                    || self.message.as_ref().is_some_and(|message| message.contains("maximum context length is")) =>
            {
                Some(Fault::ContextTooLong)
            }
            _ => None,
        }
    }

    fn says_too_long(&self) -> bool {
        const SENTENCES: [&str; 3] = [
            "prompt is too long",
            "input length and `max_tokens` exceed context limit",
            "exceeds the maximum number of tokens allowed",
        ];
        self.message.as_ref().is_some_and(|message| SENTENCES.iter().any(|sentence| message.contains(sentence)))
    }

    /// Names of whole families of errors, which only count where there is no status.
    fn fault_by_family(&self) -> Option<Fault> {
        let family = |name: &str| match name {
            "invalid_request_error" | "request_too_large" | "INVALID_ARGUMENT" => Some(Fault::InvalidRequest),
            "authentication_error"
            | "permission_error"
            | "billing_error"
            | "invalid_api_key"
            | "PERMISSION_DENIED"
            | "UNAUTHENTICATED" => Some(Fault::Unauthorized),
            "not_found_error" | "NOT_FOUND" => Some(Fault::UnknownModel),
            "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "RESOURCE_EXHAUSTED" => {
                Some(Fault::RateLimited)
            }
            "server_error" | "api_error" | "overloaded_error" | "unavailable_error" | "UNAVAILABLE" | "INTERNAL" => {
                Some(Fault::Overloaded)
            }
            "timeout" | "timeout_error" | "DEADLINE_EXCEEDED" => Some(Fault::TimedOut),
            _ => None,
        };
        family(&self.code).or_else(|| family(&self.kind))
    }
}

/// The detail of a Google error with this type.
fn google_detail<'a>(error: &'a Value, kind: &str) -> Option<&'a Value> {
    let details = error.get("details")?.as_array()?;
    details.iter().find(|detail| detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with(kind)))
}

/// Why, in one word: `API_KEY_INVALID`.
fn google_reason(error: &Value) -> Option<&str> {
    google_detail(error, "google.rpc.ErrorInfo")?.get("reason")?.as_str()
}

/// When to come again, written as `34.07s`.
fn google_delay(error: &Value) -> Option<Duration> {
    let delay = google_detail(error, "google.rpc.RetryInfo")?.get("retryDelay")?.as_str()?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

fn fault_by_status(status: u16) -> Fault {
    match status {
        // 402: nothing left on the account, which only its owner can change.
        401..=403 => Fault::Unauthorized,
        // The path is the same for every request, so it is the model that was not found.
        404 => Fault::UnknownModel,
        408 | 504 => Fault::TimedOut,
        429 => Fault::RateLimited,
        409 | 425 => Fault::Overloaded,
        // 501: the upstream knows what was asked for, and can't do it.
        400..=499 | 501 => Fault::InvalidRequest,
        500..=599 => Fault::Overloaded,
        // A redirect, or a success that is no answer.
        _ => Fault::Broken,
    }
}

/// One line, bounded, without the key.
fn presentable(message: &str, secret: &Secret) -> String {
    // The key goes before the cut, which could leave a half of it.
    let message = secret.redact(message);
    let one_line = |char: char| if char.is_control() { ' ' } else { char };
    let mut bounded: String = message.trim().chars().take(MAX_MESSAGE_CHARS).map(one_line).collect();
    if message.trim().chars().nth(MAX_MESSAGE_CHARS).is_some() {
        bounded.push('…');
    }
    bounded
}

/// When to come again: `retry-after-ms` (OpenAI's, in milliseconds), or `retry-after` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let milliseconds = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    if let Some(wait) = milliseconds.and_then(|milliseconds| seconds(milliseconds / 1000.0)) {
        return Some(wait);
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(number) = after.parse() {
        return seconds(number);
    }
    // A date counts from the upstream's own now: its clock and ours need not agree.
    let date = httpdate::parse_http_date(after).ok()?;
    let now = httpdate::parse_http_date(text(DATE.as_str())?).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_wait_is_read_in_each_of_its_forms() {
        let wait = |pairs: &[_]| retry_after(&headers(pairs)).map(|wait| wait.as_millis());
        assert_eq!(wait(&[("retry-after", "7")]), Some(7000));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(250));
        assert_eq!(wait(&[("retry-after-ms", "1500.5"), ("retry-after", "2")]), Some(1500));
        let (date, later) = ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:30 GMT");
        assert_eq!(wait(&[("retry-after", later), ("date", date)]), Some(30_000));
        assert_eq!(wait(&[("retry-after", date), ("date", later)]), Some(0));
        for unreadable in ["", "soon", "-1", "NaN", "1e400", later] {
            assert_eq!(wait(&[("retry-after", unreadable)]), None, "{unreadable}");
        }
    }

    #[test]
    fn every_form_of_an_error_gives_its_message() {
        let error =
            |body: &str| by_status(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes(), &Secret::new(None));
        for body in [
            r#"{"error":{"message":"no good","type":"t","param":null,"code":null}}"#,
            r#"[{"error":{"code":400,"message":"no good","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"error":"no good"}"#,
            r#"{"object":"error","message":"no good","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"detail":"no good"}"#,
            "no\ngood",
        ] {
            assert_eq!(error(body).message, "the upstream answered 400 Bad Request: no good", "{body}");
            assert_eq!(error(body).fault, Fault::InvalidRequest, "{body}");
        }
        for body in ["", "<html>no good</html>", "{}", "[]", "null"] {
            assert_eq!(error(body).message, "the upstream answered 400 Bad Request", "{body}");
        }
        assert!(error(r#"{"detail":[{"loc":["body"],"msg":"no good"}]}"#).message.contains("no good"));
        assert!(error(&"é".repeat(10_000)).message.len() < 1000);
    }

    #[test]
    fn an_error_in_the_answer_is_told_by_name_or_number() {
        let fault = |body: &str| in_band(body.as_bytes(), &Secret::new(None)).fault;
        assert_eq!(fault(r#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#), Fault::InvalidRequest);
        assert_eq!(fault(r#"{"error":{"message":"m","code":"429"}}"#), Fault::RateLimited);
        assert_eq!(fault(r#"{"error":{"message":"m","type":"server_error","code":null}}"#), Fault::Overloaded);
        assert_eq!(fault(r#"{"error":{"code":500,"type":"exceed_context_size_error"}}"#), Fault::ContextTooLong);
        assert_eq!(fault(r#"{"error":{"message":"m","type":"invalid_request_error"}}"#), Fault::InvalidRequest);
        assert_eq!(fault(r#"{"error":"what"}"#), Fault::Broken);
        assert_eq!(fault("what"), Fault::Broken);
    }
}
