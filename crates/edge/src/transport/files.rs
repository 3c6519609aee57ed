//! `/v1/files`, as OpenAI's clients know it: upload, list, look, read back, delete; and the file's text.

mod upload;

pub(super) use upload::upload;

use super::openai::Fault;
use super::tasks::query;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::files::{Content, ContentError, File, FileId, MessageError, Status, UploadError};
use tidewire_core::port::ReadError;
use tidewire_proto::Code;
use tidewire_proto::http::{FileList, FileRemoved, FileView};

/// The most files of one page, and how many there are unless a client asks for fewer: OpenAI's numbers.
const MAX_PAGE: usize = 10_000;

/// How long `/text` may wait: longer than a reading may take, shorter than most proxies' patience.
const MAX_TEXT_WAIT_MS: u64 = 300_000;

/// When it is worth asking for a text again that is not there yet.
const TEXT_RETRY: Duration = Duration::from_secs(1);

const CHECKSUM_HEADER: HeaderName = HeaderName::from_static("tidewire-sha256");

impl Refusal {
    fn unknown_file(id: &str) -> Self {
        MessageError::Unknown(id.to_owned()).into()
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Unavailable(error) => error.into(),
            error => {
                let refusal = Self::new(Code::parse(error.code()).unwrap_or(Code::InvalidRequest), error.to_string());
                if matches!(error, MessageError::NotProcessed { .. }) {
                    refusal.retry_after(TEXT_RETRY)
                } else {
                    refusal
                }
            }
        }
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        let code = match &error {
            UploadError::TooLarge { .. } => Code::TooLarge,
            UploadError::NoRoom { .. } | UploadError::TooMany { .. } => Code::FilesFull,
            UploadError::Unavailable(unavailable) => return unavailable.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}

/// A file as a client sees it.
fn view(file: &File) -> FileView {
    let seconds = |moment: tidewire_core::Timestamp| moment.as_millis() / 1000;
    FileView {
        id: file.id.to_string(),
        object: "file".to_owned(),
        bytes: file.bytes,
        created_at: seconds(file.created_at),
        expires_at: file.expires_at.map(seconds),
        filename: file.filename.clone(),
        purpose: file.purpose.clone(),
        status: file.status.name().to_owned(),
        status_details: file.details.clone(),
        sha256: file.sha256.clone(),
        text_bytes: file.text_bytes,
    }
}

async fn find(edge: &Edge, caller: &Caller, id: &str) -> Result<File, Refusal> {
    let parsed: FileId = id.parse().map_err(|_| Refusal::unknown_file(id))?;
    let found = edge.files.get(caller.tenant, parsed).await?;
    found.map(|(file, _)| file).ok_or_else(|| Refusal::unknown_file(id))
}

pub(super) async fn get(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<FileView>, Fault> {
    Ok(Json(view(&find(&edge, &caller, &id).await?)))
}

#[derive(Deserialize)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
    order: Option<String>,
    purpose: Option<String>,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    raw: RawQuery,
) -> Result<Json<FileList>, Fault> {
    let asked: ListQuery = query(raw)?;
    let invalid = |message: String| Refusal::new(Code::InvalidRequest, message);
    let limit = asked.limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {MAX_PAGE}")).into());
    }
    let after = asked.after.map(|id| id.parse::<FileId>().map_err(|_| invalid("`after` is a file's id".to_owned())));
    let after = after.transpose()?;
    let mut files = edge.files.list(caller.tenant).await.map_err(Refusal::from)?;
    files.retain(|file| asked.purpose.as_ref().is_none_or(|purpose| *purpose == file.purpose));
    // Ids sort by age, so a page goes on after an id whether that file is still there or not.
    match asked.order.as_deref() {
        None | Some("desc") => {
            files.reverse();
            files.retain(|file| after.is_none_or(|after| file.id < after));
        }
        Some("asc") => files.retain(|file| after.is_none_or(|after| file.id > after)),
        Some(other) => return Err(invalid(format!("`order` is `asc` or `desc`, not `{other}`")).into()),
    }
    let has_more = files.len() > limit;
    let data: Vec<FileView> = files.iter().take(limit).map(view).collect();
    let id_of = |file: Option<&FileView>| file.map(|file| file.id.clone());
    let (first_id, last_id) = (id_of(data.first()), id_of(data.last()));
    Ok(Json(FileList { object: "list".to_owned(), data, first_id, last_id, has_more }))
}

pub(super) async fn remove(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<FileRemoved>, Fault> {
    let file = find(&edge, &caller, &id).await?;
    if !edge.files.remove(caller.tenant, file.id).await.map_err(Refusal::from)? {
        return Err(Refusal::unknown_file(&id).into());
    }
    Ok(Json(FileRemoved { id, object: "file".to_owned(), deleted: true }))
}

pub(super) async fn content(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let file = find(&edge, &caller, &id).await?;
    let content = edge.files.content(caller.tenant, &file).await.map_err(|error| gone(error, &id))?;
    let checksum = HeaderValue::from_str(&file.sha256).unwrap_or(HeaderValue::from_static(""));
    let headers = [
        // Never the type that its sender declared: a page of theirs must not run under this server's name.
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (header::CONTENT_LENGTH, HeaderValue::from(file.bytes)),
        (CHECKSUM_HEADER, checksum),
    ];
    Ok((headers, Body::from_stream(bytes_of(content, file.id))).into_response())
}

/// All bytes of a file for batches.
pub(super) async fn whole(edge: &Edge, caller: &Caller, id: &str, limit: usize) -> Result<Vec<u8>, Refusal> {
    let file = find(edge, caller, id).await?;
    if file.purpose != "batch" {
        let message = format!("the file `{id}` was uploaded for `{}`, not for `batch`", file.purpose);
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    if file.bytes > limit as u64 {
        return Err(super::body::too_large(limit));
    }
    let mut content = edge.files.content(caller.tenant, &file).await.map_err(|error| gone(error, id))?;
    let mut whole = Vec::new();
    let damaged = |error: ContentError| Refusal::new(Code::Damaged, error.to_string());
    while let Some(bytes) = content.next().await.map_err(damaged)? {
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

/// The body. Bytes that fail their checksum break it off before its end, so that nobody takes it for whole.
fn bytes_of(content: Content, id: FileId) -> impl futures_util::Stream<Item = Result<bytes::Bytes, ContentError>> {
    stream::try_unfold((content, None), move |(mut content, held)| async move {
        // One piece is held back until the next one is there: the last one goes out once all is checked.
        let held = match held {
            Some(held) => Some(held),
            None => content.next().await?,
        };
        let Some(now) = held else { return Ok(None) };
        let next =
            content.next().await.inspect_err(|error| tracing::error!(file = %id, %error, "a file can't be read"))?;
        Ok(Some((now, (content, next))))
    })
}

/// On a file's own path a missing log is a file that was removed a moment ago.
fn gone(error: ReadError, id: &str) -> Refusal {
    if error == ReadError::Unknown { Refusal::unknown_file(id) } else { error.into() }
}

#[derive(Deserialize)]
struct TextQuery {
    wait_ms: Option<u64>,
}

pub(super) async fn text(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Response, Fault> {
    let asked: TextQuery = query(raw)?;
    let found = find(&edge, &caller, &id).await?;
    let wait = Duration::from_millis(asked.wait_ms.unwrap_or(0).min(MAX_TEXT_WAIT_MS));
    let settled = edge.files.settled(caller.tenant, found.id, wait).await.map_err(Refusal::from)?;
    let file = settled.ok_or_else(|| Refusal::unknown_file(&id))?;
    let not_readable = |reason: &str| {
        let (id, filename) = (file.id, file.filename.clone());
        Refusal::from(MessageError::NotReadable { id, filename, reason: reason.to_owned() })
    };
    match file.status {
        Status::Uploaded => return Err(Refusal::from(MessageError::NotProcessed { id: file.id }).into()),
        Status::Error => return Err(not_readable(file.details.as_deref().unwrap_or_default()).into()),
        Status::Processed => {}
    }
    let text = edge.files.text(caller.tenant, &file).await.map_err(|error| gone(error, &id))?;
    let text = text.ok_or_else(|| not_readable("files of its purpose are not read"))?;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
