//! The engine as an `EventLog`.

use super::log::{LOG_BYTES, Log, cost_bytes};
use super::{Engine, lock};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tidewire_core::port::{
    Append, AppendError, Appended, Cursor, EventLog, LogState, Page, ReadError, Settlement, Unavailable, Watch,
};
use tidewire_core::{Ending, Entry, Epoch, Kind, LogRef, TaskRef};

#[async_trait]
impl EventLog for Engine {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.make_log(log)
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let log = self.logs.get(append.log).ok_or(AppendError::Unknown)?;
        let mut log = lock(&log);
        let cost = cost_bytes(&append.entries, None);
        self.room.take(cost)?;
        let answer = log.append(&append, None, || self.logs.next_position());
        match answer {
            Ok((_, true)) => log.tell(),
            Ok((_, false)) | Err(_) => self.room.give_back(cost),
        }
        answer.map(|(appended, _)| appended)
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        let log = self.logs.get(append.log).ok_or(AppendError::Unknown)?;
        let ended = self.end_now(&mut lock(&log), &append, ending)?;
        self.make_room();
        Ok(ended)
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        let log = self.known(log)?;
        let log = lock(&log);
        log.read(cursor, max_bytes)
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        lock(&*self.known(log)?).state()
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        let log = self.known(log)?;
        let mut log = lock(&log);
        log.state()?;
        Ok(log.watch())
    }
}

impl Engine {
    /// The epoch of the log, which is made where there is none.
    pub(super) fn make_log(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.logs.create(log, || {
            self.room.take(LOG_BYTES)?;
            Ok(self.fresh_epoch())
        })
    }

    fn known(&self, log: LogRef) -> Result<Arc<Mutex<Log>>, ReadError> {
        self.logs.get(log).ok_or(ReadError::Unknown)
    }

    fn fresh_epoch(&self) -> Epoch {
        // Never 0, which is what a client without an epoch may send.
        Epoch(u32::try_from(self.clock.random() >> 32).unwrap_or(1).max(1))
    }

    fn end_now(&self, log: &mut Log, append: &Append, ending: Ending) -> Result<Appended, AppendError> {
        let now = self.clock.now();
        let last = Entry::new(now, Kind::End, ending.to_json());
        let (appended, fresh) = log.append(append, Some(&last), || self.logs.next_position())?;
        if !fresh {
            return Ok(appended);
        }
        // Beyond the bound too: a task that cannot end would hold its memory for ever.
        self.room.take_anyway(cost_bytes(&append.entries, Some(&last)));
        let at = append.log;
        log.end(at.log.kind());
        if let Some(task) = at.log.task() {
            let task = TaskRef { tenant: at.tenant, task };
            let deployment = ending.deployment.as_deref().map(Arc::from);
            lock(&self.accounts).settle(&Settlement { task, at: now, usage: ending.usage, deployment });
            self.tasks.finish(task, now, ending);
            let mut ended = lock(&self.ended);
            ended.line.push_back((now, at));
            ended.data_bytes += log.data_bytes() as u64;
        }
        // Last: whoever sees that the log is over finds its task finished and settled.
        log.tell();
        Ok(appended)
    }
}
