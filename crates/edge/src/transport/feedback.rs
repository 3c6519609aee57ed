//! `/v1/tasks/{id}/feedback`: what people think of an answer.

use super::body;
use super::tasks::find;
use crate::Edge;
use crate::feedback;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use std::sync::Arc;
use tidewire_core::Task;
use tidewire_proto::Code;
use tidewire_proto::feedback::{Feedback, FeedbackList, NewFeedback, Score};

/// A comment's bytes: a page of text. Twenty of them fit into one record of the directory.
const MAX_COMMENT_BYTES: usize = 2000;

/// Tags, and bytes of each: words for a chart, not texts.
const MAX_TAGS: usize = 8;
const MAX_TAG_BYTES: usize = 64;

/// `POST`.
pub(super) async fn give(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let task = judged(&edge, &caller, &id).await?;
    let new: NewFeedback = body::json(&body::read(&edge, request.into_body()).await?)?;
    let feedback = checked(&edge, &caller, new)?;
    feedback::add(&edge, &task, feedback.clone()).await?;
    Ok((StatusCode::CREATED, Json(feedback)).into_response())
}

/// `GET`.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<FeedbackList>, Refusal> {
    let task = judged(&edge, &caller, &id).await?;
    Ok(Json(FeedbackList { feedback: feedback::list(&edge, task.at()).await? }))
}

/// The task, where the caller may have a word about it: who speaks for one user, about that one's own answers.
async fn judged(edge: &Edge, caller: &Caller, id: &str) -> Result<Task, Refusal> {
    let task = find(edge, caller, id).await?;
    match (&caller.payer.user, &task.spec.payer.user) {
        (Some(user), Some(whose)) if user != whose => Err(Refusal::unknown_task(id)),
        _ => Ok(task),
    }
}

fn checked(edge: &Edge, caller: &Caller, new: NewFeedback) -> Result<Feedback, Refusal> {
    let invalid = |message: String| Refusal::new(Code::InvalidRequest, message);
    let score = match new.score {
        Score::Number(score) if (-1.0..=1.0).contains(&score) => score,
        Score::Word(word) if word == "up" => 1.0,
        Score::Word(word) if word == "down" => -1.0,
        _ => return Err(invalid("`score` is a number from -1 to 1, or `up`, or `down`".to_owned())),
    };
    if new.comment.as_ref().is_some_and(|comment| comment.len() > MAX_COMMENT_BYTES) {
        return Err(invalid(format!("`comment` has at most {MAX_COMMENT_BYTES} bytes")));
    }
    let fits = |tag: &String| (1..=MAX_TAG_BYTES).contains(&tag.len());
    if new.tags.len() > MAX_TAGS || !new.tags.iter().all(fits) {
        return Err(invalid(format!("`tags` are at most {MAX_TAGS}, of 1 to {MAX_TAG_BYTES} bytes each")));
    }
    Ok(Feedback {
        at: edge.clock.now().as_millis(),
        score,
        comment: new.comment,
        tags: new.tags,
        key: caller.payer.key.map(|key| key.to_string()),
        user: caller.payer.user.as_deref().map(str::to_owned),
    })
}
