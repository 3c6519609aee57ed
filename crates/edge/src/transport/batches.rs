//! `/v1/tasks/batch`: many tasks at once, their progress, stop and retry for the whole or a part.

use super::tasks::{parse_id, query};
use super::{body, events};
use crate::Edge;
use crate::allowance;
use crate::batch::{self, Record};
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tidewire_core::port::Filter;
use tidewire_core::{LogId, LogKind, LogRef, Task, TaskId, TenantId};
use tidewire_proto::Code;
use tidewire_proto::batch::{BatchAccepted, BatchList, BatchPart, BatchSubmission, BatchView};

/// Batches on a page.
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// Tasks that are listed or stopped at once.
const TASKS_AT_ONCE: usize = 500;
const STOPS_AT_ONCE: usize = 64;

pub(super) fn parse(caller: &Caller, id: &str) -> Result<LogRef, Refusal> {
    let log: Option<LogId> = id.parse().ok().filter(|log: &LogId| log.kind() == LogKind::Shared);
    let unknown =
        || Refusal::new(Code::UnknownBatch, format!("there is no batch `{id}`: it never was, or it has expired"));
    Ok(LogRef { tenant: caller.tenant, log: log.ok_or_else(unknown)? })
}

pub(super) async fn submit(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = body::read_batch(&edge, body).await?;
    let mut submission: BatchSubmission = body::json(&bytes)?;
    if let Some(key) = super::tasks::idempotency_header(&parts.headers)? {
        submission.idempotency_key = Some(key);
    }
    let accepted = batch::submit(&edge, &caller, submission).await?;
    Ok(acknowledged(accepted))
}

fn acknowledged(accepted: batch::Accepted) -> Response {
    let status = if accepted.known { StatusCode::OK } else { StatusCode::ACCEPTED };
    let left = allowance::headers(&accepted.left);
    let id = accepted.log.log.to_string();
    let epoch = accepted.epoch.0;
    let events_url = format!("/v1/tasks/batch/{id}/events?epoch={epoch}");
    let body = BatchAccepted { log: id.clone(), id, epoch, tasks: accepted.tasks, events_url };
    (status, left, Json(body)).into_response()
}

pub(super) async fn get(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Refusal> {
    let log = parse(&caller, &id)?;
    let record = batch::find(&edge, log).await?;
    one(&edge, log, record).await
}

async fn one(edge: &Edge, log: LogRef, record: Record) -> Result<Json<BatchView>, Refusal> {
    let running = running(edge, log.tenant).await?;
    view(edge, log, record, &running).await.map(Json)
}

/// How many of a tenant's running tasks belong to which batch: no more than there are slots, and all of them in memory.
async fn running(edge: &Edge, tenant: TenantId) -> Result<HashMap<LogId, u64>, Refusal> {
    let states = vec![tidewire_core::State::Running];
    let mut filter = Filter { tenant: Some(tenant), states, limit: TASKS_AT_ONCE, ..Filter::default() };
    let mut counts = HashMap::new();
    loop {
        let page = edge.tasks.list(&filter).await?;
        for batch in page.tasks.iter().filter_map(|task| task.spec.origin.batch) {
            *counts.entry(batch).or_default() += 1;
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(counts),
        }
    }
}

async fn view(edge: &Edge, log: LogRef, record: Record, running: &HashMap<LogId, u64>) -> Result<BatchView, Refusal> {
    let (progress, end) = batch::read_progress(edge, log).await?;
    let (done, failed, stopped) =
        progress.map_or((0, 0, 0), |progress| (progress.done, progress.failed, progress.stopped));
    let live = record.total.saturating_sub(done + failed + stopped);
    // What has ended is reported a moment later.
    let running = running.get(&log.log).copied().unwrap_or(0).min(live);
    Ok(BatchView {
        id: log.log.to_string(),
        state: end.as_ref().map_or("running", |(_, ending)| tidewire_core::State::from(ending.state).name()).to_owned(),
        created_at: record.created_at.as_millis(),
        ended_at: end.map(|(at, _)| at.as_millis()),
        total: record.total,
        live,
        queued: live - running,
        running,
        done,
        failed,
        stopped,
        retry_of: record.retry_of.map(|log| log.to_string()),
        metadata: record.metadata.and_then(|text| RawValue::from_string(text).ok()),
    })
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<String>,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    raw: RawQuery,
) -> Result<Json<BatchList>, Refusal> {
    let asked: ListQuery = query(raw)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::new(Code::InvalidRequest, format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let after = asked.cursor.map(|cursor| parse(&caller, &cursor)).transpose()?.map(|log| log.log);
    let found = match asked.order.as_deref() {
        None | Some("asc") => batch::list(&edge, caller.tenant, after, limit + 1).await?,
        Some("desc") => batch::newest(&edge, caller.tenant, after, limit + 1).await?,
        Some(other) => {
            return Err(Refusal::new(Code::InvalidRequest, format!("`order` is `asc` or `desc`, not `{other}`")));
        }
    };
    let running = running(&edge, caller.tenant).await?;
    let more = found.len() > limit;
    let mut batches = Vec::with_capacity(limit);
    for (log, record) in found.into_iter().take(limit) {
        batches.push(view(&edge, log, record, &running).await?);
    }
    let next = batches.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(BatchList { batches, next }))
}

pub(super) async fn events(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let at = parse(&caller, &id)?;
    events::of_log(edge, &caller, at, &headers, raw).await
}

pub(super) async fn stop(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<BatchView>, Refusal> {
    let log = parse(&caller, &id)?;
    let part = part(&edge, &caller, request).await?;
    let record = batch::find(&edge, log).await?;
    stop_all(&edge, log, &part).await?;
    one(&edge, log, record).await
}

/// Asks a batch's tasks to stop, or those of them that are meant.
pub(super) async fn stop_all(edge: &Edge, log: LogRef, part: &HashSet<TaskId>) -> Result<(), Refusal> {
    let live = vec![tidewire_core::State::Queued, tidewire_core::State::Running];
    let tasks = members(edge, log, Filter { states: live, ..Filter::default() }, part).await?;
    // Made one by one: a closure over references would not be general enough for the router.
    let mut stops = Vec::with_capacity(tasks.len());
    for task in &tasks {
        stops.push(crate::stop::request_stop(edge, task.at()));
    }
    let mut stops = stream::iter(stops).buffer_unordered(STOPS_AT_ONCE);
    while let Some(stopped) = stops.next().await {
        stopped?;
    }
    Ok(())
}

pub(super) async fn retry(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let log = parse(&caller, &id)?;
    let part = part(&edge, &caller, request).await?;
    batch::find(&edge, log).await?;
    let listed = members(&edge, log, Filter { dead: true, ..Filter::default() }, &part).await?;
    let mut dead = Vec::with_capacity(listed.len());
    for task in listed.iter().rev() {
        // A list leaves inputs out.
        dead.extend(edge.tasks.get(task.at()).await?);
    }
    Ok(acknowledged(batch::retry(&edge, &caller, log, dead).await?))
}

/// Which of the batch's tasks are meant; none named means all.
async fn part(edge: &Edge, caller: &Caller, request: Request) -> Result<HashSet<TaskId>, Refusal> {
    let bytes = body::read(edge, request.into_body()).await?;
    let part: BatchPart = if bytes.is_empty() { BatchPart::default() } else { body::json(&bytes)? };
    part.tasks.iter().map(|id| parse_id(caller, id).map(|at| at.task)).collect()
}

/// Tasks of a batch that match, newest first.
async fn members(edge: &Edge, log: LogRef, filter: Filter, part: &HashSet<TaskId>) -> Result<Vec<Task>, Refusal> {
    let mut filter = Filter { tenant: Some(log.tenant), batch: Some(log.log), limit: TASKS_AT_ONCE, ..filter };
    let mut members = Vec::new();
    loop {
        let page = edge.tasks.list(&filter).await?;
        members.extend(page.tasks.into_iter().filter(|task| part.is_empty() || part.contains(&task.id)));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(members),
        }
    }
}
