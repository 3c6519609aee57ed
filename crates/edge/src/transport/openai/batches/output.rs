//! What becomes of a batch when its tasks have ended: a file of answers, and one of errors, in OpenAI's lines.

use super::lines::Endpoint;
use super::record::{Phase, Record};
use crate::Edge;
use crate::batch;
use crate::refusal::Refusal;
use crate::transport::openai::fault::{error_object, not_whole};
use crate::transport::openai::{collect, embeddings, raw, responses};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::files::{About, FileId};
use tidewire_core::{LogRef, Outcome, Task, TaskRef, TenantId, Timestamp};
use tidewire_proto::{Code, WireError};

/// How soon it is tried again after the engine failed, or where a tenant's files are full.
const PAUSE: Duration = Duration::from_secs(1);

/// How often retention is looked to.
const EXPIRY: Duration = Duration::from_mins(10);

/// How many records are listed at once.
const PAGE: usize = 100;

/// Of a file that is read by no model.
const PURPOSE: &str = "batch_output";

/// Makes the files of a batch once it is over, unless the server ends first.
pub(super) fn start(edge: &Arc<Edge>, log: LogRef) {
    let edge = edge.clone();
    edge.tracker.clone().spawn(async move {
        tokio::select! {
            () = edge.closing.cancelled() => {}
            () = persist(&edge, log) => {}
        }
    });
}

async fn persist(edge: &Arc<Edge>, log: LogRef) {
    while let Err(refusal) = conclude(edge, log).await {
        tracing::warn!(batch = %log.log, error = %refusal.0.message, "a batch's files wait");
        edge.clock.sleep(PAUSE).await;
    }
}

/// Takes up the batches of an earlier run of the server, and from then on forgets those that ended longer ago than `age`,
/// until the server ends.
pub(crate) async fn keep(edge: Arc<Edge>, age: Duration) {
    let began = edge.clock.now();
    let all = async {
        each(&edge, |edge, log, record| {
            // A newer one has its own.
            if record.phase == Phase::Running && record.created_at < began {
                start(edge, log);
            }
            false
        })
        .await;
        loop {
            edge.clock.sleep(EXPIRY).await;
            let now = edge.clock.now();
            each(&edge, |_, _, record| record.ended_at.is_some_and(|ended| now.since(ended) >= age)).await;
        }
    };
    tokio::select! {
        () = edge.closing.cancelled() => {}
        () = all => {}
    }
}

/// Goes through all batches, and forgets those that `see` says so of.
async fn each(edge: &Arc<Edge>, see: impl Fn(&Arc<Edge>, LogRef, &Record) -> bool) {
    for tenant in edge.identity.tenants() {
        let mut before = None;
        loop {
            let page = match Record::list(edge, tenant, before, PAGE).await {
                Ok(page) => page,
                Err(refusal) => {
                    tracing::error!(error = %refusal.0.message, "batches can't be listed");
                    edge.clock.sleep(PAUSE).await;
                    continue;
                }
            };
            before = page.last().filter(|_| page.len() == PAGE).map(|last| last.batch);
            for record in &page {
                if see(edge, LogRef { tenant, log: record.batch }, record) {
                    record.remove(edge, tenant).await;
                }
            }
            if before.is_none() {
                break;
            }
        }
    }
}

/// Waits for a batch's tasks, and makes its files.
async fn conclude(edge: &Arc<Edge>, log: LogRef) -> Result<(), Refusal> {
    let id = Record::new(log.log, Timestamp::default(), Endpoint::Chat, String::new(), None).id();
    let Some((_, tasks)) = batch::committed(edge, log).await? else {
        return match batch::find(edge, log).await {
            // A crash came before its creator was told of it, and its tasks were stopped.
            Err(refusal) if refusal.0.code == Code::UnknownBatch.as_str() => {
                let (record, version) = Record::find(edge, log.tenant, &id).await?;
                let ended_at = Some(edge.clock.now());
                Record { phase: Phase::Cancelled, ended_at, ..record }.replace(edge, log.tenant, version).await
            }
            _ => Err(Refusal::new(Code::Unavailable, "its tasks are being taken up")),
        };
    };
    edge.log.watch(log).await?.over().await;
    let (record, _) = Record::find(edge, log.tenant, &id).await?;
    let made = make(edge, log.tenant, &record, &tasks).await?;
    // Read again: meanwhile it may have been cancelled.
    let (record, version) = Record::find(edge, log.tenant, &id).await?;
    let phase = match (record.cancelling_at, made.stopped, made.expired) {
        (Some(_), 1.., _) => Phase::Cancelled,
        (_, _, 1..) => Phase::Expired,
        _ => Phase::Completed,
    };
    let counts = Some((made.answered, made.failed + made.stopped));
    let (output_file, error_file) = (made.output, made.errors);
    let ended_at = Some(edge.clock.now());
    Record { phase, ended_at, output_file, error_file, counts, ..record }.replace(edge, log.tenant, version).await
}

/// What became of the lines.
#[derive(Default)]
struct Made {
    output: Option<FileId>,
    errors: Option<FileId>,
    answered: u64,
    failed: u64,
    stopped: u64,
    /// Of those that failed.
    expired: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    custom_id: Value,
    response: Option<Answered<'a>>,
    error: Option<Value>,
}

#[derive(Serialize)]
struct Answered<'a> {
    status_code: u16,
    request_id: &'a str,
    body: Box<RawValue>,
}

async fn make(edge: &Arc<Edge>, tenant: TenantId, record: &Record, tasks: &[String]) -> Result<Made, Refusal> {
    let (mut made, mut output, mut errors) = (Made::default(), Vec::new(), Vec::new());
    for id in tasks {
        let task = match id.parse() {
            Ok(task) => edge.tasks.get(TaskRef { tenant, task }).await?,
            Err(_) => None,
        };
        let lost = match task.as_ref().and_then(|task| Some((task, &task.ended.as_ref()?.1))) {
            Some((task, ending)) if ending.state == Outcome::Done => {
                let body = body(edge, record.endpoint, task).await?;
                line(&mut output, id, Some(task), (200, body), None);
                made.answered += 1;
                continue;
            }
            Some((_, ending)) => {
                made.stopped += u64::from(ending.state == Outcome::Stopped);
                made.failed += u64::from(ending.state == Outcome::Failed);
                not_whole(ending).unwrap_or_else(|| WireError::new(Code::Internal, "the task failed"))
            }
            None => {
                made.failed += 1;
                WireError::new(Code::UnknownTask, "the task has expired")
            }
        };
        made.expired += u64::from(lost.code == Code::DeadlineExceeded.as_str());
        let body = to_raw_value(&error_object(&lost)).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let error = json!({ "code": lost.code, "message": lost.message });
        line(&mut errors, id, task.as_ref(), (lost.status(), body), Some(error));
    }
    made.output = file(edge, tenant, &format!("{}_output.jsonl", record.id()), output).await?;
    made.errors = file(edge, tenant, &format!("{}_error.jsonl", record.id()), errors).await?;
    Ok(made)
}

/// What a request of its own would have been answered.
async fn body(edge: &Edge, endpoint: Endpoint, task: &Task) -> Result<Box<RawValue>, Refusal> {
    match endpoint {
        Endpoint::Chat => collect::ended(edge, task).await,
        Endpoint::Embeddings => embeddings::ended(edge, task).await,
        Endpoint::Responses => responses::ended(edge, task).await,
    }
}

fn line(out: &mut Vec<u8>, id: &str, task: Option<&Task>, answer: (u16, Box<RawValue>), error: Option<Value>) {
    let metadata = task.and_then(|task| serde_json::from_str::<Value>(task.spec.metadata.as_deref()?).ok());
    let custom_id = metadata.map(|metadata| metadata["custom_id"].clone()).unwrap_or_default();
    let (status_code, body) = answer;
    let response = Some(Answered { status_code, request_id: id, body });
    out.extend_from_slice(&raw::bytes(&Line { id: id.replacen("task_", "batch_req_", 1), custom_id, response, error }));
    out.push(b'\n');
}

/// A file of these lines; none where there are none. One that was made before a crash is not made again.
async fn file(edge: &Arc<Edge>, tenant: TenantId, name: &str, lines: Vec<u8>) -> Result<Option<FileId>, Refusal> {
    if lines.is_empty() {
        return Ok(None);
    }
    let known = edge.files.list(tenant).await?;
    if let Some(known) = known.iter().find(|file| file.purpose == PURPOSE && file.filename == name) {
        return Ok(Some(known.id));
    }
    let mut upload = edge.files.upload(tenant).await?;
    if let Err(error) = upload.push(Bytes::from(lines)).await {
        upload.abandon().await;
        return Err(error.into());
    }
    let (filename, purpose, media) = (name.to_owned(), PURPOSE.to_owned(), "application/jsonl".to_owned());
    Ok(Some(upload.finish(About { filename, purpose, media, expires_after: None }).await?.id))
}
