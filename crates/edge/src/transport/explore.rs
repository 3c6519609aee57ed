//! `GET /v1/tasks` and `GET /v1/dead-letters`: tasks by what is known of them, one's own, and for operators another tenant's.

use super::tasks::{DEFAULT_PAGE, MAX_PAGE, others_text, parse_id, query};
use super::view::{seen_by, whole};
use super::whose::whose;
use crate::Edge;
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Deserialize;
use std::sync::Arc;
use tidewire_core::port::{Filter, TaskPage};
use tidewire_core::{TaskId, Timestamp};
use tidewire_proto::Code;
use tidewire_proto::http::TaskList;

/// Tasks of a page that has their inputs too: each may be as large as a request.
const MAX_INPUTS: usize = 20;

/// The longest part of an id that is looked for: a whole one.
const MAX_ID_BYTES: usize = 31;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    state: Option<String>,
    model: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    parent: Option<String>,
    batch: Option<String>,
    lane: Option<String>,
    code: Option<String>,
    shadows: Option<bool>,
    tenant: Option<String>,
    since: Option<u64>,
    until: Option<u64>,
    user: Option<String>,
    key: Option<String>,
    q: Option<String>,
    input: Option<bool>,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    raw: RawQuery,
) -> Result<Json<TaskList>, Refusal> {
    page(&edge, &caller, query(raw)?, false).await
}

/// Tasks that failed and were not tried again.
pub(super) async fn dead_letters(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    raw: RawQuery,
) -> Result<Json<TaskList>, Refusal> {
    let asked: ListQuery = query(raw)?;
    if asked.state.is_some() {
        return Err(invalid("a dead letter's `state` is `failed`: leave it out"));
    }
    page(&edge, &caller, asked, true).await
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

/// A moment of a query.
pub(super) fn moment(millis: Option<u64>) -> Option<Timestamp> {
    millis.map(Timestamp::from_millis)
}

async fn page(edge: &Edge, caller: &Caller, asked: ListQuery, dead: bool) -> Result<Json<TaskList>, Refusal> {
    let inputs = asked.input == Some(true);
    let exact = asked.q.as_deref().and_then(|q| q.parse::<TaskId>().ok());
    let mut filter = filter(edge, caller, asked, dead)?;
    if let (Some(task), None, None) = (exact, filter.tenant, filter.before) {
        // Ids sort by age, so that the look begins at the one that is asked for.
        filter.before = Some(task.next());
    }
    if inputs && filter.tenant != Some(caller.tenant) {
        return Err(others_text());
    }
    let page = match (exact, filter.tenant) {
        (Some(task), Some(tenant)) => {
            let found = edge.tasks.get(tidewire_core::TaskRef { tenant, task }).await?;
            TaskPage { tasks: found.filter(|task| filter.matches(task)).into_iter().collect(), next: None }
        }
        _ => edge.tasks.list(&filter).await?,
    };
    let mut tasks = Vec::with_capacity(page.tasks.len());
    for task in &page.tasks {
        if inputs {
            // A list leaves inputs out. One that has expired meanwhile is no more.
            tasks.extend(edge.tasks.get(task.at()).await?.map(|task| whole(edge, &task)));
        } else {
            tasks.push(seen_by(edge, caller, task));
        }
    }
    Ok(Json(TaskList { tasks, next: page.next.map(|id| id.to_string()) }))
}

fn filter(edge: &Edge, caller: &Caller, asked: ListQuery, dead: bool) -> Result<Filter, Refusal> {
    let states = asked.state.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(|text| {
        tidewire_core::State::parse(text)
            .ok_or_else(|| invalid(format!("`{text}` is no state; there are queued, running, done, failed, stopped")))
    });
    let before =
        asked.cursor.map(|cursor| cursor.parse().map_err(|_| invalid("`cursor` is the `next` of the page before")));
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    let most = if asked.input == Some(true) { MAX_INPUTS } else { MAX_PAGE };
    if !(1..=most).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {most}")));
    }
    let shadows = asked.shadows.unwrap_or(false);
    if shadows {
        caller.require(Scope::AdminRead)?;
    }
    let part_of_id = asked.q.map(|q| q.trim().to_ascii_lowercase()).filter(|q| !q.is_empty());
    if part_of_id.as_ref().is_some_and(|part| part.len() > MAX_ID_BYTES) {
        return Err(invalid("`q` is an id, or a part of one"));
    }
    let key = asked.key.map(|key| key.parse().map_err(|_| invalid("`key` is a key's id: `key_` and 16 digits")));
    Ok(Filter {
        tenant: whose(edge, caller, asked.tenant.as_deref())?,
        shadow_of: None,
        shadows: Some(shadows),
        states: states.collect::<Result<_, _>>()?,
        model: asked.model,
        parent: asked.parent.map(|parent| parse_id(caller, &parent)).transpose()?.map(|parent| parent.task),
        batch: asked.batch.map(|batch| super::batches::parse(caller, &batch)).transpose()?.map(|log| log.log),
        lane: asked.lane,
        code: asked.code,
        dead,
        lane_prefix: None,
        since: moment(asked.since),
        until: moment(asked.until),
        user: asked.user,
        payer_key: key.transpose()?,
        part_of_id,
        key: None,
        lapsed_before: None,
        before: before.transpose()?,
        limit,
    })
}
