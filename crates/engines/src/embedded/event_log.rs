//! The port `EventLog`: writers go through the committer, readers do not.

use super::op::Op;
use super::{Engine, Opened, cold, head};
use async_trait::async_trait;
use tidewire_core::port::{
    Append, AppendError, Appended, Cursor, EventLog, LogState, Page, ReadError, Unavailable, Watch,
};
use tidewire_core::{Ending, Epoch, LogKind, LogRef};

#[async_trait]
impl EventLog for Engine {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        // A log in memory is committed, and its epoch never changes.
        if let Some(slot) = self.shared.slots.get(log) {
            self.shared.condition.health()?;
            return Ok(slot.state().epoch);
        }
        self.ask(0, |reply| Op::Create(log, reply)).await
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        // What a running task says is kept as long as the disk takes anything. A shared log can wait.
        if append.log.log.kind() == LogKind::Shared && !append.entries.is_empty() {
            self.shared.room_for_work()?;
        }
        self.ask(size(&append), |reply| Op::Append(append, None, reply)).await
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        self.ask(size(&append), |reply| Op::Append(append, Some(ending), reply)).await
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        if let Some(slot) = self.shared.slots.get(log)
            && let Some(page) = slot.read(cursor, max_bytes)?
        {
            return Ok(page);
        }
        self.on_disk(move |shared| cold::read(&shared.store, log, cursor, max_bytes)).await
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        if let Some(slot) = self.shared.slots.get(log) {
            return Ok(slot.state());
        }
        self.on_disk(move |shared| state_on_disk(shared, log)).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        if let Some(slot) = self.shared.slots.get(log) {
            return Ok(slot.watch());
        }
        self.on_disk(move |shared| watch_cold(shared, log)).await
    }
}

fn size(append: &Append) -> usize {
    append.entries.iter().map(|entry| entry.data.len() + size_of_val(entry)).sum()
}

fn state_on_disk(shared: &Opened, log: LogRef) -> Result<LogState, ReadError> {
    let found = head::find(&shared.store, &shared.store.snapshot(), log)?.ok_or(ReadError::Unknown)?;
    Ok(found.sound(log)?.state)
}

fn watch_cold(shared: &Opened, log: LogRef) -> Result<Watch, ReadError> {
    let slot = shared.slots.get_or_insert(log, state_on_disk(shared, log)?);
    let watch = slot.watch();
    // Looked up again, now that the committer finds the slot: an append between the first look and the slot
    // told nobody.
    match state_on_disk(shared, log) {
        Ok(state) => slot.advance(state),
        Err(error) => {
            shared.slots.remove(log);
            return Err(error);
        }
    }
    Ok(watch)
}
