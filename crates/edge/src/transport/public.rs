//! `/v1/public/{id}`: a finished answer for anybody, with all that an HTTP cache needs to keep it (RFC 9111, RFC 5861); and
//! what makes a result public or not.

use super::tag::{is_known, tag};
use super::tasks::find;
use crate::Edge;
use crate::identity::Caller;
use crate::public::{self, Caching, Eviction, keys, path};
use crate::refusal::Refusal;
use crate::submit::wait_ms;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use tidewire_core::trace::each_event;
use tidewire_core::{Kind, Task, TaskId};
use tidewire_proto::Code;
use tidewire_proto::public::{Published, Purge, Purged};

/// What Fastly and Varnish go by, and what Cloudflare does.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// When to ask again for an answer that is not there yet, at the latest.
const MAX_RETRY_S: u64 = 30;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// The id and the form that a path names, and whether the form was left to `Accept`.
fn asked(name: &str, headers: &HeaderMap) -> (String, Form, bool) {
    for (suffix, form) in [(".txt", Form::Text), (".json", Form::Json)] {
        if let Some(id) = name.strip_suffix(suffix) {
            return (id.to_owned(), form, false);
        }
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    // The one that is named first, as every client that wants JSON writes it; `*/*` gets text.
    let at = |kind: &str| accept.find(kind).unwrap_or(usize::MAX);
    let form = if at("application/json") < at("text/") { Form::Json } else { Form::Text };
    (name.to_owned(), form, true)
}

pub(super) async fn get(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (id, form, varies) = asked(&name, &headers);
    let unknown = || Refusal::new(Code::UnknownTask, "there is no such public result");
    let task: TaskId = id.parse().map_err(|_| unknown())?;
    let at = public::find(&edge, task).await?.ok_or_else(unknown)?;
    let task = edge.tasks.get(at).await?.ok_or_else(unknown)?;
    if !task.state.is_ended() {
        return Ok(unfinished(&edge, &task));
    }
    // Why there is none is not for everybody.
    if task.state != tidewire_core::State::Done {
        return Err(unknown());
    }
    let mut text = String::new();
    let read = each_event(&*edge.log, at.log(), |event| match event.kind {
        Kind::Text => text.push_str(&String::from_utf8_lossy(&event.data)),
        Kind::Rewind => text.clear(),
        _ => {}
    });
    read.await?;
    Ok(finished(&edge, &task, text, (form, varies), &headers))
}

/// Not there yet: nothing that a cache may keep.
fn unfinished(edge: &Edge, task: &Task) -> Response {
    let wait = edge.queue.standing(task.at()).and_then(|standing| wait_ms(&standing));
    let seconds = wait.map_or(1, |millis| millis.div_ceil(1000)).clamp(1, MAX_RETRY_S);
    let body = json!({ "id": task.id.to_string(), "state": task.state.name() });
    (StatusCode::ACCEPTED, [(header::RETRY_AFTER, HeaderValue::from(seconds))], Json(body)).into_response()
}

fn finished(edge: &Edge, task: &Task, text: String, (form, varies): (Form, bool), asked: &HeaderMap) -> Response {
    let (kind, body) = match form {
        Form::Text => ("text/plain; charset=utf-8", text),
        Form::Json => ("application/json", whole(task, &text)),
    };
    let tag = tag(kind, &body);
    let keys = keys(task);
    let plan = edge.catalog.plan();
    let times = plan.route(&task.spec.capability).map(|route| route.public).unwrap_or_default();
    let mut headers = HeaderMap::new();
    // Letters, digits, dashes and spaces.
    let value = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    headers.insert(header::CACHE_CONTROL, value(cache_control(edge.public.caching.but(times))));
    headers.insert(SURROGATE_KEY, value(keys.join(" ")));
    headers.insert(CACHE_TAG, value(keys.join(",")));
    if varies {
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
    }
    let is_known = is_known(asked, &tag);
    headers.insert(header::ETAG, value(tag));
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    (headers, body).into_response()
}

/// What everybody may know of a result; not what it cost, nor for whom it was made.
fn whole(task: &Task, text: &str) -> String {
    let ended = task.ended.as_ref();
    let mut body = json!({
        "id": task.id.to_string(),
        "model": task.spec.model,
        "text": text,
        "ended_at": ended.map(|(at, _)| at.as_millis()),
    });
    if let Some(reason) = ended.and_then(|(_, ending)| ending.finish_reason.clone()) {
        body["finish_reason"] = reason.into();
    }
    body.to_string()
}

fn cache_control(caching: Caching) -> String {
    let Caching { max_age, shared_max_age, stale_while_revalidate, stale_if_error } = caching;
    format!(
        "public, max-age={}, s-maxage={}, stale-while-revalidate={}, stale-if-error={}",
        max_age.as_secs(),
        shared_max_age.as_secs(),
        stale_while_revalidate.as_secs(),
        stale_if_error.as_secs()
    )
}

pub(super) async fn publish(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Published>, Refusal> {
    let task = find(&edge, &caller, &id).await?;
    public::publish(&edge, task.at()).await?;
    Ok(Json(Published { id, public: true, url: Some(path(task.id)), evicted: Vec::new() }))
}

pub(super) async fn unpublish(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Published>, Refusal> {
    let task = find(&edge, &caller, &id).await?;
    let evicted = public::unpublish(&edge, task.at()).await?;
    Ok(Json(Published { id, public: false, url: None, evicted }))
}

/// Lets the caches in front forget a task's result, or all that has a key.
pub(super) async fn purge(State(edge): State<Arc<Edge>>, request: Request) -> Result<Json<Purged>, Refusal> {
    let bytes = super::body::read(&edge, request.into_body()).await?;
    let asked: Purge = super::body::json(&bytes)?;
    let wrong = |message: &str| Err(Refusal::new(Code::InvalidRequest, message));
    let evicted = match (asked.task, asked.key) {
        (Some(task), None) => match task.parse() {
            Ok(task) => public::evict(&edge, task).await,
            Err(_) => return Err(Refusal::unknown_task(&task)),
        },
        (None, Some(key)) if is_key(&key) => edge.public.caches.evict(Eviction { paths: Vec::new(), key }).await,
        (None, Some(_)) => return wrong("`key` is one of those in a result's `Surrogate-Key`"),
        _ => return wrong("give either `task` or `key`"),
    };
    Ok(Json(Purged { evicted }))
}

/// Only what we give out: it goes into a header, and in some caches into a pattern.
fn is_key(key: &str) -> bool {
    let hash = ["task-", "tenant-", "route-"].iter().find_map(|kind| key.strip_prefix(kind));
    hash.is_some_and(|hash| {
        hash.len() == tidewire_proto::public::KEY_BYTES && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_wins_over_what_is_accepted_and_without_both_it_is_text() {
        let form = |name: &str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            asked(name, &headers)
        };
        assert_eq!(form("a.txt", "application/json"), ("a".to_owned(), Form::Text, false));
        assert_eq!(form("a.json", "*/*"), ("a".to_owned(), Form::Json, false));
        assert_eq!(form("a", "application/json, text/plain, */*"), ("a".to_owned(), Form::Json, true));
        assert_eq!(form("a", "text/html,application/json;q=0.1"), ("a".to_owned(), Form::Text, true));
        assert_eq!(form("a", "*/*"), ("a".to_owned(), Form::Text, true));
    }

    #[test]
    fn a_tag_is_of_the_form_too() {
        assert_ne!(tag("text/plain", "1"), tag("application/json", "1"));
        assert_eq!(tag("text/plain", "1"), tag("text/plain", "1"));
    }
}
