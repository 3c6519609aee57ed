//! Keeps other sites' pages out. Where there is no key whoever reaches the server may use it, so a page that a
//! person happens to visit must not: neither directly (`Origin`) nor by rebinding its name to loopback (`Host`).

use super::request_id::{self, RequestId};
use crate::refusal::Refusal;
use crate::{Access, Edge};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use tidewire_proto::Code;
use tracing::Instrument;

/// Below this there are results for everybody.
const PUBLIC: &str = "/v1/public/";

/// What a page of another origin may read of an answer's headers.
const EXPOSED: &str = "traceresponse, x-request-id, tidewire-task, tidewire-epoch, tidewire-state, tidewire-sha256, retry-after, x-should-retry, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
    x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
    tidewire-limit-input-tokens, tidewire-remaining-input-tokens, tidewire-reset-input-tokens, \
    tidewire-limit-output-tokens, tidewire-remaining-output-tokens, tidewire-reset-output-tokens, \
    tidewire-limit-usd, tidewire-remaining-usd, tidewire-reset-usd, etag, location, \
    stream-next-offset, stream-up-to-date, stream-closed, stream-cursor, stream-ttl, stream-expires-at, \
    stream-sse-data-encoding, producer-epoch, producer-seq, producer-expected-seq, producer-received-seq";

/// Names a request, and lets it through or refuses it.
pub(super) async fn check(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers(), &*edge.clock);
    let (began, method, path) = (edge.clock.monotonic(), request.method().clone(), request.uri().clone());
    let answering = async {
        let response = answer(&edge, request, next).await;
        // The path alone: what follows it may be a ticket.
        let took_ms = edge.clock.monotonic().saturating_sub(began).as_millis();
        tracing::debug!(%method, path = path.path(), status = response.status().as_u16(), took_ms, "answered");
        response
    };
    let mut response = answering.instrument(id.span()).await;
    response.headers_mut().insert(request_id::HEADER, id.header());
    keep_private(response.headers_mut());
    response
}

/// No cache that many share may keep what is not public, whatever an endpoint says or forgets to say.
fn keep_private(headers: &mut HeaderMap) {
    let said = headers.get(header::CACHE_CONTROL).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let is = |word: &str| said.split(',').any(|part| part.trim() == word);
    if is("public") || is("private") {
        return;
    }
    // Of other words only that of a stream's events has more to say.
    let value = if is("no-cache") { "private, no-cache, no-store" } else { "private, no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
}

/// Lets a request through, or refuses it; answers preflights.
async fn answer(edge: &Edge, request: Request, next: Next) -> Response {
    // What anybody may read, any page may, under whatever name a cache in front has. One answer for all, so that a cache
    // need not keep one for each.
    if request.uri().path().starts_with(PUBLIC) && matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = next.run(request).await;
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return response;
    }
    let any_host = || edge.identity.needs_key();
    let origin = match admitted(&edge.access, request.headers(), request.uri().host(), any_host) {
        Ok(origin) => origin,
        Err(refusal) => return refusal.into_response(),
    };
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if preflight => preflight_answer(request.headers()),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

fn preflight_answer(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The foreign origin that the answer must name, if there is one and it is allowed.
/// Under which name the server is addressed matters only while no key is needed: a page that rebinds its name has none.
fn admitted(
    access: &Access,
    headers: &HeaderMap,
    uri_host: Option<&str>,
    any_host: impl FnOnce() -> bool,
) -> Result<Option<HeaderValue>, Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri_host).unwrap_or_default();
    if !is_known_host(access, host) && !any_host() {
        return Err(Refusal::new(
            Code::OriginNotAllowed,
            format!("the server does not answer to the name `{host}`; the operator can add it to `access.hosts`"),
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
    let text = origin.to_str().unwrap_or_default();
    let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) == Some(host);
    if own {
        return Ok(None);
    }
    if access.allowed_origins.iter().any(|allowed| allowed == text) {
        return Ok(Some(origin.clone()));
    }
    Err(Refusal::new(
        Code::OriginNotAllowed,
        format!("pages of `{text}` may not use this server; the operator can add it to `access.origins`"),
    ))
}

fn is_known_host(access: &Access, host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback =
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || access.allowed_hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &'static str, origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_own_and_allowed_pages_may_ask() {
        let access =
            Access { allowed_origins: vec!["https://app.example".into()], allowed_hosts: vec!["tide.example".into()] };
        let ask = |host, origin| admitted(&access, &headers(host, origin), None, || false);
        assert_eq!(ask("127.0.0.1:8080", None).unwrap(), None);
        assert_eq!(ask("[::1]:8080", None).unwrap(), None);
        assert_eq!(ask("localhost:8080", Some("http://localhost:8080")).unwrap(), None);
        assert_eq!(ask("tide.example", None).unwrap(), None);
        assert!(ask("localhost:8080", Some("https://app.example")).unwrap().is_some());
        assert!(ask("localhost:8080", Some("https://evil.example")).is_err());
        assert!(ask("localhost:8080", Some("http://localhost:9999")).is_err(), "another port is another site");
        assert!(ask("localhost:8080", Some("null")).is_err());
        assert!(ask("evil.example:8080", None).is_err(), "a rebound name");
        assert!(ask("evil.example:8080", Some("http://evil.example:8080")).is_err(), "a rebound name");
    }
}
