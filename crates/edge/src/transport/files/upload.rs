//! `POST /v1/files`: a form with a file in it, written to the log as it comes.

use super::super::openai::Fault;
use super::view;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use multer::{Constraints, Field, Multipart, SizeLimit};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TenantId;
use tidewire_core::files::{About, PURPOSES, Upload};
use tidewire_proto::Code;
use tidewire_proto::http::FileView;

/// How long the next bytes may take to arrive, and an upload its turn: what a phone's tunnel takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a whole upload may take: 512 MiB over 1.2 Mbit/s. The sweep counts on it.
const LONGEST: Duration = Duration::from_hours(1);

/// Bytes of all fields of the form but the file, and of what parts them.
const FORM_BYTES: u64 = 64 * 1024;

/// Bytes of one of those fields.
const FIELD_BYTES: u64 = 1024;

/// Fields that may be there: the ones known, and a few that are passed over.
const MAX_FIELDS: usize = 16;

/// What file systems allow.
const MAX_FILENAME_BYTES: usize = 255;

/// What is read and thrown away of a body that is refused, so that its sender reads the answer before it finds the
/// connection closed.
const DRAINED_BYTES: usize = 4 * 1024 * 1024;

/// How long a file that expires is kept: OpenAI's bounds.
const EXPIRY_S: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

pub(in crate::transport) async fn upload(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Json<FileView>, Fault> {
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down().into());
    }
    let (parts, body) = request.into_parts();
    let boundary = boundary(&parts.headers)?;
    let bound = edge.files.bounds().file_bytes;
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > bound.saturating_add(FORM_BYTES)) {
        drain(&edge, body.into_data_stream()).await;
        return Err(too_large(bound).into());
    }
    // A task of its own: whoever hangs up drops this call, and what came of the file must be taken back.
    let taking = edge.clone();
    let taken = edge.tracker.spawn(async move { take(&taking, caller.tenant, body, boundary).await });
    let taken = taken.await.map_err(|_| Refusal::new(Code::Internal, "the upload broke off"))?;
    Ok(Json(taken?))
}

fn boundary(headers: &HeaderMap) -> Result<String, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    multer::parse_boundary(kind)
        .map_err(|_| invalid("send the file as a form: `multipart/form-data` with the fields `file` and `purpose`"))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

fn too_large(bound: u64) -> Refusal {
    tidewire_core::files::UploadError::TooLarge { bound }.into()
}

async fn drain(edge: &Edge, mut rest: BodyDataStream) {
    let read = async {
        let mut left = DRAINED_BYTES;
        while let Some(Ok(bytes)) = rest.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = edge.clock.sleep(PATIENCE) => {}
    }
}

/// What the form says, as far as it was read.
#[derive(Default)]
struct Form {
    file: Option<(Upload, String, String)>,
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
}

/// Reads the form to its end, and makes a file of it; or takes all of it back.
async fn take(edge: &Arc<Edge>, tenant: TenantId, body: Body, boundary: String) -> Result<FileView, Refusal> {
    let constraints = Constraints::new()
        .size_limit(SizeLimit::new().whole_stream(edge.files.bounds().file_bytes.saturating_add(FORM_BYTES)));
    let mut multipart = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let mut form = Form::default();
    let read = tokio::select! {
        read = read(edge, tenant, &mut multipart, &mut form) => read,
        () = edge.clock.sleep(LONGEST) => Err(invalid("the upload took more than an hour")),
        () = edge.closing.cancelled() => Err(Refusal::shutting_down()),
    };
    let about = read.and_then(|()| about(&form));
    match (about, form.file) {
        (Ok(about), Some((upload, ..))) => {
            let file = upload.finish(about).await?;
            Ok(view(&file))
        }
        (Ok(_), None) => Err(invalid("the form has no field `file`")),
        (Err(refusal), file) => {
            if let Some((upload, ..)) = file {
                upload.abandon().await;
            }
            Err(refusal)
        }
    }
}

async fn read(
    edge: &Arc<Edge>,
    tenant: TenantId,
    multipart: &mut Multipart<'_>,
    form: &mut Form,
) -> Result<(), Refusal> {
    for _ in 0..MAX_FIELDS {
        let Some(field) = in_time(edge, multipart.next_field()).await? else { return Ok(()) };
        match field.name().unwrap_or_default() {
            "file" if form.file.is_some() => return Err(invalid("the form has two files; upload them one by one")),
            "file" => read_file(edge, tenant, field, form).await?,
            "purpose" => form.purpose = Some(text(edge, field).await?),
            "expires_after[anchor]" => form.anchor = Some(text(edge, field).await?),
            "expires_after[seconds]" => form.seconds = Some(text(edge, field).await?),
            other => return Err(invalid(format!("the form has a field `{other}`, which is not known here"))),
        }
    }
    Err(invalid("the form has too many fields"))
}

/// Waits for bytes, but not for ever.
async fn in_time<T>(edge: &Edge, bytes: impl Future<Output = Result<T, multer::Error>>) -> Result<T, Refusal> {
    tokio::select! {
        bytes = bytes => bytes.map_err(|error| misread(edge, &error)),
        () = edge.clock.sleep(PATIENCE) => Err(invalid("no bytes came for a minute")),
    }
}

fn misread(edge: &Edge, error: &multer::Error) -> Refusal {
    match error {
        multer::Error::StreamSizeExceeded { .. } => too_large(edge.files.bounds().file_bytes),
        error => invalid(format!("the form can't be read: {error}")),
    }
}

async fn text(edge: &Edge, mut field: Field<'_>) -> Result<String, Refusal> {
    let mut whole = Vec::new();
    while let Some(bytes) = in_time(edge, field.chunk()).await? {
        whole.extend_from_slice(&bytes);
        if whole.len() as u64 > FIELD_BYTES {
            return Err(invalid(format!("a field of the form has more than {FIELD_BYTES} bytes")));
        }
    }
    String::from_utf8(whole).map_err(|_| invalid("a field of the form is no UTF-8"))
}

async fn read_file(edge: &Arc<Edge>, tenant: TenantId, mut field: Field<'_>, form: &mut Form) -> Result<(), Refusal> {
    let filename = field.file_name().unwrap_or("upload").to_owned();
    let fits = (1..=MAX_FILENAME_BYTES).contains(&filename.len());
    if !fits || filename.chars().any(char::is_control) {
        return Err(invalid(format!("a file's name has 1 to {MAX_FILENAME_BYTES} bytes, and none that controls")));
    }
    let media = field.content_type().map(|media| media.essence_str().to_owned()).unwrap_or_default();
    let upload = tokio::select! {
        upload = edge.files.upload(tenant) => upload?,
        () = edge.clock.sleep(PATIENCE) => {
            let message = "too many uploads are under way; try again in a moment";
            return Err(Refusal::new(Code::Unavailable, message).retry_after(PATIENCE));
        }
    };
    let (upload, ..) = form.file.insert((upload, filename, media));
    while let Some(bytes) = in_time(edge, field.chunk()).await? {
        push(upload, bytes).await?;
    }
    Ok(())
}

async fn push(upload: &mut Upload, bytes: Bytes) -> Result<(), Refusal> {
    upload.push(bytes).await.map_err(Refusal::from)
}

fn about(form: &Form) -> Result<About, Refusal> {
    let Some((_, filename, media)) = &form.file else { return Err(invalid("the form has no field `file`")) };
    let purpose = form.purpose.as_deref().ok_or_else(|| invalid("the form has no field `purpose`"))?;
    if !PURPOSES.contains(&purpose) {
        return Err(invalid(format!("`purpose` is one of {}, not `{purpose}`", PURPOSES.join(", "))));
    }
    Ok(About {
        filename: filename.clone(),
        purpose: purpose.to_owned(),
        media: media.clone(),
        expires_after: expires_after(form)?,
    })
}

fn expires_after(form: &Form) -> Result<Option<Duration>, Refusal> {
    let (anchor, seconds) = match (&form.anchor, &form.seconds) {
        (None, None) => return Ok(None),
        (Some(anchor), Some(seconds)) => (anchor, seconds),
        _ => return Err(invalid("`expires_after` has an `anchor` and `seconds`")),
    };
    if anchor != "created_at" {
        return Err(invalid("`expires_after[anchor]` is `created_at`"));
    }
    match seconds.parse() {
        Ok(seconds) if EXPIRY_S.contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
        _ => {
            let (least, most) = (EXPIRY_S.start(), EXPIRY_S.end());
            Err(invalid(format!("`expires_after[seconds]` is {least} to {most}")))
        }
    }
}
