//! A reader of a response's events: which of them it gets, wherever it goes on.

use super::object::{About, error};
use super::projection::{Projection, Said, frame};
use crate::Edge;
use crate::follow::{Batch, Follower, Resume};
use crate::refusal::Refusal;
use crate::transport::events::Written;
use crate::transport::openai::fault::rewound;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::LogRef;
use tidewire_proto::{Code, WireError};

/// How much of a log is read at once where it is only folded.
const PAGE_BYTES: usize = 1024 * 1024;

/// A reader's place among the events.
pub(super) struct Reader {
    projection: Projection,
    /// The last number that it has.
    has: Option<u64>,
    /// What a rewind took back that was there when it came, as far as it has none of it.
    left_out: Vec<RangeInclusive<u64>>,
}

impl Reader {
    /// Of a response that has just begun.
    pub(super) fn of_new(about: Arc<About>) -> Self {
        Self { projection: Projection::new(about), has: None, left_out: Vec::new() }
    }

    /// After this number of a response whose log is there: what was taken back by now is looked for, so that it need not
    /// be told.
    pub(super) async fn after(edge: &Edge, log: LogRef, about: Arc<About>, has: Option<u64>) -> Result<Self, Refusal> {
        let mut taken_back = Vec::new();
        let seen = fold(edge, log, about.clone(), |said| {
            if let Some(from) = said.takes_back_from {
                taken_back.push(from..=said.number);
            }
        });
        let next = seen.await?.next();
        if has.is_some_and(|has| has >= next) {
            let message = format!("the response has {next} events by now: `starting_after` is past the last one");
            return Err(Refusal::new(Code::OffsetInFuture, message));
        }
        if has.is_some_and(|has| taken_back.iter().any(|range| *range.end() == has)) {
            return Err(Refusal::from(rewound()));
        }
        taken_back.retain(|range| has.is_none_or(|has| has < *range.start()));
        Ok(Self { projection: Projection::new(about), has, left_out: taken_back })
    }

    /// What is said before the log has anything.
    pub(super) fn open(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        self.projection.open(&mut said);
        self.tell(said).0
    }

    /// What a batch of the log amounts to for this reader.
    pub(super) fn write(&mut self, batch: Result<&Batch, &WireError>) -> Written {
        let batch = match batch {
            Ok(batch) => batch,
            Err(refused) => {
                // No event of the response, so it has the number of the last one: whoever comes back goes on after that.
                let bytes = frame("error", &error(refused, self.has.unwrap_or(0))).into();
                return Written { bytes, more: false };
            }
        };
        let mut said = Vec::new();
        for event in &batch.events {
            self.projection.hear(event, &mut said);
        }
        let (bytes, more) = self.tell(said);
        Written { bytes: bytes.into(), more }
    }

    fn tell(&mut self, said: Vec<Said>) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        // What comes with its own rewind need not be told.
        for one in &said {
            if let Some(from) = one.takes_back_from.filter(|from| self.has.is_none_or(|has| has < *from)) {
                self.left_out.push(from..=one.number);
            }
        }
        for one in said {
            let known = self.has.is_some_and(|has| one.number <= has);
            if known || self.left_out.iter().any(|range| range.contains(&one.number)) {
                continue;
            }
            self.has = Some(one.number);
            out.extend_from_slice(&one.frame);
            if one.takes_back_from.is_some() {
                return (out, false);
            }
        }
        (out, true)
    }
}

/// Folds what a log has by now.
pub(super) async fn fold(
    edge: &Edge,
    log: LogRef,
    about: Arc<About>,
    mut told: impl FnMut(&Said),
) -> Result<Projection, Refusal> {
    let mut follower = Follower::open(edge, log, Resume::default(), Duration::ZERO).await?;
    let mut projection = Projection::new(about);
    let mut said = Vec::new();
    projection.open(&mut said);
    loop {
        let batch = follower.page(PAGE_BYTES).await?;
        for event in &batch.events {
            projection.hear(event, &mut said);
        }
        said.drain(..).for_each(|one| told(&one));
        if batch.over || follower.cursor.next >= follower.tail {
            return Ok(projection);
        }
    }
}
