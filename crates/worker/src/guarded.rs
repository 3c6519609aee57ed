//! A backend behind guardrails: what it is asked and what it answers passes the rules of the task's route, and the checker
//! outside.
//!
//! ```text
//!  prompt ──▶ rules, where it is not the one that was admitted ──▶ checker ──▶ backend
//!  answer ◀── checker ◀── rules ◀───────────────────────────────────────────── backend
//! ```

mod checking;
mod masking;

use crate::Worker;
use async_trait::async_trait;
use bytes::Bytes;
use checking::Checked;
use masking::Masking;
use std::sync::Arc;
use tidewire_core::Task;
use tidewire_core::TaskRef;
use tidewire_core::guard::{Action, Checking, Hit, OnFailure, Place, Rules, joined, rewritten};
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, Fault, Measurement, Meter, Model, Opinion, Question, Request, Run, Stage,
};
use tidewire_core::route::Plan;

/// The longest text that a checker is asked about: 256 KiB are some 64,000 tokens. Of a longer one it gets the end of an
/// answer, and the beginning of a prompt.
const MAX_CHECKED_BYTES: usize = 256 * 1024;

/// The rule's name for what the checker does, in metrics.
const CHECKER: &str = "checker";

/// The backend, behind the guardrails of the task's route; itself, where there are none.
pub(crate) fn guarded(worker: &Worker, task: &Task, plan: &Plan, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    let (policy, spec) = (plan.guards(), &task.spec);
    let rules = |place| policy.rules(&spec.model, &spec.capability, place).cloned();
    let (prompt, answer) = (rules(Place::Prompt), rules(Place::Answer));
    let checking = policy.checking(&spec.model, &spec.capability).cloned();
    if prompt.is_none() && answer.is_none() && checking.is_none() {
        return backend;
    }
    let guard = Guard { task: task.at(), route: spec.model.clone(), meter: worker.meter.clone() };
    Arc::new(Guarded { backend, prompt, answer, checking, admitted: spec.input.clone(), guard })
}

/// Whose prompt and answer it is, and where it is counted what becomes of them.
#[derive(Clone)]
struct Guard {
    task: TaskRef,
    route: String,
    meter: Arc<dyn Meter>,
}

struct Guarded {
    backend: Arc<dyn Backend>,
    prompt: Option<Arc<Rules>>,
    answer: Option<Arc<Rules>>,
    checking: Option<Checking>,
    /// What passed the rules when the task was admitted.
    admitted: Bytes,
    guard: Guard,
}

impl Guard {
    fn count(&self, hits: &[Hit]) {
        for hit in hits {
            self.did(&hit.rule, hit.action.name());
        }
    }

    fn did(&self, rule: &str, action: &'static str) {
        self.meter.record(Measurement::Guarded { rule, action });
        // Without the text, and without the task's where it is only masked: that is no news.
        if action == Action::Mask.name() {
            tracing::debug!(task = %self.task.task, rule, action, "a guardrail");
        } else {
            tracing::info!(task = %self.task.task, rule, action, "a guardrail");
        }
    }

    /// The checker's opinion; or, where it has none, what the policy makes of that.
    async fn ask(&self, checking: &Checking, stage: Stage, text: String) -> Result<Opinion, BackendError> {
        let question = Question { stage, task: self.task, route: self.route.clone(), text };
        match (checking.checker.check(question).await, checking.on_failure) {
            (Ok(opinion), _) => Ok(opinion),
            (Err(error), on_failure) => {
                let closed = on_failure == OnFailure::Closed;
                self.meter.record(Measurement::Guarded {
                    rule: CHECKER,
                    action: if closed { "failed_closed" } else { "failed_open" },
                });
                tracing::warn!(task = %self.task.task, stage = stage.name(), %error, closed, "no opinion of the checker");
                if closed {
                    return Err(BackendError::new(
                        Fault::Unchecked,
                        "the checker gave no answer, and nothing passes without",
                    ));
                }
                Ok(Opinion { allow: true, ..Opinion::default() })
            }
        }
    }

    /// What the checker forbids without saying what to say in its place.
    fn refused(&self, stage: Stage, opinion: &Opinion) -> BackendError {
        self.did(CHECKER, Action::Block.name());
        let what = if stage == Stage::Prompt { "prompt" } else { "answer" };
        let reason = opinion.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        BackendError::new(Fault::Blocked, format!("the checker forbids this {what}{reason}"))
    }

    /// The checker has another text.
    fn replaced(&self) {
        self.did(CHECKER, "replace");
    }
}

impl Guarded {
    /// The prompt after the rules. What was admitted has passed them: only files and what a lane adds is new.
    fn screened(&self, input: Bytes) -> Result<Bytes, BackendError> {
        let Some(rules) = self.prompt.as_ref().filter(|_| input != self.admitted) else { return Ok(input) };
        let mut hits = Vec::new();
        let new = rewritten(&input, |text| rules.apply(text, &mut hits));
        self.guard.count(&hits);
        match new {
            Ok(new) => Ok(new.map_or(input, Bytes::from)),
            Err(blocked) => Err(forbidden("prompt", &blocked.rule)),
        }
    }

    /// The prompt after the checker; or the answer that it gives instead.
    async fn checked(&self, checking: &Checking, input: Bytes) -> Result<Result<Bytes, String>, BackendError> {
        let text = joined(&input, MAX_CHECKED_BYTES);
        let mut opinion = self.guard.ask(checking, Stage::Prompt, text).await?;
        match (opinion.allow, opinion.replacement.take()) {
            (true, None) => Ok(Ok(input)),
            (true, Some(replacement)) => {
                self.guard.replaced();
                Ok(Ok(with_last_text(&input, &replacement)))
            }
            (false, Some(replacement)) => {
                self.guard.replaced();
                Ok(Err(replacement))
            }
            (false, None) => Err(self.guard.refused(Stage::Prompt, &opinion)),
        }
    }
}

/// A rule forbids what is asked or answered.
fn forbidden(what: &str, rule: &str) -> BackendError {
    BackendError::new(Fault::Blocked, format!("the rule `{rule}` forbids this {what}"))
}

/// The request with this text in the place of the last one that is said.
fn with_last_text(input: &Bytes, replacement: &str) -> Bytes {
    let mut count = 0_usize;
    let _ = rewritten(input, |_| {
        count += 1;
        Ok::<_, ()>(None)
    });
    let mut index = 0;
    let new = rewritten(input, |_| {
        index += 1;
        Ok::<_, ()>((index == count).then(|| replacement.to_owned()))
    });
    new.ok().flatten().map_or_else(|| input.clone(), Bytes::from)
}

/// An answer that the checker gives in the model's place.
fn instead(replacement: String) -> Run {
    let chunks = [Chunk::Text(replacement.into()), Chunk::Finish(checking::FILTERED.into())];
    Run { begins: Begins::Afresh, chunks: Box::pin(futures_util::stream::iter(chunks.map(Ok))), limits: Vec::new() }
}

#[async_trait]
impl Backend for Guarded {
    async fn run(&self, mut request: Request) -> Result<Run, BackendError> {
        request.input = self.screened(request.input)?;
        if let Some(checking) = self.checking.as_ref().filter(|checking| checking.prompts) {
            match self.checked(checking, request.input).await? {
                Ok(input) => request.input = input,
                Err(replacement) => return Ok(instead(replacement)),
            }
        }
        let committed =
            if self.answer.is_some() || self.checking.is_some() { request.committed.clone() } else { String::new() };
        let mut run = self.backend.run(request).await?;
        // What a new beginning takes back is no longer part of the answer.
        let before = if run.begins == Begins::AfterCommitted { committed } else { String::new() };
        if let Some(rules) = &self.answer {
            run.chunks = Box::pin(Masking::new(run.chunks, rules.clone(), &before, self.guard.clone()));
        }
        if let Some(checking) = self.checking.as_ref().filter(|checking| checking.answers) {
            run.chunks = Checked::chunks(run.chunks, before, checking.clone(), self.guard.clone());
        }
        Ok(run)
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        self.backend.models().await
    }
}

#[cfg(test)]
mod tests;
