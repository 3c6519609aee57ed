//! Moves what a model says into the log: one append under way at a time, and what comes meanwhile goes with
//! the next one. So a fast disk gives small appends and a slow one large ones, and no token waits for a timer.

use crate::Worker;
use crate::draft::{Barred, Draft};
use crate::hedged::Race;
use crate::keeper::{Leash, Order};
use crate::purse::Purse;
use crate::subject;
use bytes::Bytes;
use futures_util::{StreamExt, future};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Appended, Asked, BackendError, Begins, Chunk, Fault, Measurement, Request, UpstreamLimit};
use tidewire_core::{Entry, Failure, Kind, Task, Timestamp, Usage, tokens};

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
}

impl Pumped {
    /// What ended before any model was asked.
    pub(crate) fn unasked(finish: Finish) -> Self {
        Self { finish, rest: Vec::new(), usage: Usage::default(), per_token: None, by: None }
    }
}

/// A request, who is asked, and where that is counted.
pub(crate) struct Call<'a, 'w> {
    pub(crate) race: &'a Race<'a>,
    pub(crate) request: Request,
    /// What it may spend.
    pub(crate) purse: &'a mut Purse<'w>,
}

/// How a run ended.
pub(crate) enum Finish {
    /// The answer is whole, with the model's own word for why.
    Whole(Arc<str>),
    /// The backend failed.
    Failed(BackendError),
    /// There is nothing to give to the backend, and never will be.
    Refused(Failure),
    /// An order came.
    Called(Order),
    /// The task's deadline passed.
    TooLate,
}

/// What comes of a run.
pub(crate) enum Said {
    /// Two deployments were asked, and this says which one is heard.
    Hedged(Entry),
    Begun(Begins, Vec<UpstreamLimit>),
    Chunk(Chunk),
}

/// Runs the request, and writes `opening` and then all that the model says into the log.
pub(crate) async fn pump(
    worker: &Worker,
    task: &Task,
    draft: &mut Draft,
    leash: &mut Leash,
    opening: Vec<Entry>,
    call: Call<'_, '_>,
) -> Result<Pumped, Barred> {
    let asked = worker.clock.now();
    let (race, purse) = (call.race, call.purse);
    let mut said = Box::pin(race.speak(call.request));
    let mut deadline = worker.clock.sleep(task.spec.deadline.since(worker.clock.now()));
    let mut intake = Intake::new(opening);
    let mut landing: Landing<'_> = None;
    let finish = loop {
        if landing.is_none() && !intake.pending.is_empty() {
            landing = Some(worker.log.append(draft.append(intake.take())));
        }
        if purse.is_spent(intake.written())
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
            next = said.next(), if intake.bytes < MAX_PENDING_BYTES && !purse.is_spent(intake.written()) => match next {
                Some(Ok(Said::Hedged(note))) => intake.pending.push(note),
                Some(Ok(Said::Begun(begins, limits))) => {
                    race.told(&limits);
                    intake.begun = true;
                    if begins == Begins::Afresh {
                        intake.pending.extend(draft.rewind(worker));
                    }
                }
                Some(Ok(Said::Chunk(Chunk::Finish(reason)))) => break Finish::Whole(reason),
                Some(Ok(Said::Chunk(chunk))) => {
                    let now = worker.clock.now();
                    if intake.take_in(chunk, now) {
                        race.first_token(now.since(asked));
                    }
                    purse.wrote(intake.written());
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
    let (per_token, usage) = (intake.per_token(), intake.usage(&finish, purse.input_tokens()));
    measure(worker, task, (&race.deployment().name, asked), (per_token, usage), &finish);
    Ok(Pumped { usage, finish, rest: intake.pending, per_token, by: None })
}

/// What a call came to, once it is over.
fn measure(
    worker: &Worker,
    task: &Task,
    (deployment, asked): (&str, Timestamp),
    (per_token, usage): (Option<Duration>, Usage),
    finish: &Finish,
) {
    let subject = subject::of(task);
    if let Some(per_token) = per_token {
        worker.meter.record(Measurement::PerToken(per_token));
        worker.meter.record(Measurement::ServedPerToken(subject, per_token));
    }
    let error = if let Finish::Failed(error) = finish { Some(error.fault.code()) } else { None };
    let took = worker.clock.now().since(asked);
    worker.meter.record(Measurement::Asked(subject, Asked { deployment, took, usage, error }));
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

/// What came in and is not in the log yet, and what is counted over it.
struct Intake {
    pending: Vec<Entry>,
    bytes: usize,
    counted: Option<Usage>,
    /// Pieces since the backend's last count, and their bytes.
    uncounted: u64,
    uncounted_bytes: u64,
    /// Pieces of text and reasoning, and when the first and the last of them came.
    pieces: u64,
    span: Option<(Timestamp, Timestamp)>,
    first_committed: bool,
    /// The backend has taken the request.
    begun: bool,
}

impl Intake {
    fn new(opening: Vec<Entry>) -> Self {
        Self {
            pending: opening,
            bytes: 0,
            counted: None,
            uncounted: 0,
            uncounted_bytes: 0,
            pieces: 0,
            span: None,
            first_committed: false,
            begun: false,
        }
    }

    fn take(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// Takes in a chunk. Whether it was the first piece.
    fn take_in(&mut self, chunk: Chunk, at: Timestamp) -> bool {
        let before = self.pieces;
        match chunk {
            Chunk::Text(text) => self.piece(Kind::Text, text, at),
            Chunk::Reasoning(text) => self.piece(Kind::Reasoning, text, at),
            Chunk::ToolCall(json) => self.piece(Kind::ToolCall, json, at),
            Chunk::Logprobs(json) => self.push(Kind::Logprobs, json, at),
            Chunk::Embedding(json) => self.push(Kind::Embedding, json, at),
            Chunk::Usage(usage) => {
                self.counted = Some(usage);
                (self.uncounted, self.uncounted_bytes) = (0, 0);
            }
            Chunk::Finish(_) => {}
        }
        before == 0 && self.pieces > 0
    }

    fn piece(&mut self, kind: Kind, data: Bytes, at: Timestamp) {
        self.uncounted += 1;
        self.uncounted_bytes += data.len() as u64;
        self.pieces += 1;
        let first = self.span.map_or(at, |(first, _)| first);
        self.span = Some((first, at));
        self.push(kind, data, at);
    }

    /// Adds an entry; a text that is too long for one is split between characters.
    fn push(&mut self, kind: Kind, mut data: Bytes, at: Timestamp) {
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
        if !self.first_committed && self.pieces > self.pending.len() as u64 {
            self.first_committed = true;
            let waited = worker.clock.now().since(task.submitted_at);
            worker.meter.record(Measurement::FirstToken(waited));
            worker.meter.record(Measurement::ServedFirstToken(subject::of(task), waited));
        }
    }

    /// The mean from one piece to the next.
    fn per_token(&self) -> Option<Duration> {
        let (first, last) = self.span.filter(|_| self.pieces > 1)?;
        Some(last.since(first) / u32::try_from(self.pieces - 1).unwrap_or(u32::MAX))
    }

    /// Tokens that were written by now: by the backend's last count, and what came since.
    fn written(&self) -> u64 {
        let counted = self.counted.map_or(0, |usage| usage.output_tokens);
        counted + tokens::written(self.uncounted_bytes, self.uncounted)
    }

    /// The backend's own count where the answer is whole; else its last one and what came since, marked as an estimate.
    /// Where it gave none, it read what the request has.
    fn usage(&self, finish: &Finish, input_tokens: u64) -> Usage {
        let counted = self.counted.unwrap_or_default();
        if self.counted.is_some() && (self.uncounted == 0 || matches!(finish, Finish::Whole(_))) {
            return counted;
        }
        // An upstream that refused, or was never reached, has read and written nothing.
        let unread = |error: &BackendError| !self.begun && (error.status.is_some() || error.fault != Fault::TimedOut);
        if matches!(finish, Finish::Failed(error) if unread(error)) {
            return counted;
        }
        let input_tokens = if self.counted.is_some() { counted.input_tokens } else { input_tokens };
        Usage { input_tokens, output_tokens: self.written(), estimated: true, ..counted }
    }
}
