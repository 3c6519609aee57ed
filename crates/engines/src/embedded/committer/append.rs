//! Creating logs, appending to them and ending them.

use super::Committer;
use super::heads::Writing;
use super::round::{Round, Touched};
use crate::embedded::condition::Failure;
use crate::embedded::open::EndedTask;
use crate::embedded::store::Trouble;
use tidewire_core::port::{Append, AppendError, Appended, Settlement, Unavailable, Writer};
use tidewire_core::{Ending, Entry, Epoch, Kind, LogRef, TaskRef, Timestamp};

impl From<Trouble> for AppendError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.into())
    }
}

impl Committer {
    /// Makes a log, unless it is there.
    pub(super) fn create(&mut self, round: &mut Round, log: LogRef) -> Result<Epoch, Trouble> {
        if let Some(writing) = self.heads.get(&self.shared.store, log)? {
            return Ok(writing.state().epoch);
        }
        let writing = self.heads.insert(log, Writing::new(fresh_epoch(self.shared.clock.random())));
        let state = writing.state();
        round.touch(log, writing, state.tail).head_changed = true;
        round.durable = true;
        round.counts_changed = true;
        self.counts.logs_live += 1;
        Ok(state.epoch)
    }

    /// Adds to a log, and ends it where there is an ending.
    pub(super) fn append(
        &mut self,
        round: &mut Round,
        append: &Append,
        ending: Option<Ending>,
    ) -> Result<Appended, AppendError> {
        let log = append.log;
        let writing = self.heads.get(&self.shared.store, log)?.ok_or(AppendError::Unknown)?;
        let before = writing.state();
        let admitted = writing.head.admit(append, append.entries.len() + usize::from(ending.is_some()));
        if writing.state().fence != before.fence {
            // A takeover is for good, even where its append is refused.
            round.touch(log, writing, before.tail).head_changed = true;
            round.durable = true;
        }
        let (appended, fresh) = admitted?;
        if !fresh {
            return Ok(appended);
        }
        if let Writer::Producer { producer, .. } = &append.writer {
            round.produced.insert((log, producer.clone()));
            round.durable = true;
        }
        if append.writer.rank().is_some() {
            round.ranked.insert(log);
            round.durable = true;
        }
        if appended.from == appended.to {
            return Ok(appended);
        }
        round.durable = true;
        let touched = round.touch(log, writing, before.tail);
        let mut bytes = 0;
        for entry in &append.entries {
            bytes += push(touched, writing, entry);
        }
        if let Some(ending) = ending {
            let at = self.shared.clock.now();
            bytes += push(touched, writing, &Entry::new(at, Kind::End, ending.to_json()));
            round.bytes += bytes;
            self.end(round, log, ending)?;
        } else {
            round.bytes += bytes;
        }
        Ok(appended)
    }

    /// What follows from a log's `end` event, in the same commit: the log ends, and if it is a task's, the
    /// task is finished and settled.
    fn end(&mut self, round: &mut Round, log: LogRef, ending: Ending) -> Result<(), Unavailable> {
        let at = self.shared.clock.now();
        if let Some(writing) = self.heads.get(&self.shared.store, log)? {
            writing.head.state.ended = true;
            writing.ended_at = Some(at);
            let tail = writing.state().tail;
            let touched = round.touch(log, writing, tail);
            touched.head_changed = true;
            touched.ends = true;
        }
        self.counts.logs_live = self.counts.logs_live.saturating_sub(1);
        round.counts_changed = true;
        if let Some(task) = log.log.task() {
            let task = TaskRef { tenant: log.tenant, task };
            self.settle(round, &settlement(task, at, &ending))?;
            self.finish_record(round, task, at, ending);
        }
        Ok(())
    }

    /// Finishes a task whose log has ended while its record has not: before the thread runs, from what an
    /// open found.
    pub(in crate::embedded) fn finish_ended(&mut self, (task, at, ending): EndedTask) -> Result<(), Failure> {
        let mut round = self.begin();
        self.settle(&mut round, &settlement(task, at, &ending))?;
        self.finish_record(&mut round, task, at, ending);
        self.commit(&mut round)
    }
}

fn settlement(task: TaskRef, at: Timestamp, ending: &Ending) -> Settlement {
    let deployment = ending.deployment.as_deref().map(Into::into);
    Settlement { task, at, usage: ending.usage, deployment }
}

fn push(touched: &mut Touched, writing: &mut Writing, entry: &Entry) -> usize {
    if touched.builder.is_full() {
        touched.close_record(writing);
    }
    touched.builder.push(entry);
    entry.data.len()
}

/// An epoch is never 0, which a client may use for "none".
fn fresh_epoch(random: u64) -> Epoch {
    let [a, b, c, d, ..] = random.to_le_bytes();
    Epoch(u32::from_le_bytes([a, b, c, d]).max(1))
}
