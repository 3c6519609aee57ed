//! `GET /v1/lanes`: a tenant's lanes by their newest task, as a list of conversations shows them; at once, or once they have changed.

use super::tag::{is_known, tag};
use super::tasks::query;
use crate::Edge;
use crate::identity::Caller;
use crate::lanes::{Lane, Waiter, look};
use crate::refusal::Refusal;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{Task, TaskId, TaskRef};
use tidewire_proto::Code;
use tidewire_proto::http::{LaneList, LaneView};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;

/// How long a request waits at most.
const MAX_WAIT_MS: u64 = 300_000;

/// Whoever waits looks no more often than this, however much happens.
const PACE: Duration = Duration::from_secs(1);

/// How much of a prompt is shown: a line.
const TITLE_CHARS: usize = 80;

#[derive(Deserialize)]
struct LanesQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    prefix: Option<String>,
    wait_ms: Option<u64>,
}

/// Which lanes are asked for.
struct Asked {
    limit: usize,
    before: Option<TaskId>,
    prefix: String,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    headers: HeaderMap,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let LanesQuery { limit, cursor, prefix, wait_ms } = query(raw)?;
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::new(Code::InvalidRequest, format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let before = cursor.map(|cursor| {
        cursor
            .parse::<TaskId>()
            .map_err(|_| Refusal::new(Code::InvalidRequest, "`cursor` is the `next` of the page before"))
    });
    let asked = Asked { limit, before: before.transpose()?, prefix: prefix.unwrap_or_default() };
    let wait = wait_ms.filter(|wait| *wait > 0 && headers.contains_key(header::IF_NONE_MATCH));
    if let Some(wait) = wait {
        let wait = Duration::from_millis(wait.min(MAX_WAIT_MS));
        return once_changed(&edge, &caller, &asked, &headers, wait).await;
    }
    let lanes = look(&edge, caller.tenant, &asked.prefix).await?;
    let page = Page::of(&edge, &caller, &asked, &lanes).await?;
    Ok(if page.is_known(&headers) { page.unchanged() } else { page.whole() })
}

/// The page once it is another than the asker has.
async fn once_changed(
    edge: &Edge,
    caller: &Caller,
    asked: &Asked,
    headers: &HeaderMap,
    wait: Duration,
) -> Result<Response, Refusal> {
    let mut waiter = Waiter::new(edge, caller.tenant);
    let (mut patience, mut end) = (edge.clock.sleep(wait), caller.end(&*edge.clock));
    loop {
        let page = if asked.prefix.is_empty() {
            Page::of(edge, caller, asked, &waiter.look(edge, caller.tenant).await?).await?
        } else {
            waiter.mark();
            Page::of(edge, caller, asked, &look(edge, caller.tenant, &asked.prefix).await?).await?
        };
        if !page.is_known(headers) {
            return Ok(page.whole());
        }
        let news = async {
            edge.clock.sleep(PACE).await;
            waiter.news().await;
        };
        tokio::select! {
            () = news => {}
            () = &mut patience => return Ok(page.unchanged()),
            () = edge.draining.cancelled() => return Ok(page.unchanged()),
            over = end.wait() => return Err(over.into()),
        }
    }
}

/// A page as it is answered.
struct Page {
    body: String,
    tag: String,
}

impl Page {
    async fn of(edge: &Edge, caller: &Caller, asked: &Asked, lanes: &[Lane]) -> Result<Self, Refusal> {
        // From the newest each time: a lane is told by its newest task, so those that were told before are known by it.
        let mut rest = lanes.iter().filter(|lane| asked.before.is_none_or(|before| lane.last < before));
        let mut views = Vec::with_capacity(asked.limit);
        let mut next = None;
        for lane in rest.by_ref().take(asked.limit) {
            let task = edge.tasks.get(TaskRef { tenant: caller.tenant, task: lane.first }).await?;
            next = Some(lane.last.to_string());
            views.push(view(lane, task.and_then(|task| title(&task))));
        }
        let next = next.filter(|_| rest.next().is_some());
        // Strings and numbers.
        let body = serde_json::to_string(&LaneList { lanes: views, next }).unwrap_or_default();
        Ok(Self { tag: tag("application/json", &body), body })
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        is_known(headers, &self.tag)
    }

    fn whole(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::ETAG, value(&self.tag)), (header::CONTENT_TYPE, kind)], self.body).into_response()
    }

    fn unchanged(self) -> Response {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, value(&self.tag))]).into_response()
    }
}

/// Letters, digits and quotes.
fn value(tag: &str) -> HeaderValue {
    HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static(""))
}

fn view(lane: &Lane, title: Option<String>) -> LaneView {
    LaneView {
        lane: lane.name.to_string(),
        tasks: lane.tasks,
        last_task: lane.last.to_string(),
        last_at: lane.last_at.as_millis(),
        state: lane.state.name().to_owned(),
        title,
    }
}

/// A chat, as far as its first question is concerned.
#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(#[serde(borrow)] Vec<Part<'a>>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// How the first thing begins that a user says in a task.
fn title(task: &Task) -> Option<String> {
    let chat: Chat<'_> = serde_json::from_slice(&task.spec.input).ok()?;
    let first = chat.messages.into_iter().find(|message| message.role == "user")?;
    let text = match first.content? {
        Content::Text(text) => text.into_owned(),
        Content::Parts(parts) => parts.into_iter().find_map(|part| part.text)?.into_owned(),
        Content::Other(_) => return None,
    };
    // One line, however many there were.
    let mut title = String::new();
    for word in text.split_whitespace() {
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
        if title.chars().count() >= TITLE_CHARS {
            break;
        }
    }
    let title: String = title.chars().take(TITLE_CHARS).collect();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::{Durability, Spec, TenantId, Timestamp};

    fn titled(input: &str) -> Option<String> {
        let spec = Spec { input: input.to_owned().into(), ..Spec::default() };
        let at = Timestamp::from_millis(1);
        title(&Task::new(TaskId::new(at, 0, Durability::Durable), TenantId::DEFAULT, spec, at))
    }

    #[test]
    fn a_title_is_how_the_first_question_begins() {
        let chat =
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"Why is\n the \"sea\" salty?"}]}"#;
        assert_eq!(titled(chat).as_deref(), Some(r#"Why is the "sea" salty?"#));
        let parts =
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{}},{"type":"text","text":"this"}]}]}"#;
        assert_eq!(titled(parts).as_deref(), Some("this"));
        let long = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "é".repeat(500));
        assert_eq!(titled(&long).map(|title| title.chars().count()), Some(80));
        for nothing in [
            "{}",
            "",
            r#"{"input":"x"}"#,
            r#"{"messages":[{"role":"user","content":null}]}"#,
            r#"{"messages":[{"role":"user","content":7}]}"#,
        ] {
            assert_eq!(titled(nothing), None, "{nothing}");
        }
    }
}
