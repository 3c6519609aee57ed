//! Logs, as the ports `EventLog` and `LogKeeping` describe them.

use super::ReadFrom;
use crate::given;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewire_core::port::{Append, AppendError, Appended, ReadError, RemoveError, TrimError, Writer};
use tidewire_core::{Ending, Epoch, Event, Fence, Kind, LogRef, Offset, TenantId};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Logs {
    logs: BTreeMap<LogRef, Log>,
    /// Every append that added something: which log, from, to.
    feed: Vec<(LogRef, Offset, Offset)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    /// The first event's offset: those before it were trimmed.
    first: u64,
    pub(super) events: Vec<Event>,
    fence: u64,
    pub(super) ended: bool,
    /// By name: epoch, sequence number and place of the last append.
    producers: BTreeMap<Arc<str>, (u64, u64, Offset, Offset)>,
    rank: Option<Arc<str>>,
}

impl Log {
    pub(super) fn first(&self) -> Offset {
        Offset(self.first)
    }

    pub(super) fn tail(&self) -> Offset {
        Offset(self.first + self.events.len() as u64)
    }

    pub(super) fn fence(&self) -> Fence {
        Fence(self.fence)
    }

    /// Whether the writer may append; where it has done so before, the place that it got.
    fn admit(&mut self, append: &Append) -> Result<Option<Appended>, AppendError> {
        let tail = self.tail();
        let ended = if self.ended { Err(AppendError::Ended { tail }) } else { Ok(()) };
        match (&append.writer, append.log.log.task().is_some()) {
            (Writer::Leased { fence, expect }, true) => {
                if fence.0 < self.fence {
                    return Err(AppendError::Fenced { fence: Fence(self.fence) });
                }
                // Taken for good, whatever follows.
                self.fence = fence.0;
                ended?;
                if *expect != tail {
                    return Err(AppendError::TailMoved { tail });
                }
                return Ok(None);
            }
            (Writer::Producer { producer, epoch, sequence, .. }, false) => {
                let expected = match self.producers.get(producer) {
                    Some((known, _, _, _)) if epoch < known => {
                        return Err(AppendError::StaleProducer { epoch: *known });
                    }
                    Some(&(known, last, from, to)) if *epoch == known => {
                        if *sequence <= last {
                            return Ok(Some(Appended { from, to, repeats: Some(last) }));
                        }
                        last + 1
                    }
                    _ => 0,
                };
                ended?;
                if *sequence != expected {
                    return Err(AppendError::SequenceGap { expected });
                }
            }
            (Writer::Open { .. }, false) => ended?,
            _ => return Err(AppendError::WrongWriter),
        }
        match (append.writer.rank(), &self.rank) {
            (Some(rank), Some(last)) if **rank <= **last => return Err(AppendError::RankTaken { last: last.clone() }),
            (Some(rank), _) => self.rank = Some(rank.clone()),
            (None, _) => {}
        }
        Ok(None)
    }
}

impl Logs {
    pub(super) fn create(&mut self, log: LogRef) {
        self.logs.entry(log).or_default();
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&LogRef, &Log)> {
        self.logs.iter()
    }

    pub(super) fn get(&self, log: LogRef) -> Option<&Log> {
        self.logs.get(&log)
    }

    pub(super) fn of(&self, tenant: TenantId) -> Vec<LogRef> {
        self.logs.keys().filter(|log| log.tenant == tenant).copied().collect()
    }

    pub(super) fn feed(&self) -> &[(LogRef, Offset, Offset)] {
        &self.feed
    }

    pub(super) fn fences(&self) -> impl Iterator<Item = (LogRef, Fence)> {
        self.logs.iter().map(|(log, kept)| (*log, Fence(kept.fence)))
    }

    pub(super) fn append(&mut self, append: &Append, ending: Option<&Ending>) -> Result<Appended, AppendError> {
        let log = self.logs.get_mut(&append.log).ok_or(AppendError::Unknown)?;
        if let Some(before) = log.admit(append)? {
            return Ok(before);
        }
        let from = log.tail();
        for entry in &append.entries {
            let event = Event { offset: log.tail(), at: entry.at, kind: entry.kind, data: entry.data.clone() };
            log.events.push(event);
        }
        if let Some(ending) = ending {
            // The engine's clock stands where the model's does.
            let data = Bytes::from(ending.to_json());
            log.events.push(Event { offset: log.tail(), at: given::NOW, kind: Kind::End, data });
            log.ended = true;
        }
        let to = log.tail();
        if let Writer::Producer { producer, epoch, sequence, .. } = &append.writer {
            log.producers.insert(producer.clone(), (*epoch, *sequence, from, to));
        }
        if from < to {
            self.feed.push((append.log, from, to));
        }
        Ok(Appended { from, to, repeats: None })
    }

    pub(super) fn read(&self, log: LogRef, from: ReadFrom) -> Result<(Vec<Event>, Offset, bool), ReadError> {
        let log = self.logs.get(&log).ok_or(ReadError::Unknown)?;
        if !from.right_epoch {
            return Err(ReadError::EpochChanged { epoch: Epoch(0) });
        }
        if from.next < log.first() {
            return Err(ReadError::Trimmed { first: log.first() });
        }
        if from.next > log.tail() {
            return Err(ReadError::Future { tail: log.tail() });
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        for event in log.events.iter().filter(|event| event.offset >= from.next) {
            bytes += event.data.len();
            if bytes > from.max_bytes && !page.is_empty() {
                break;
            }
            page.push(event.clone());
        }
        Ok((page, log.tail(), log.ended))
    }

    pub(super) fn trim(&mut self, log: LogRef, upto: Offset) -> Result<(), TrimError> {
        let log = self.logs.get_mut(&log).ok_or(TrimError::Unknown)?;
        let (first, tail) = (log.first(), log.tail());
        if upto <= first || upto > tail {
            return Err(TrimError::OutOfRange { first, tail });
        }
        log.events.retain(|event| event.offset >= upto);
        log.first = upto.0 - 1;
        let snapshot = given::snapshot();
        let event = Event { offset: log.first(), at: snapshot.at, kind: snapshot.kind, data: snapshot.data };
        log.events.insert(0, event);
        Ok(())
    }

    pub(super) fn erase(&mut self, log: LogRef) -> Result<(), TrimError> {
        let log = self.logs.get_mut(&log).ok_or(TrimError::Unknown)?;
        for event in log.events.iter_mut().filter(|event| event.kind != Kind::End) {
            (event.kind, event.data) = (Kind::Erased, Bytes::new());
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, log: LogRef) -> Result<(), RemoveError> {
        if log.log.task().is_some() {
            return Err(RemoveError::OfATask);
        }
        self.logs.remove(&log);
        self.feed.retain(|(of, _, _)| *of != log);
        Ok(())
    }
}
