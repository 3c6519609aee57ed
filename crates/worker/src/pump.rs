//! Moves what a model says into the log: one append under way at a time, and what comes meanwhile goes with
//! the next one. So a fast disk gives small appends and a slow one large ones, and no token waits for a timer.

use crate::Worker;
use crate::draft::{Barred, Draft};
use crate::hedged::Race;
use crate::keeper::{Leash, Order};
use crate::purse::Purse;
use crate::subject;
use crate::tally::Tally;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Appended, Asked, Backend, BackendError, Begins, Chunk, Fault, Measurement, Reason, Request, UpstreamLimit,
};
use tidewire_core::{Entry, Failure, Kind, Task, Timestamp, Usage};

/// What may pile up during one append before the model has to wait: a few seconds of a fast model.
const MAX_PENDING_BYTES: usize = 256 * 1024;

/// The longest text of one event. A backend that answers in one piece may give megabytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What a run came to.
pub(crate) struct Pumped {
    /// How it ended.
    pub(crate) finish: Finish,
    /// What is not in the log yet: it goes with the last append.
    pub(crate) rest: Vec<Entry>,
    /// What the run used.
    pub(crate) usage: Usage,
    /// The mean from one piece to the next, where there were two.
    pub(crate) per_token: Option<Duration>,
    /// Whose answer it is, where one was asked.
    pub(crate) by: Option<Arc<str>>,
    /// Something of it was said.
    pub(crate) spoke: bool,
}

impl Pumped {
    /// What ended before any model was asked.
    pub(crate) fn unasked(finish: Finish) -> Self {
        Self { finish, rest: Vec::new(), usage: Usage::default(), per_token: None, by: None, spoke: false }
    }
}

/// What is said, by whom, and what it may cost.
pub(crate) struct Call<'a, 'w> {
    pub(crate) said: Speech<'a>,
    pub(crate) by: Speaker<'a>,
    /// What it may spend.
    pub(crate) purse: &'a mut Purse<'w>,
}

/// How a run ended.
pub(crate) enum Finish {
    /// The answer is whole, with the model's own word for why.
    Whole(Reason),
    /// The backend failed.
    Failed(BackendError),
    /// There is nothing to give to the backend, and never will be.
    Refused(Failure),
    /// An order came.
    Called(Order),
    /// The task's deadline passed.
    TooLate,
}

/// Who speaks.
#[derive(Clone, Copy)]
pub(crate) enum Speaker<'a> {
    /// A deployment, or a second one where that is late, to this task alone.
    Deployment(&'a Race<'a>),
    /// A deployment, to several tasks: whoever drives it measures it.
    Shared,
    /// Nobody any more: the answer was kept.
    Kept,
}

/// What comes of a run.
pub(crate) enum Said {
    /// Two deployments were asked, and this says which one is heard.
    Hedged(Entry),
    Begun(Begins, Vec<UpstreamLimit>),
    Chunk(Chunk),
}

/// What is said, as it is said.
pub(crate) type Speech<'a> = Pin<Box<dyn Stream<Item = Result<Said, BackendError>> + Send + 'a>>;

/// Writes `opening` and then all that is said into the log.
pub(crate) async fn pump(
    worker: &Worker,
    task: &Task,
    draft: &mut Draft,
    leash: &mut Leash,
    opening: Vec<Entry>,
    call: Call<'_, '_>,
) -> Result<Pumped, Barred> {
    let asked = worker.clock.now();
    let Call { mut said, by, purse } = call;
    let mut deadline = worker.clock.sleep(task.spec.deadline.since(worker.clock.now()));
    let mut intake = Intake::new(opening);
    let mut landing: Landing<'_> = None;
    let finish = loop {
        if landing.is_none() && !intake.pending.is_empty() {
            landing = Some(worker.log.append(draft.append(intake.take())));
        }
        if purse.is_spent(intake.tally.written())
            && let Some(refused) = purse.refused()
        {
            break Finish::Refused(refused);
        }
        tokio::select! {
            biased;
            order = leash.called() => break Finish::Called(order),
            landed = landed(&mut landing) => {
                landing = None;
                draft.advance(landed?);
                intake.committed(worker, task);
            }
            () = &mut deadline => break Finish::TooLate,
            () = purse.answered() => {}
            next = said.next(), if intake.bytes < MAX_PENDING_BYTES && !purse.is_spent(intake.tally.written()) => match next {
                Some(Ok(Said::Hedged(note))) => intake.pending.push(note),
                Some(Ok(Said::Begun(begins, limits))) => {
                    if let Speaker::Deployment(race) = by {
                        race.told(&limits);
                    }
                    intake.tally.begun = true;
                    if begins == Begins::Afresh {
                        intake.pending.extend(draft.rewind(worker));
                    }
                }
                Some(Ok(Said::Chunk(Chunk::Finish(reason)))) => break Finish::Whole(reason),
                Some(Ok(Said::Chunk(chunk))) => {
                    let now = worker.clock.now();
                    if intake.take_in(chunk, now)
                        && let Speaker::Deployment(race) = by
                    {
                        race.first_token(now.since(asked));
                    }
                    purse.wrote(intake.tally.written());
                }
                Some(Err(error)) => break Finish::Failed(error),
                None => break Finish::Failed(BackendError::new(Fault::Broken, "the answer broke off")),
            },
        }
    };
    // Before the last append lands: the upstream's connection closes now, not a commit later.
    drop(said);
    if landing.is_some() {
        draft.advance(landed(&mut landing).await?);
        intake.committed(worker, task);
    }
    let (per_token, usage) = (intake.tally.per_token(), intake.tally.usage(&finish, purse.input_tokens()));
    measure(worker, task, (by, asked), (per_token, usage), &finish);
    Ok(Pumped { usage, finish, rest: intake.pending, per_token, by: None, spoke: intake.spoke })
}

/// What a call came to, once it is over. A kept answer's pace is no model's.
fn measure(
    worker: &Worker,
    task: &Task,
    (by, asked): (Speaker<'_>, Timestamp),
    (per_token, usage): (Option<Duration>, Usage),
    finish: &Finish,
) {
    let subject = subject::of(task);
    if let Some(per_token) = per_token.filter(|_| !matches!(by, Speaker::Kept)) {
        worker.meter.record(Measurement::PerToken(per_token));
        worker.meter.record(Measurement::ServedPerToken(subject, per_token));
    }
    if let Speaker::Deployment(race) = by {
        let deployment = race.deployment();
        let took = worker.clock.now().since(asked);
        let error = failed(finish);
        worker.meter.record(Measurement::Asked(subject, Asked { deployment: &deployment.name, took, usage, error }));
    }
}

/// The code of a deployment's failure, if that is how it ended.
pub(crate) fn failed(finish: &Finish) -> Option<&'static str> {
    if let Finish::Failed(error) = finish { Some(error.fault.code()) } else { None }
}

type Landing<'a> =
    Option<Pin<Box<dyn Future<Output = Result<Appended, tidewire_core::port::AppendError>> + Send + 'a>>>;

/// The append under way; never ready where there is none.
async fn landed(landing: &mut Landing<'_>) -> Result<Appended, tidewire_core::port::AppendError> {
    match landing {
        Some(landing) => landing.await,
        None => future::pending().await,
    }
}

/// The backend's acceptance and then its chunks, as one stream: an order or a deadline cuts either.
pub(crate) fn speak(backend: Arc<dyn Backend>, request: Request) -> Speech<'static> {
    let said = async move { backend.run(request).await }.into_stream().flat_map(|run| match run {
        Ok(run) => stream::iter([Ok(Said::Begun(run.begins, run.limits))])
            .chain(run.chunks.map(|chunk| chunk.map(Said::Chunk)))
            .left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    Box::pin(said)
}

/// What came in and is not in the log yet, and what is counted over it.
struct Intake {
    pending: Vec<Entry>,
    bytes: usize,
    tally: Tally,
    spoke: bool,
    first_committed: bool,
}

impl Intake {
    fn new(opening: Vec<Entry>) -> Self {
        Self { pending: opening, bytes: 0, tally: Tally::default(), spoke: false, first_committed: false }
    }

    fn take(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// Takes in a chunk. Whether it was the first piece.
    fn take_in(&mut self, chunk: Chunk, at: Timestamp) -> bool {
        let first = self.tally.count(&chunk, at);
        match chunk {
            Chunk::Text(text) => self.push(Kind::Text, text, at),
            Chunk::Reasoning(text) => self.push(Kind::Reasoning, text, at),
            Chunk::ToolCall(json) => self.push(Kind::ToolCall, json, at),
            Chunk::Logprobs(json) => self.push(Kind::Logprobs, json, at),
            Chunk::Embedding(json) => self.push(Kind::Embedding, json, at),
            Chunk::Usage(_) | Chunk::Finish(_) => {}
        }
        first
    }

    /// Adds an entry; a text that is too long for one is split between characters.
    fn push(&mut self, kind: Kind, mut data: Bytes, at: Timestamp) {
        self.spoke = true;
        self.bytes += data.len();
        while kind.is_text() && data.len() > MAX_TEXT_BYTES {
            let mut cut = MAX_TEXT_BYTES;
            while cut > 0 && data[cut] & 0b1100_0000 == 0b1000_0000 {
                cut -= 1;
            }
            self.pending.push(Entry { at, kind, data: data.split_to(cut.max(1)) });
        }
        self.pending.push(Entry { at, kind, data });
    }

    /// An append landed: the first token's time to be seen, once.
    fn committed(&mut self, worker: &Worker, task: &Task) {
        if !self.first_committed && self.tally.pieces > self.pending.len() as u64 {
            self.first_committed = true;
            let waited = worker.clock.now().since(task.submitted_at);
            worker.meter.record(Measurement::FirstToken(waited));
            worker.meter.record(Measurement::ServedFirstToken(subject::of(task), waited));
        }
    }
}
