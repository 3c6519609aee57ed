//! Tells a task's story as spans, from its record and the events of its log, whether it has ended or not.

use super::{Part, Span, SpanId, Status, Trace, Value};
use crate::cache::Told;
use crate::ending::{Ending, Failure, Outcome, Usage};
use crate::event::{Event, Kind};
use crate::id::{LogRef, Offset};
use crate::port::{Cursor, EventLog, Operation, ReadError};
use crate::task::Task;
use crate::time::Timestamp;
use serde::Deserialize;

/// The most spans of one story: ten attempts that each go through many deployments have fewer. What is more is counted.
const MAX_SPANS: usize = 512;

/// How much of a log is read at once.
const PAGE_BYTES: usize = 1024 * 1024;

/// A story, while its log is read.
pub struct Story<'a> {
    task: &'a Task,
    root: Span,
    spans: Vec<Span>,
    left_out: u64,
    /// What is waited for now, if anything: a worker, or the end of a backoff.
    waiting: Option<Span>,
    attempt: Option<Attempt>,
    /// What earlier attempts used.
    used: Usage,
    delays: u64,
    last: Timestamp,
}

/// An attempt that is not over.
struct Attempt {
    span: Span,
    first: Option<(Timestamp, Offset)>,
    last: Timestamp,
    pieces: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Started {
    attempt: u64,
    worker: String,
    deployment: String,
    model: String,
    hedge: Option<Hedge>,
    cache: Option<Told>,
}

/// Of an attempt that began earlier, for which a second deployment was asked: the one that was left.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Hedge {
    deployment: String,
    after_ms: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Retry {
    code: String,
    message: String,
    after_ms: u64,
    usage: Usage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rewind {
    to: u64,
}

impl<'a> Story<'a> {
    /// The story of a task. Its events follow.
    pub fn new(task: &'a Task) -> Self {
        let trace = task.trace();
        let operation = Operation::of(&task.spec).name();
        let mut root = Span {
            id: SpanId::of_task(task.id),
            parent: trace.parent,
            part: Part::Task,
            offset: Offset(0),
            name: format!("task {}", task.spec.model),
            start: task.submitted_at,
            end: None,
            status: Status::Open,
            message: None,
            attributes: Vec::new(),
        };
        root.note("gen_ai.operation.name", operation);
        root.note("gen_ai.request.model", task.spec.model.as_str());
        root.note("tidewire.task", Value::Text(task.id.to_string()));
        let mut story = Self {
            task,
            root,
            spans: Vec::new(),
            left_out: 0,
            waiting: None,
            attempt: None,
            used: Usage::default(),
            delays: 0,
            last: task.submitted_at,
        };
        story.waiting = Some(story.span(Part::Queue, Offset(0), task.submitted_at));
        story
    }

    /// The next event.
    pub fn hear(&mut self, event: &Event) {
        match event.kind {
            Kind::Started => self.started(event),
            Kind::Text | Kind::Reasoning | Kind::ToolCall | Kind::Embedding => self.piece(event),
            Kind::Logprobs => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.last = event.at;
                }
            }
            Kind::Rewind => self.rewound(event),
            Kind::Retry => self.failed(event),
            Kind::Delayed => self.delays += 1,
            Kind::End => self.ended(event),
            _ => {}
        }
        self.last = self.last.max(event.at);
    }

    /// All spans, in the order in which they began; the task's own is the first.
    pub fn tell(mut self) -> Vec<Span> {
        // The record may know of an end that the log's reader has not come to.
        if self.root.end.is_none()
            && let Some((at, ending)) = self.task.ended.clone()
        {
            self.end_with(at, &ending);
        }
        if let Some(attempt) = self.attempt.take() {
            self.push_attempt(attempt, None);
        }
        self.spans.extend(self.waiting.take());
        if self.left_out > 0 {
            self.root.note("tidewire.spans_left_out", self.left_out);
        }
        // Stable: what began at the same moment stays as it was told.
        self.spans.sort_by_key(|span| span.start);
        self.spans.insert(0, self.root);
        self.spans
    }

    fn span(&self, part: Part, offset: Offset, start: Timestamp) -> Span {
        Span {
            id: SpanId::of(self.task.id, part, offset),
            parent: Some(self.root.id),
            part,
            offset,
            name: part.name().to_owned(),
            start,
            end: None,
            status: Status::Open,
            message: None,
            attributes: Vec::new(),
        }
    }

    fn push(&mut self, span: Span) {
        if self.spans.len() < MAX_SPANS { self.spans.push(span) } else { self.left_out += 1 }
    }

    fn started(&mut self, event: &Event) {
        let started: Started = serde_json::from_slice(&event.data).unwrap_or_default();
        if let (Some(hedge), Some(attempt)) = (&started.hedge, &mut self.attempt) {
            attempt.span.note("tidewire.hedge.heard", started.deployment.as_str());
            attempt.span.note("tidewire.hedge.left", hedge.deployment.as_str());
            attempt.span.note("tidewire.hedge.after_ms", hedge.after_ms);
            return;
        }
        // No `retry` and no `end`: the worker was lost, or handed the task back.
        if let Some(lost) = self.attempt.take() {
            let at = lost.last;
            self.push_attempt(lost, Some((at, Status::TakenOver)));
            let again = self.span(Part::Queue, event.offset, at);
            self.waiting.get_or_insert(again);
        }
        self.no_more_waiting(event.at, Status::Ok);
        let operation = Operation::of(&self.task.spec).name();
        let mut span = self.span(Part::Attempt, event.offset, event.at);
        span.name = format!("{operation} {}", started.model);
        span.note("gen_ai.operation.name", operation);
        span.note("gen_ai.request.model", started.model.as_str());
        span.note("tidewire.deployment", started.deployment.as_str());
        span.note("tidewire.attempt", started.attempt);
        span.note("tidewire.worker", started.worker.as_str());
        if let Some(told) = &started.cache {
            note_cache(&mut span, told);
        }
        self.attempt = Some(Attempt { span, first: None, last: event.at, pieces: 0 });
    }

    fn piece(&mut self, event: &Event) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.first.get_or_insert((event.at, event.offset));
        attempt.last = event.at;
        attempt.pieces += 1;
    }

    fn rewound(&mut self, event: &Event) {
        let rewind: Rewind = serde_json::from_slice(&event.data).unwrap_or_default();
        let mut span = self.span(Part::Rewind, event.offset, event.at);
        span.parent = self.attempt.as_ref().map(|attempt| attempt.span.id).or(span.parent);
        span.note("tidewire.rewind.to", rewind.to);
        span.close(event.at, Status::Ok);
        self.push(span);
    }

    fn failed(&mut self, event: &Event) {
        let retry: Retry = serde_json::from_slice(&event.data).unwrap_or_default();
        self.used = self.used.plus(retry.usage);
        if let Some(mut attempt) = self.attempt.take() {
            note_usage(&mut attempt.span, &retry.usage);
            note_error(&mut attempt.span, &retry.code, &retry.message);
            self.push_attempt(attempt, Some((event.at, Status::Error)));
        }
        if retry.after_ms > 0 {
            let mut span = self.span(Part::Backoff, event.offset, event.at);
            span.note("tidewire.backoff.planned_ms", retry.after_ms);
            self.waiting = Some(span);
        }
    }

    fn ended(&mut self, event: &Event) {
        if let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) {
            self.end_with(event.at, &ending);
        }
    }

    fn end_with(&mut self, at: Timestamp, ending: &Ending) {
        let status = match ending.state {
            Outcome::Done => Status::Ok,
            Outcome::Failed => Status::Error,
            Outcome::Stopped => Status::Stopped,
        };
        let reasons = ending.finish_reason.iter().cloned().collect::<Vec<_>>();
        if let Some(mut attempt) = self.attempt.take() {
            self.root.note("gen_ai.response.model", model_of(&attempt.span));
            note_usage(&mut attempt.span, &minus(ending.usage, self.used));
            if !reasons.is_empty() {
                attempt.span.note("gen_ai.response.finish_reasons", Value::List(reasons.clone()));
            }
            note_failure(&mut attempt.span, ending.error.as_ref());
            self.push_attempt(attempt, Some((at, status)));
        }
        self.no_more_waiting(at, status);
        note_usage(&mut self.root, &ending.usage);
        if !reasons.is_empty() {
            self.root.note("gen_ai.response.finish_reasons", Value::List(reasons));
        }
        if let Some(deployment) = &ending.deployment {
            self.root.note("tidewire.deployment", deployment.as_str());
        }
        self.root.note("tidewire.attempts", u64::from(ending.attempts));
        note_failure(&mut self.root, ending.error.as_ref());
        self.root.close(at, status);
    }

    fn no_more_waiting(&mut self, at: Timestamp, status: Status) {
        let Some(mut waiting) = self.waiting.take() else { return };
        if waiting.part == Part::Queue && self.delays > 0 {
            waiting.note("tidewire.delays", std::mem::take(&mut self.delays));
        }
        waiting.close(at, status);
        self.push(waiting);
    }

    /// An attempt and its two parts. Without an end it goes on.
    fn push_attempt(&mut self, attempt: Attempt, end: Option<(Timestamp, Status)>) {
        let Attempt { mut span, first, last, pieces } = attempt;
        let mut waited = self.span(Part::FirstToken, span.offset, span.start);
        waited.parent = Some(span.id);
        let mut parts = Vec::with_capacity(2);
        match (first, end) {
            (Some((at, offset)), _) => {
                waited.close(at, Status::Ok);
                let mut streaming = self.span(Part::Streaming, offset, at);
                streaming.parent = Some(span.id);
                streaming.note("tidewire.pieces", pieces);
                if let Some((_, status)) = end {
                    streaming.close(last, status);
                }
                parts.extend([waited, streaming]);
            }
            (None, Some((at, status))) => {
                waited.close(at, status);
                parts.push(waited);
            }
            (None, None) => parts.push(waited),
        }
        if let Some((at, status)) = end {
            span.close(at, status);
        }
        self.push(span);
        for part in parts {
            self.push(part);
        }
    }
}

fn model_of(span: &Span) -> Value {
    span.get("gen_ai.request.model").cloned().unwrap_or_else(|| "".into())
}

/// Where the answer came from. What was asked is not told: a trace leaves the house.
fn note_cache(span: &mut Span, told: &Told) {
    span.note("tidewire.cache", told.state.name());
    span.note("tidewire.cache.age_ms", told.age_ms);
    if let Some(task) = told.task {
        span.note("tidewire.cache.task", Value::Text(task.to_string()));
    }
    if let Some(reason) = &told.reason {
        span.note("tidewire.cache.reason", reason.as_str());
    }
    if let Some(semantic) = &told.semantic {
        span.note("tidewire.cache.similarity", Value::Number(semantic.similarity.cosine()));
        span.note("tidewire.cache.key", Value::Text(semantic.key.to_string()));
    }
}

fn note_usage(span: &mut Span, usage: &Usage) {
    span.note("gen_ai.usage.input_tokens", usage.input_tokens);
    span.note("gen_ai.usage.output_tokens", usage.output_tokens);
    if usage.cached_tokens > 0 {
        span.note("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
    }
    if usage.cache_write_tokens > 0 {
        span.note("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens);
    }
    if usage.reasoning_tokens > 0 {
        span.note("tidewire.usage.reasoning_tokens", usage.reasoning_tokens);
    }
    if usage.estimated {
        span.note("tidewire.usage.estimated", Value::Flag(true));
    }
    if !usage.cost.is_zero() {
        span.note("tidewire.cost_usd", Value::Number(usage.cost.dollars()));
    }
}

fn note_failure(span: &mut Span, failure: Option<&Failure>) {
    if let Some(failure) = failure {
        note_error(span, &failure.code, &failure.message);
    }
}

fn note_error(span: &mut Span, code: &str, message: &str) {
    span.note("error.type", code);
    span.message = Some(message.to_owned());
}

/// What is left of a sum without its earlier parts.
fn minus(sum: Usage, part: Usage) -> Usage {
    Usage {
        input_tokens: sum.input_tokens.saturating_sub(part.input_tokens),
        cached_tokens: sum.cached_tokens.saturating_sub(part.cached_tokens),
        output_tokens: sum.output_tokens.saturating_sub(part.output_tokens),
        cache_write_tokens: sum.cache_write_tokens.saturating_sub(part.cache_write_tokens),
        reasoning_tokens: sum.reasoning_tokens.saturating_sub(part.reasoning_tokens),
        cost: sum.cost.minus(part.cost),
        ..sum
    }
}

/// Reads a log as far as it stands now, event by event; one that is gone has none.
pub async fn each_event(log: &dyn EventLog, at: LogRef, mut hear: impl FnMut(&Event)) -> Result<(), ReadError> {
    let state = match log.state(at).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut cursor = Cursor { epoch: state.epoch, next: state.first };
    // No further than it stood at first: a log that grows as fast as it is read would be read for ever.
    while cursor.next < state.tail {
        let page = log.read(at, cursor, PAGE_BYTES).await?;
        let Some(last) = page.events.last() else { break };
        cursor.next = last.offset.plus(1);
        page.events.iter().for_each(&mut hear);
    }
    Ok(())
}

impl Task {
    /// The trace that it belongs to: the one that it was asked for in, or else its own.
    pub fn trace(&self) -> Trace {
        self.spec.trace.clone().unwrap_or_else(|| Trace::begun(self.id))
    }
}

#[cfg(test)]
mod tests;
