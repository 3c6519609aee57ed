//! `GET /v1/lanes`: a tenant's lanes by their newest task, as a list of conversations shows them. There is no index of lanes: the
//! newest tasks are looked through.

use super::tasks::query;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use tidewire_core::port::Filter;
use tidewire_core::{Task, TaskId, TaskRef};
use tidewire_proto::Code;
use tidewire_proto::http::{LaneList, LaneView};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;

/// Tasks that are listed at once, and how often: the newest 10,000 of a tenant's lanes are looked at, some 50 ms. A lane whose
/// tasks are all older is not listed.
const TASKS_AT_ONCE: usize = 500;
const LISTS: usize = 20;

/// How much of a prompt is shown: a line.
const TITLE_CHARS: usize = 80;

#[derive(Deserialize)]
struct LanesQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    prefix: Option<String>,
}

/// What is seen of a lane, the newest task first.
struct Seen {
    view: LaneView,
    last: TaskId,
    first: TaskId,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    raw: RawQuery,
) -> Result<Json<LaneList>, Refusal> {
    let asked: LanesQuery = query(raw)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::new(Code::InvalidRequest, format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let before = asked.cursor.map(|cursor| {
        cursor
            .parse::<TaskId>()
            .map_err(|_| Refusal::new(Code::InvalidRequest, "`cursor` is the `next` of the page before"))
    });
    let before = before.transpose()?;
    // From the newest each time: a lane is told by its newest task, so those that were told before are known by it.
    let mut lanes = newest(&edge, &caller, asked.prefix.unwrap_or_default()).await?;
    lanes.retain(|seen| before.is_none_or(|before| seen.last < before));
    let more = lanes.len() > limit;
    lanes.truncate(limit);
    let next = lanes.last().filter(|_| more).map(|seen| seen.last.to_string());
    let mut views = Vec::with_capacity(lanes.len());
    for Seen { view, first, .. } in lanes {
        let task = edge.tasks.get(TaskRef { tenant: caller.tenant, task: first }).await?;
        views.push(LaneView { title: task.and_then(|task| title(&task)), ..view });
    }
    Ok(Json(LaneList { lanes: views, next }))
}

/// Lanes by their newest tasks, newest first.
async fn newest(edge: &Edge, caller: &Caller, prefix: String) -> Result<Vec<Seen>, Refusal> {
    let mut filter = Filter {
        tenant: Some(caller.tenant),
        shadows: Some(false),
        lane_prefix: Some(prefix),
        limit: TASKS_AT_ONCE,
        ..Filter::default()
    };
    let (mut lanes, mut places): (Vec<Seen>, HashMap<Arc<str>, usize>) = (Vec::new(), HashMap::new());
    for _ in 0..LISTS {
        let page = edge.tasks.list(&filter).await?;
        for task in page.tasks {
            let Some(lane) = &task.spec.turn.lane else { continue };
            if let Some(seen) = places.get(lane).and_then(|place| lanes.get_mut(*place)) {
                seen.view.tasks += 1;
                seen.first = task.id;
                continue;
            }
            places.insert(lane.clone(), lanes.len());
            let view = LaneView {
                lane: lane.to_string(),
                tasks: 1,
                last_task: task.id.to_string(),
                last_at: task.submitted_at.as_millis(),
                state: task.state.name().to_owned(),
                title: None,
            };
            lanes.push(Seen { view, last: task.id, first: task.id });
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    Ok(lanes)
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
