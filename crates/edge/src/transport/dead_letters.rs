//! `POST /v1/dead-letters/retry`: dead letters that are tried again, named one by one or by a filter.

use super::body;
use super::explore::moment;
use super::tasks::parse_id;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Request, State};
use std::sync::Arc;
use tidewire_core::Task;
use tidewire_core::port::Filter;
use tidewire_proto::Code;
use tidewire_proto::http::{NotRetried, Retried, RetriedLetters, RetryLetters};

/// How many are tried again at once: each is a commit, and the answer waits for all.
const MAX_LETTERS: usize = 1000;

pub(super) async fn retry(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Json<RetriedLetters>, Refusal> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let asked: RetryLetters = if bytes.is_empty() { RetryLetters::default() } else { body::json(&bytes)? };
    let limit = asked.limit.unwrap_or(MAX_LETTERS);
    if !(1..=MAX_LETTERS).contains(&limit) || asked.tasks.len() > MAX_LETTERS {
        return Err(Refusal::new(Code::InvalidRequest, format!("at most {MAX_LETTERS} are tried again at once")));
    }
    let mut answer = RetriedLetters::default();
    let letters = if asked.tasks.is_empty() {
        let letters = by_filter(&edge, &caller, asked, limit).await?;
        answer.more = letters.len() == limit;
        letters
    } else {
        by_name(&edge, &caller, asked, &mut answer).await?
    };
    for dead in letters {
        let task = dead.id.to_string();
        match crate::retry::retry(&edge, &caller, &dead).await {
            Ok(accepted) => answer.retried.push(Retried { task, retried_as: accepted.task.id.to_string() }),
            Err(refusal) => {
                let full = refusal.0.retry_after_ms.is_some();
                answer.refused.push(NotRetried { task, error: refusal.0 });
                if full {
                    // The others would be refused alike: the caller comes back for them.
                    answer.more = true;
                    break;
                }
            }
        }
    }
    Ok(Json(answer))
}

async fn by_filter(edge: &Edge, caller: &Caller, asked: RetryLetters, limit: usize) -> Result<Vec<Task>, Refusal> {
    let mut filter = Filter {
        shadows: Some(false),
        tenant: Some(caller.tenant),
        dead: true,
        model: asked.model,
        code: asked.code,
        since: moment(asked.since),
        until: moment(asked.until),
        limit,
        ..Filter::default()
    };
    let mut letters = Vec::new();
    loop {
        let page = edge.tasks.list(&filter).await?;
        for listed in page.tasks {
            // A list leaves inputs out.
            letters.extend(edge.tasks.get(listed.at()).await?);
        }
        filter.limit = limit - letters.len().min(limit);
        match page.next.filter(|_| filter.limit > 0) {
            Some(next) => filter.before = Some(next),
            None => return Ok(letters),
        }
    }
}

async fn by_name(
    edge: &Edge,
    caller: &Caller,
    asked: RetryLetters,
    answer: &mut RetriedLetters,
) -> Result<Vec<Task>, Refusal> {
    let mut letters = Vec::new();
    for id in asked.tasks {
        let found = match parse_id(caller, &id) {
            Ok(at) => edge.tasks.get(at).await?.ok_or_else(|| Refusal::unknown_task(&id)),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(task) => letters.push(task),
            Err(refusal) => answer.refused.push(NotRetried { task: id, error: refusal.0 }),
        }
    }
    Ok(letters)
}
