//! `/v1/session`: signing in with a key or at a provider, who one is, signing out.

use super::tasks::query;
use super::{body, endpoint};
use crate::Edge;
use crate::identity::{self, Answer, Audit, Caller, Opened, SIGN_IN_LIFE};
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use tidewire_proto::Code;
use tidewire_proto::admin::{AuditEntry, SignInWays, WhoAmI};

/// The cookie of a browser that is with the provider.
const AWAY: &str = "tidewire_sign_in";

/// What a browser gets in between runs nothing, fetches nothing and stands in no frame.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Deserialize)]
struct SignIn {
    key: String,
}

#[derive(Deserialize)]
struct Begin {
    return_to: Option<String>,
}

fn who(edge: &Edge, caller: &Caller) -> WhoAmI {
    WhoAmI {
        name: caller.name.to_string(),
        tenant: edge.identity.tenant_name(caller.tenant),
        key: caller.payer.key.map(|key| key.to_string()),
        user: caller.payer.user.as_deref().map(str::to_owned),
        role: caller.role_name(),
        scopes: caller.scopes.names(),
        routes: caller.route_names(),
        expires_at: caller.expires.map(tidewire_core::Timestamp::as_millis),
    }
}

/// Whether a proxy says that it was asked over TLS.
fn is_behind_tls(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

/// A cookie that scripts can't read, and that goes over TLS alone where the browser came so.
fn cookie(name: &str, value: &str, seconds: u64, same_site: &str, over_tls: bool) -> Result<HeaderValue, Refusal> {
    let secure = if over_tls { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}");
    HeaderValue::from_str(&cookie).map_err(|_| Refusal::new(Code::Internal, "the cookie can't be written"))
}

/// The cookie of a session. Other sites' pages don't send it.
fn session_cookie(value: &str, seconds: u64, over_tls: bool) -> Result<HeaderValue, Refusal> {
    cookie(identity::COOKIE, value, seconds, "Strict", over_tls)
}

/// The cookie that binds a sign-in to its browser. `Lax`, because the provider sends the browser back with a navigation
/// from another site, with which a `Strict` one would not come. `Lax` ones come with top-level navigations alone.
fn away_cookie(value: &str, seconds: u64, over_tls: bool) -> Result<HeaderValue, Refusal> {
    cookie(AWAY, value, seconds, "Lax", over_tls)
}

const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// The address holds a code: no other site is told of it.
const NO_REFERRER: (HeaderName, HeaderValue) = (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));

async fn write_down(edge: &Edge, opened: &Opened, how: &str, from: Option<String>) {
    let role = opened.caller.role_name().map(|role| format!(", as `{role}`")).unwrap_or_default();
    let detail = Some(format!("{how}{role}"));
    let entry = AuditEntry { detail, ..endpoint::entry("signed in", from, StatusCode::OK) };
    Audit(edge).write(&opened.caller, entry).await;
}

pub(super) async fn sign_in(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let asked: SignIn = body::json(&body::read(&edge, body).await?)?;
    let opened = edge.identity.sign_in(asked.key.trim())?;
    let cookie = session_cookie(&opened.session, opened.life.as_secs(), is_behind_tls(&parts.headers))?;
    if opened.caller.is_operator() {
        write_down(&edge, &opened, "with a key", endpoint::from(&parts.extensions)).await;
    }
    Ok(([(header::SET_COOKIE, cookie), NO_STORE], Json(who(&edge, &opened.caller))).into_response())
}

pub(super) async fn session(State(edge): State<Arc<Edge>>, caller: Caller) -> Response {
    ([NO_STORE], Json(who(&edge, &caller))).into_response()
}

pub(super) async fn ways(State(edge): State<Arc<Edge>>) -> Json<SignInWays> {
    Json(edge.identity.ways())
}

pub(super) async fn sign_out(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Refusal> {
    edge.identity.sign_out(&request);
    let cookie = session_cookie("", 0, is_behind_tls(request.headers()))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Sends a browser to the provider.
pub(super) async fn away(State(edge): State<Arc<Edge>>, raw: RawQuery, headers: HeaderMap) -> Response {
    let begin = async {
        let asked: Begin = query(raw)?;
        let away = edge.identity.begin_sign_in(asked.return_to.as_deref()).await?;
        let over_tls = away.over_tls || is_behind_tls(&headers);
        let cookie = away_cookie(&away.cookie, SIGN_IN_LIFE.as_secs(), over_tls)?;
        let location = HeaderValue::from_str(&away.location)
            .map_err(|_| Refusal::new(Code::ProviderUnavailable, "the provider's address can't be written"))?;
        let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, location), NO_STORE, NO_REFERRER];
        Ok::<_, Refusal>((StatusCode::SEE_OTHER, headers).into_response())
    };
    begin.await.unwrap_or_else(|refusal| refused(&headers, refusal))
}

/// Takes a browser that comes back from the provider.
pub(super) async fn back(State(edge): State<Arc<Edge>>, raw: RawQuery, request: Request) -> Response {
    let headers = request.headers();
    let from = endpoint::from(request.extensions());
    let finish = async {
        let answer: Answer = query(raw)?;
        let back = edge.identity.finish_sign_in(identity::cookie(headers, AWAY), answer).await?;
        let over_tls = back.over_tls || is_behind_tls(headers);
        let cookie = session_cookie(&back.opened.session, back.opened.life.as_secs(), over_tls)?;
        write_down(&edge, &back.opened, "by OpenID Connect", from).await;
        let mut response = onward(&back.return_to);
        response.headers_mut().append(header::SET_COOKIE, cookie);
        Ok::<_, Refusal>(response)
    };
    let mut response = finish.await.unwrap_or_else(|refusal| refused(headers, refusal));
    // Used up, however it went.
    if let Ok(cookie) = away_cookie("", 0, is_behind_tls(headers)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A page that leads on. No redirect: that one would still be part of the provider's navigation, and the browser would not
/// send the session's `Strict` cookie with it. A page of this site that leads on begins a navigation of its own.
fn onward(path: &str) -> Response {
    let path = escaped(path);
    let head = format!("<meta http-equiv=\"refresh\" content=\"0;url={path}\">");
    page(StatusCode::OK, &head, &format!("<p>You are signed in. <a href=\"{path}\">Go on</a></p>"))
}

/// A person reads a page, a program JSON.
fn refused(headers: &HeaderMap, refusal: Refusal) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let reads_pages = accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"));
    let mut response = if reads_pages {
        let (code, message) = (escaped(&refusal.0.code), escaped(&refusal.0.message));
        let body = format!("<h1>Not signed in</h1><p>{message}</p><p><code>{code}</code></p>");
        let mut response = page(refusal.status(), "", &body);
        response.headers_mut().extend(refusal.headers());
        response
    } else {
        refusal.into_response()
    };
    response.headers_mut().extend([NO_STORE, NO_REFERRER]);
    response
}

fn page(status: StatusCode, head: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidewire</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
         {head}</head><body>{body}</body></html>"
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        NO_STORE,
        NO_REFERRER,
    ];
    (status, headers, html).into_response()
}

/// As text of a page or of an attribute's value.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
