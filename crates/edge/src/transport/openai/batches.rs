//! `/v1/batches`: OpenAI's batches, each a batch of tasks made from a file's lines, whose answers become files.

mod lines;
mod output;
mod record;

pub(crate) use output::keep;

use super::fault::Fault;
use super::raw::Fields;
use crate::Edge;
use crate::admission::cache_control;
use crate::batch::{self, read_progress};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::transport::batches::stop_all;
use crate::transport::tasks::query;
use crate::transport::{body, files};
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use lines::{Endpoint, Line, LineError};
use record::{Phase, Record};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{LogRef, Timestamp};
use tidewire_proto::Code;

/// How long a batch may take: what OpenAI's clients ask for, and the longest deadline that a task may have.
const WINDOW: &str = "24h";
pub(super) const WINDOW_MS: u64 = 86_400_000;

/// The most batches of a page, and how many there are unless a client asks: OpenAI's numbers.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;

/// The largest `metadata`, as a task's.
const MAX_METADATA_BYTES: usize = 4096;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

pub(crate) async fn create(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Value>, Fault> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let fields = Fields::read(&bytes).map_err(|error| body::refused(&bytes, &error))?;
    let file: String = fields.get("input_file_id")?.ok_or_else(|| invalid("`input_file_id` is missing"))?;
    let endpoint: String = fields.get("endpoint")?.ok_or_else(|| invalid("`endpoint` is missing"))?;
    let endpoint = Endpoint::parse(&endpoint)?;
    if fields.get::<String>("completion_window")?.as_deref() != Some(WINDOW) {
        return Err(invalid(format!("`completion_window` is `{WINDOW}`")).into());
    }
    for (name, _) in fields.each() {
        if !matches!(name, "input_file_id" | "endpoint" | "completion_window" | "metadata") {
            return Err(invalid(format!("`{name}` is not taken")).into());
        }
    }
    let metadata = fields.object("metadata")?;
    if fields.raw("metadata").is_some_and(|metadata| metadata.get().len() > MAX_METADATA_BYTES) {
        return Err(invalid(format!("`metadata` has at most {MAX_METADATA_BYTES} bytes")).into());
    }
    let content =
        files::whole(&edge, &caller, &file, edge.limits.body_bytes.saturating_mul(body::BATCH_BODIES)).await?;
    // What its head says of kept answers holds for each line: a line has no head of its own.
    let cache = cache_control(&head.headers);
    let log = LogRef { tenant: caller.tenant, log: batch::fresh(&edge) };
    let mut record = Record::new(log.log, edge.clock.now(), endpoint, file, metadata);
    let admitted = match lines::read(&content) {
        Ok(lines) => {
            record.total = lines.len() as u64;
            admitted(&edge, &caller, (endpoint, cache.as_deref()), &lines).await?
        }
        Err(errors) => Err(errors),
    };
    let tasks = match admitted {
        Ok(tasks) => tasks,
        Err(errors) => {
            (record.phase, record.ended_at, record.errors) = (Phase::Failed, Some(edge.clock.now()), errors);
            record.put(&edge, log.tenant).await?;
            return Ok(Json(view(&edge, log.tenant, &record).await?));
        }
    };
    // Before the tasks: once they run, somebody must make files of what they say.
    record.put(&edge, log.tenant).await?;
    if let Err(refusal) = batch::take(&edge, log, tasks).await {
        record.remove(&edge, log.tenant).await;
        return Err(refusal.into());
    }
    output::start(&edge, log);
    Ok(Json(view(&edge, log.tenant, &record).await?))
}

/// The lines as tasks; or what is wrong with them. What is wrong with the server or the caller's limits refuses the batch.
async fn admitted(
    edge: &Edge,
    caller: &Caller,
    asked: (Endpoint, Option<&str>),
    lines: &[Line],
) -> Result<Result<Vec<crate::quote::Admitted>, Vec<LineError>>, Refusal> {
    let (mut tasks, mut errors) = (Vec::with_capacity(lines.len()), Vec::new());
    for line in lines {
        match lines::admit(edge, caller, asked, line).await {
            Ok(task) => tasks.push(task),
            Err(refusal) if refusal.0.status() >= 500 || refusal.0.status() == 429 => return Err(refusal),
            Err(refusal) => {
                errors.push(LineError::new(&refusal.0.code, &refusal.0.message, Some(line.number)));
                if errors.len() == lines::MAX_ERRORS {
                    break;
                }
            }
        }
    }
    Ok(if errors.is_empty() { Ok(tasks) } else { Err(errors) })
}

/// A batch as OpenAI's clients know it.
async fn view(edge: &Edge, tenant: tidewire_core::TenantId, record: &Record) -> Result<Value, Refusal> {
    let seconds = |at: Option<Timestamp>| at.map(|at| at.as_millis() / 1000);
    let (progress, end) = match record.phase {
        Phase::Failed => (None, None),
        _ => read_progress(edge, LogRef { tenant, log: record.batch }).await?,
    };
    let (done, lost) = match (record.counts, progress) {
        (Some(counts), _) => counts,
        (None, Some(progress)) => (progress.done, progress.failed + progress.stopped),
        (None, None) => (0, 0),
    };
    let status = match record.phase {
        Phase::Running if end.is_some() => "finalizing",
        Phase::Running if record.cancelling_at.is_some() => "cancelling",
        phase => phase.name(),
    };
    let at = |phase: Phase| seconds(record.ended_at.filter(|_| record.phase == phase));
    let began = (record.phase != Phase::Failed).then_some(record.created_at);
    let errors = (!record.errors.is_empty()).then(|| json!({ "object": "list", "data": record.errors }));
    Ok(json!({
        "id": record.id(), "object": "batch", "endpoint": record.endpoint.path(), "errors": errors,
        "input_file_id": record.input_file, "completion_window": WINDOW, "status": status,
        "output_file_id": record.output_file, "error_file_id": record.error_file,
        "created_at": seconds(Some(record.created_at)), "in_progress_at": seconds(began),
        "expires_at": seconds(Some(record.created_at.plus(Duration::from_millis(WINDOW_MS)))),
        "finalizing_at": seconds(end.map(|(at, _)| at)),
        "completed_at": at(Phase::Completed), "failed_at": at(Phase::Failed), "expired_at": at(Phase::Expired),
        "cancelling_at": seconds(record.cancelling_at), "cancelled_at": at(Phase::Cancelled),
        "request_counts": { "total": record.total, "completed": done, "failed": lost },
        "metadata": record.metadata,
    }))
}

pub(crate) async fn get(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let (record, _) = Record::find(&edge, caller.tenant, &id).await?;
    Ok(Json(view(&edge, caller.tenant, &record).await?))
}

pub(crate) async fn cancel(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let (mut record, version) = Record::find(&edge, caller.tenant, &id).await?;
    if record.phase != Phase::Running {
        return Err(invalid(format!("the batch is {}: there is nothing to cancel", record.phase.name())).into());
    }
    if record.cancelling_at.is_none() {
        record.cancelling_at = Some(edge.clock.now());
        record.replace(&edge, caller.tenant, version).await?;
    }
    stop_all(&edge, LogRef { tenant: caller.tenant, log: record.batch }, &HashSet::new()).await?;
    Ok(Json(view(&edge, caller.tenant, &record).await?))
}

#[derive(Deserialize)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(State(edge): State<Arc<Edge>>, caller: Caller, raw: RawQuery) -> Result<Json<Value>, Fault> {
    let asked: ListQuery = query(raw)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {MAX_PAGE}")).into());
    }
    let after = asked.after.map(|id| record::log(&id).ok_or_else(|| record::unknown(&id))).transpose()?;
    let mut found = Record::list(&edge, caller.tenant, after, limit + 1).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let mut data = Vec::with_capacity(found.len());
    for record in &found {
        data.push(view(&edge, caller.tenant, record).await?);
    }
    let id = |record: Option<&Record>| record.map(Record::id);
    let (first_id, last_id) = (id(found.first()), id(found.last()));
    Ok(Json(json!({ "object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": has_more })))
}
