//! The rules of appending, in one place for every engine.

use super::{Append, AppendError, Appended, LogState, MAX_APPEND_BYTES, MAX_PRODUCERS, Writer};
use crate::id::{Epoch, Fence, LogKind, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rules of appending, the same for every engine: an engine stores, this decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the log stands.
    pub state: LogState,
    /// The producers of a shared log, and where their last append stands.
    pub producers: BTreeMap<Arc<str>, Produced>,
    /// The last rank that a shared log took.
    pub rank: Option<Arc<str>>,
}

/// A producer's last append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Its incarnation.
    pub epoch: u64,
    /// The sequence number.
    pub sequence: u64,
    /// Where the events stand.
    pub appended: Appended,
}

impl Head {
    /// A log's head before its first event.
    pub fn new(epoch: Epoch) -> Self {
        let state = LogState { epoch, first: Offset(0), tail: Offset(0), fence: Fence(0), ended: false };
        Self { state, producers: BTreeMap::new(), rank: None }
    }

    /// Decides on an append of `count` events, the `end` event included, and moves the head on. The outer
    /// `Ok` with `fresh = false` is a repeated append of a producer: answer it, and store nothing.
    /// A higher fence is taken even where the tail does not fit, so that the old writer is out for good.
    pub fn admit(&mut self, append: &Append, count: usize) -> Result<(Appended, bool), AppendError> {
        let bytes: usize = append.entries.iter().map(|entry| entry.data.len()).sum();
        if bytes > MAX_APPEND_BYTES {
            return Err(AppendError::TooLarge { bytes });
        }
        match (&append.writer, append.log.log.kind()) {
            (Writer::Leased { fence, expect }, LogKind::Task) => self.admit_leased(*fence, *expect)?,
            (Writer::Producer { producer, epoch, sequence, .. }, LogKind::Shared) => {
                if let Some(before) = self.admit_producer(producer, *epoch, *sequence)? {
                    return Ok((before, false));
                }
            }
            (Writer::Open { .. }, LogKind::Shared) => self.admit_anyone()?,
            _ => return Err(AppendError::WrongWriter),
        }
        if let Some(rank) = append.writer.rank() {
            self.admit_rank(rank)?;
        }
        let appended = Appended { from: self.state.tail, to: self.state.tail.plus(count), repeats: None };
        self.state.tail = appended.to;
        if let Writer::Producer { producer, epoch, sequence, .. } = &append.writer {
            let last = Produced { epoch: *epoch, sequence: *sequence, appended };
            self.producers.insert(producer.clone(), last);
        }
        Ok((appended, true))
    }

    fn admit_leased(&mut self, fence: Fence, expect: Offset) -> Result<(), AppendError> {
        if fence < self.state.fence {
            return Err(AppendError::Fenced { fence: self.state.fence });
        }
        self.state.fence = fence;
        self.admit_anyone()?;
        if expect != self.state.tail {
            return Err(AppendError::TailMoved { tail: self.state.tail });
        }
        Ok(())
    }

    fn admit_anyone(&self) -> Result<(), AppendError> {
        if self.state.ended { Err(AppendError::Ended { tail: self.state.tail }) } else { Ok(()) }
    }

    /// Called last: a rank is taken only with its append.
    fn admit_rank(&mut self, rank: &Arc<str>) -> Result<(), AppendError> {
        if let Some(last) = self.rank.as_ref().filter(|last| rank <= *last) {
            return Err(AppendError::RankTaken { last: last.clone() });
        }
        self.rank = Some(rank.clone());
        Ok(())
    }

    fn admit_producer(&self, producer: &Arc<str>, epoch: u64, sequence: u64) -> Result<Option<Appended>, AppendError> {
        let last = self.producers.get(producer);
        if let Some(last) = last {
            if epoch < last.epoch {
                return Err(AppendError::StaleProducer { epoch: last.epoch });
            }
            // Before the check for the end: the answer to the append that ended the log may have got lost. One
            // older than the last was taken, and where is no longer known: the last place is the nearest truth.
            if epoch == last.epoch && sequence <= last.sequence {
                return Ok(Some(Appended { repeats: Some(last.sequence), ..last.appended }));
            }
        }
        self.admit_anyone()?;
        if last.is_none() && self.producers.len() >= MAX_PRODUCERS {
            return Err(AppendError::TooManyProducers);
        }
        let expected = match last {
            Some(last) if last.epoch == epoch => last.sequence.saturating_add(1),
            _ => 0,
        };
        if sequence != expected {
            return Err(AppendError::SequenceGap { expected });
        }
        Ok(None)
    }
}
