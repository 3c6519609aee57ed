//! `POST /v1/embeddings`. Each request is a transient task; the worker puts the inputs of many into one upstream call.

use super::chat::owned;
use super::collect::to_the_end;
use super::fault::{Fault, not_whole};
use super::head::Head;
use super::leave::StopOnLeave;
use crate::Edge;
use crate::admission::{Chat, cache_control};
use crate::allowance;
use crate::follow::{Follower, Resume};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::submit::submit_chat;
use crate::transport::body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::embeddings::{Vector, wanted};
use tidewire_core::{Event, Kind, Task, Usage};
use tidewire_proto::{Code, Submission};

#[derive(serde::Deserialize)]
struct Form<'a> {
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
}

pub(crate) async fn embeddings(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let chat = Chat::read(&bytes).map_err(|error| body::refused(&bytes, &error))?.wordless();
    wanted(&bytes).map_err(|message| Refusal::new(Code::InvalidRequest, message))?;
    let in_base64 = in_base64(&bytes)?;
    let submission = Submission {
        durability: Some("transient".to_owned()),
        on_disconnect: Some("stop".to_owned()),
        // Its caller waits.
        priority: Some("interactive".to_owned()),
        cache: cache_control(&parts.headers),
        ..Submission::default()
    };
    let accepted = submit_chat(&edge, &caller, submission, owned(&bytes), &chat).await?;
    let mut leave = StopOnLeave::new(edge.clone(), vec![accepted.at()]);
    let follower = Follower::open(&edge, accepted.at().log(), Resume::default(), Duration::ZERO).await?;
    let mut head = Head::new(&accepted.task, allowance::headers(&accepted.left));
    let mut vectors = Vectors { in_base64, data: Vec::new(), damaged: false };
    let ending = to_the_end(follower, &mut head, |event| vectors.apply(event)).await?;
    leave.stay(accepted.at());
    if let Some(error) = not_whole(&ending) {
        return Err(Fault::with(error, head.into_headers()));
    }
    if vectors.damaged {
        return Err(Refusal::new(Code::Damaged, "a vector in the task's log can't be read").into());
    }
    let body = vectors.body(&accepted.task.spec.model, ending.used_for_answer());
    let mut headers = head.into_headers();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((headers, body).into_response())
}

/// What the task that has ended would have been answered.
pub(super) async fn ended(edge: &Edge, task: &Task) -> Result<Box<RawValue>, Refusal> {
    let follower = Follower::open(edge, task.at().log(), Resume::default(), Duration::ZERO).await?;
    let mut vectors = Vectors { in_base64: in_base64(&task.spec.input)?, data: Vec::new(), damaged: false };
    let head = &mut Head::new(task, HeaderMap::new());
    let ending = to_the_end(follower, head, |event| vectors.apply(event)).await?;
    let damaged = || Refusal::new(Code::Damaged, "a vector in the task's log can't be read");
    if vectors.damaged {
        return Err(damaged());
    }
    serde_json::from_slice(&vectors.body(&task.spec.model, ending.used_for_answer())).map_err(|_| damaged())
}

fn in_base64(bytes: &[u8]) -> Result<bool, Refusal> {
    let form: Form<'_> = serde_json::from_slice(bytes).map_err(|error| body::refused(bytes, &error))?;
    match form.encoding_format.as_deref() {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(other) => {
            let message = format!("`encoding_format` is `float` or `base64`, not `{other}`");
            Err(Refusal::new(Code::InvalidRequest, message))
        }
    }
}

/// The answer's `data`, while it is written.
struct Vectors {
    in_base64: bool,
    data: Vec<u8>,
    damaged: bool,
}

#[derive(Serialize)]
struct Item<'a, E> {
    object: &'static str,
    index: usize,
    embedding: &'a E,
}

// OpenAI's names.
#[allow(clippy::struct_field_names)]
#[derive(Serialize)]
struct Used {
    prompt_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

impl Vectors {
    fn apply(&mut self, event: &Event) {
        match event.kind {
            Kind::Embedding => self.add(&event.data),
            Kind::Rewind => self.data.clear(),
            _ => {}
        }
    }

    fn add(&mut self, data: &[u8]) {
        let Ok(vector) = serde_json::from_slice::<Vector<'_>>(data) else { return self.damaged = true };
        if !self.data.is_empty() {
            self.data.push(b',');
        }
        let (object, index) = ("embedding", vector.index);
        // Writing numbers and letters to a vector can't fail.
        let _ = if self.in_base64 {
            serde_json::to_writer(&mut self.data, &Item { object, index, embedding: &vector.embedding })
        } else {
            let Some(numbers) = vector.numbers() else { return self.damaged = true };
            serde_json::to_writer(&mut self.data, &Item { object, index, embedding: &numbers })
        };
    }

    fn body(self, model: &str, usage: Usage) -> Vec<u8> {
        let used = Used {
            prompt_tokens: usage.input_tokens,
            total_tokens: usage.input_tokens,
            cost: (usage.cost.0 > 0).then(|| usage.cost.dollars()),
        };
        let mut body = b"{\"object\":\"list\",\"data\":[".to_vec();
        body.extend_from_slice(&self.data);
        body.extend_from_slice(b"],\"model\":");
        let _ = serde_json::to_writer(&mut body, model);
        body.extend_from_slice(b",\"usage\":");
        let _ = serde_json::to_writer(&mut body, &used);
        body.push(b'}');
        body
    }
}
