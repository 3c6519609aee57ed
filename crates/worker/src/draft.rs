//! A task's log as its writer sees it: where the tail is, what text stands, what was used.

use crate::Worker;
use crate::subject;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_core::cache::Told;
use tidewire_core::port::{Append, AppendError, Appended, Cursor, Measurement, ReadError, Signal, Writer};
use tidewire_core::route::Plan;
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Entry, Event, Fence, Kind, LogRef, Offset, Outcome, Task, Usage};

/// How much of a log is read at once when an attempt takes over.
const REPLAY_BYTES: usize = 1024 * 1024;

/// The writer's view of one task's log.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) log: LogRef,
    fence: Fence,
    /// Where the next append goes.
    pub(crate) tail: Offset,
    /// The answer's text that stands.
    pub(crate) text: String,
    /// Where the answer's first event stands, if it has any: what a rewind names.
    pub(crate) begins_at: Option<Offset>,
    /// Something but text stands (a tool call, reasoning): no attempt can go on from there.
    pub(crate) has_more_than_text: bool,
    /// What earlier attempts used.
    pub(crate) used_before: Usage,
    /// What an attempt is taken to have read that was lost before it could say so.
    input_tokens: u64,
}

/// Why an attempt can't write. The first two are no failures of the task.
#[derive(Debug)]
pub(crate) enum Barred {
    /// The log has ended: the task is done.
    Ended,
    /// Another worker has taken over.
    Fenced,
    /// The engine can't write now.
    Unavailable(String),
}

impl From<AppendError> for Barred {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Ended { .. } => Self::Ended,
            AppendError::Fenced { .. } | AppendError::TailMoved { .. } => Self::Fenced,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<ReadError> for Barred {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The data of a `retry` event: the next attempt follows after a while, or the next deployment of this one at once. `usage`
/// is there so that whoever follows can add it up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RetryNote {
    pub(crate) attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<String>,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) after_ms: u64,
    #[serde(default)]
    pub(crate) usage: Usage,
}

/// The data of a `rewind` event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RewindNote {
    pub(crate) to: Offset,
}

/// The data of a `started` event.
#[derive(Debug, Serialize)]
pub(crate) struct StartNote<'a> {
    pub(crate) attempt: u32,
    pub(crate) worker: &'a str,
    pub(crate) deployment: &'a str,
    pub(crate) model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hedge: Option<HedgeNote>,
    /// Where the answer came from, where it was not made for this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<&'a Told>,
}

/// Of a run that two deployments were asked for: the one that is not heard. The run began with an earlier `started`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HedgeNote {
    pub(crate) deployment: String,
    pub(crate) after_ms: u64,
    /// The second one is heard.
    pub(crate) won: bool,
    #[serde(default)]
    pub(crate) usage: Usage,
}

/// What a replay reads of a `started` event.
#[derive(Default, Deserialize)]
struct Started {
    #[serde(default)]
    deployment: String,
    #[serde(default)]
    hedge: Option<HedgeNote>,
    #[serde(default)]
    cache: Option<serde::de::IgnoredAny>,
}

/// What the attempt that is read has written since it began. One that leaves no `retry` event was lost, and its usage
/// with it.
#[derive(Default)]
struct Unaccounted {
    began: bool,
    pieces: u64,
    deployment: String,
    /// What the other one used, where two deployments were asked.
    other: Usage,
    /// It was another task's answer: nobody read or wrote anything for this one.
    free: bool,
}

impl Draft {
    /// The draft of a first attempt: nothing can have been written yet.
    pub(crate) fn blank(task: &Task, lease: &Lease) -> Self {
        Self {
            log: lease.task.log(),
            fence: lease.fence,
            tail: Offset(0),
            text: String::new(),
            begins_at: None,
            has_more_than_text: false,
            used_before: Usage::default(),
            input_tokens: task.spec.reserved.input_tokens,
        }
    }

    /// The draft of a later attempt: fences earlier writers off first, then reads what they left. The other way
    /// round, an old worker could write between the read and the first append.
    pub(crate) async fn take_over(worker: &Worker, task: &Task, lease: &Lease) -> Result<Self, Barred> {
        let mut draft = Self::blank(task, lease);
        loop {
            let fencing = worker.log.append(draft.append(Vec::new())).await;
            match fencing {
                Ok(_) => break,
                Err(AppendError::TailMoved { tail }) => draft.tail = tail,
                // The server fell between the task's commit and its log's.
                Err(AppendError::Unknown) => {
                    worker.log.create(draft.log).await.map_err(|error| Barred::Unavailable(error.to_string()))?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        draft.replay(worker).await?;
        Ok(draft)
    }

    /// Reads what stands in the log, and what was used for it: whoever wrote has not kept it.
    pub(crate) async fn replay(&mut self, worker: &Worker) -> Result<(), Barred> {
        self.forget_text();
        self.used_before = Usage::default();
        let plan = worker.catalog.plan();
        let state = worker.log.state(self.log).await?;
        let mut cursor = Cursor { epoch: state.epoch, next: state.first };
        let mut unaccounted = Unaccounted::default();
        while cursor.next < self.tail {
            let page = worker.log.read(self.log, cursor, REPLAY_BYTES).await?;
            let Some(last) = page.events.last() else { break };
            cursor.next = last.offset.plus(1);
            for event in &page.events {
                self.apply(event, &mut unaccounted, &plan);
            }
        }
        self.count_lost(&mut unaccounted, &plan);
        Ok(())
    }

    /// What an attempt read and wrote that was lost before it could say what it used: an estimate, a piece for a token.
    fn count_lost(&mut self, unaccounted: &mut Unaccounted, plan: &Plan) {
        if !unaccounted.free && (unaccounted.began || unaccounted.pieces > 0) {
            let (input_tokens, output_tokens) = (self.input_tokens, unaccounted.pieces);
            let mut lost = Usage { input_tokens, output_tokens, estimated: true, ..Usage::default() };
            lost.cost = plan.deployment(&unaccounted.deployment).map(|at| at.cost(&lost)).unwrap_or_default();
            self.used_before = self.used_before.plus(lost).plus(unaccounted.other);
        }
        *unaccounted = Unaccounted::default();
    }

    fn apply(&mut self, event: &Event, unaccounted: &mut Unaccounted, plan: &Plan) {
        match event.kind {
            Kind::Text => {
                self.begins_at.get_or_insert(event.offset);
                self.text.push_str(&String::from_utf8_lossy(&event.data));
                unaccounted.pieces += 1;
            }
            Kind::Reasoning | Kind::ToolCall | Kind::Logprobs => {
                self.begins_at.get_or_insert(event.offset);
                self.has_more_than_text |= event.kind != Kind::Logprobs;
                unaccounted.pieces += 1;
            }
            Kind::Embedding => {
                self.begins_at.get_or_insert(event.offset);
                self.has_more_than_text = true;
            }
            Kind::Rewind => self.forget_text(),
            // Before a `retry` of this attempt can speak for it alone.
            Kind::Started => {
                let started: Started = serde_json::from_slice(&event.data).unwrap_or_default();
                match started.hedge {
                    // The same run goes on.
                    Some(hedge) => unaccounted.other = hedge.usage,
                    None => self.count_lost(unaccounted, plan),
                }
                unaccounted.deployment = started.deployment;
                unaccounted.free = started.cache.is_some();
                unaccounted.began = true;
            }
            Kind::Retry => {
                if let Ok(note) = serde_json::from_slice::<RetryNote>(&event.data) {
                    self.used_before = self.used_before.plus(note.usage);
                }
                *unaccounted = Unaccounted::default();
            }
            _ => {}
        }
    }

    fn forget_text(&mut self) {
        self.text.clear();
        self.begins_at = None;
        self.has_more_than_text = false;
    }

    /// Nothing stands.
    pub(crate) fn is_blank(&self) -> bool {
        self.begins_at.is_none()
    }

    /// The event that takes back what stands, if anything does.
    pub(crate) fn rewind(&mut self, worker: &Worker) -> Option<Entry> {
        let to = self.begins_at?;
        self.forget_text();
        Some(Entry::new(worker.clock.now(), Kind::Rewind, json(&RewindNote { to })))
    }

    /// What an append of these entries looks like.
    pub(crate) fn append(&self, entries: Vec<Entry>) -> Append {
        Append { log: self.log, writer: Writer::Leased { fence: self.fence, expect: self.tail }, entries }
    }

    /// The log took an append.
    pub(crate) fn advance(&mut self, appended: Appended) {
        self.tail = appended.to;
    }

    /// Ends the log, and with it the task.
    pub(crate) async fn end(
        self,
        worker: &Worker,
        task: &Task,
        entries: Vec<Entry>,
        ending: Ending,
    ) -> Result<(), Barred> {
        let (outcome, usage) = (ending.state, ending.usage);
        let error = ending.error.as_ref().map(|error| error.code.clone());
        worker.log.end(self.append(entries), ending).await?;
        if task.spec.turn.lane.is_some() {
            worker.bus.publish(Signal::Lane(task.tenant));
        }
        let took = worker.clock.now().since(task.submitted_at);
        worker.meter.record(Measurement::Total(took));
        worker.meter.record(Measurement::OutputTokens(usage.output_tokens));
        worker.meter.record(Measurement::Served(subject::of(task), took, error.as_deref()));
        if task.spec.trace.as_ref().is_some_and(|trace| trace.sampled) {
            worker.meter.record(Measurement::Traced(task.at()));
        }
        if outcome == Outcome::Failed {
            tracing::info!(task = %task.id, "the task failed");
        }
        Ok(())
    }
}

/// A note as an event's data.
pub(crate) fn json(note: &impl Serialize) -> Bytes {
    // Notes hold strings and numbers only, so serialising one can't fail.
    serde_json::to_vec(note).unwrap_or_default().into()
}
