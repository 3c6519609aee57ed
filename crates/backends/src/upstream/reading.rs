//! An answer's bytes become chunks: what is the same for every kind of API.

use super::secret::Secret;
use super::{MAX_ANSWER_BYTES, refusal};
use crate::sse::{Event, Parser};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use std::collections::VecDeque;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, Chunk, Fault, Reason};

/// How one kind of API writes its answers.
pub(crate) trait Dialect: Send + Unpin + 'static {
    /// An answer that told why it ended is whole, however its connection ends. Not so where the reason may come
    /// before the last words.
    const REASON_IS_THE_END: bool;

    /// One event of an answer as it is said. Its data is not empty.
    fn event(&mut self, event: Event<'_>, heard: &mut Heard);

    /// An answer in one piece.
    fn document(&mut self, document: &[u8], heard: &mut Heard);
}

/// In what form an upstream answers.
pub(super) enum Form {
    /// Server-sent events, as asked.
    Events(Parser),
    /// One JSON document, from a server that can't stream.
    Document(Vec<u8>),
}

impl Form {
    pub(super) fn events() -> Self {
        Self::Events(Parser::new(MAX_ANSWER_BYTES))
    }

    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BackendError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/event-stream");
        match kind.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Ok(Self::events()),
            "application/json" => Ok(Self::Document(Vec::new())),
            other => {
                let message = format!("the upstream answered in {other:?}: is the base URL that of its API?");
                Err(BackendError::new(Fault::Broken, message))
            }
        }
    }
}

/// An answer while it is read.
pub(super) struct Reading<D> {
    form: Form,
    dialect: D,
    pub(super) heard: Heard,
}

impl<D: Dialect> Reading<D> {
    pub(super) fn new(form: Form, dialect: D, secret: Secret) -> Self {
        let heard =
            Heard { ready: VecDeque::new(), finish: None, usage: None, stage: Stage::Speaking, spoke: false, secret };
        Self { form, dialect, heard }
    }

    pub(super) fn read(&mut self, data: &[u8]) {
        let (dialect, heard) = (&mut self.dialect, &mut self.heard);
        if heard.stage != Stage::Speaking {
            return;
        }
        match &mut self.form {
            Form::Events(parser) => {
                let fed = parser.feed(data, |event| {
                    let event = Event { name: event.name, data: event.data.trim_ascii() };
                    if heard.stage == Stage::Speaking && !event.data.is_empty() {
                        dialect.event(event, heard);
                    }
                });
                if fed.is_err() {
                    heard.fail(too_long());
                }
            }
            Form::Document(document) if document.len() + data.len() > MAX_ANSWER_BYTES => heard.fail(too_long()),
            Form::Document(document) => document.extend_from_slice(data),
        }
    }

    /// The body has ended, or nothing more is expected of it.
    pub(super) fn end(&mut self, cut_off: Option<BackendError>) {
        if let (None, Form::Document(document)) = (&cut_off, &self.form) {
            self.dialect.document(document, &mut self.heard);
        }
        let heard = &mut self.heard;
        if heard.stage == Stage::Failed {
            return;
        }
        let early = || BackendError::new(Fault::Broken, "the upstream's answer ended before its end");
        let whole = D::REASON_IS_THE_END || heard.stage == Stage::SaidAll || cut_off.is_none();
        match heard.finish.take().filter(|_| whole) {
            Some(reason) => heard.ready.push_back(Ok(Chunk::Finish(reason))),
            None => heard.fail(cut_off.unwrap_or_else(early)),
        }
    }
}

/// What was understood so far.
pub(crate) struct Heard {
    pub(super) ready: VecDeque<Result<Chunk, BackendError>>,
    finish: Option<Reason>,
    usage: Option<Usage>,
    pub(super) stage: Stage,
    /// The model has said something since this was last taken.
    pub(super) spoke: bool,
    secret: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Speaking,
    /// The upstream said that this was all.
    SaidAll,
    Failed,
}

impl Heard {
    /// The model says this.
    pub(crate) fn say(&mut self, chunk: Chunk) {
        self.spoke = true;
        self.ready.push_back(Ok(chunk));
    }

    /// The tokens used so far.
    pub(crate) fn used(&mut self, usage: Usage) {
        if self.usage != Some(usage) {
            self.usage = Some(usage);
            self.ready.push_back(Ok(Chunk::Usage(usage)));
        }
    }

    /// Why the answer ends.
    pub(crate) fn ends(&mut self, reason: &str) {
        self.finish = Some(reason.into());
    }

    /// Which of the stop sequences ended it, once it is told why the answer ends.
    pub(crate) fn stopped_at(&mut self, sequence: &str) {
        if let Some(finish) = &mut self.finish {
            finish.sequence = Some(sequence.into());
        }
    }

    /// Nothing more will come.
    pub(crate) fn said_all(&mut self) {
        self.stage = Stage::SaidAll;
    }

    /// The upstream tells of an error, in this JSON.
    pub(crate) fn refused(&mut self, json: &[u8]) {
        self.fail(refusal::in_band(json, &self.secret));
    }

    /// What came can't be read. It may be a part of the answer, and stays out of the message.
    pub(crate) fn nonsense(&mut self) {
        self.fail(BackendError::new(Fault::Broken, "the upstream sent a chunk that can't be read"));
    }

    /// The answer ends here, and badly.
    pub(crate) fn fail(&mut self, error: BackendError) {
        self.ready.push_back(Err(error));
        self.stage = Stage::Failed;
    }
}

fn too_long() -> BackendError {
    BackendError::new(Fault::Broken, format!("the upstream sent more than {MAX_ANSWER_BYTES} bytes in one piece"))
}

/// Reads a whole answer of events without a connection, as tests and the fuzzer do.
pub(crate) fn replay<'a, D: Dialect>(
    dialect: D,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Result<Chunk, BackendError>> {
    let mut reading = Reading::new(Form::events(), dialect, Secret::new(None));
    for piece in pieces {
        reading.read(piece);
    }
    reading.end(None);
    reading.heard.ready.into()
}
