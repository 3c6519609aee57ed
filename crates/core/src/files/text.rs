//! A file's text: who takes it, where it is kept, and who waits for it.

use super::file::fresh_log;
use super::upload::{EVENT_BYTES, append, end};
use super::{ChangeError, File, FileId, Files, Status};
use crate::event::Kind;
use crate::id::{LogRef, Offset, TenantId};
use crate::port::{Cursor, MAX_APPEND_BYTES, ReadError, Unavailable};
use std::time::Duration;

/// How often somebody begins to take a file's text: once more after the first one was lost with its server.
const MAX_READINGS: u32 = 2;

/// How often a file is looked at while its text is waited for: another process's change wakes nobody here.
const LOOK: Duration = Duration::from_secs(1);

/// A file whose text somebody is taking.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whose it is.
    pub tenant: TenantId,
    /// The file.
    pub file: File,
    version: u64,
}

impl Files {
    /// Begins to take a file's text; `None` where there is nothing to do, or somebody else does it.
    pub async fn begin_reading(&self, tenant: TenantId, id: FileId) -> Result<Option<Reading>, Unavailable> {
        let Some((mut file, version)) = self.get(tenant, id).await? else { return Ok(None) };
        if file.status != Status::Uploaded {
            return Ok(None);
        }
        // What a lost reading has left.
        if let Some(log) = file.text.take() {
            self.remove_log(LogRef { tenant, log }).await?;
        }
        if file.readings >= MAX_READINGS {
            file.status = Status::Error;
            file.details = Some("the server was lost twice while it read the file".to_owned());
        } else {
            file.readings += 1;
            file.text = Some(fresh_log(&*self.clock));
        }
        match self.change(tenant, &file, version).await {
            Ok(version) => Ok((file.status == Status::Uploaded).then_some(Reading { tenant, file, version })),
            Err(ChangeError::Changed) => Ok(None),
            Err(ChangeError::Unavailable(error)) => Err(error),
        }
    }

    /// Ends a reading: with the text, or with the reason why there is none.
    pub async fn end_reading(&self, reading: Reading, text: Result<String, String>) -> Result<(), Unavailable> {
        let Reading { tenant, mut file, version } = reading;
        let log = file.text.map(|log| LogRef { tenant, log });
        match (text, log) {
            (Ok(text), Some(log)) => {
                if let Err(error) = self.keep_text(log, &text).await {
                    // Deleted meanwhile, and the text's log with it; else the engine is unwell, and later may not be.
                    let stands = self.get(tenant, file.id).await?.is_some();
                    self.hand_back(Reading { tenant, file, version }).await?;
                    return if stands { Err(error) } else { Ok(()) };
                }
                file.text_bytes = Some(text.len() as u64);
                file.status = Status::Processed;
            }
            (Ok(_), None) => return Ok(()),
            (Err(reason), _) => {
                file.text = None;
                file.status = Status::Error;
                file.details = Some(reason);
            }
        }
        self.settle(tenant, &file, version, log).await
    }

    /// Gives a reading back as if it had not begun: the server ends in order.
    pub async fn hand_back(&self, reading: Reading) -> Result<(), Unavailable> {
        let Reading { tenant, mut file, version } = reading;
        let log = file.text.take().map(|log| LogRef { tenant, log });
        file.readings = file.readings.saturating_sub(1);
        self.settle(tenant, &file, version, log).await
    }

    async fn settle(
        &self,
        tenant: TenantId,
        file: &File,
        version: u64,
        log: Option<LogRef>,
    ) -> Result<(), Unavailable> {
        match (self.change(tenant, file, version).await, log) {
            (Ok(_), _) | (Err(ChangeError::Changed), None) => Ok(()),
            // Removed meanwhile: the text must go too.
            (Err(ChangeError::Changed), Some(log)) => self.remove_log(log).await,
            (Err(ChangeError::Unavailable(error)), _) => Err(error),
        }
    }

    async fn keep_text(&self, log: LogRef, text: &str) -> Result<(), Unavailable> {
        self.log.create(log).await?;
        let mut rest = text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(MAX_APPEND_BYTES / 2);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (part, later) = rest.split_at(cut);
            append(&*self.log, log, self.clock.now(), Kind::Text, part.as_bytes().to_vec().into()).await?;
            rest = later;
        }
        end(&*self.log, log).await
    }

    /// A file's text, where it has one.
    pub async fn text(&self, tenant: TenantId, file: &File) -> Result<Option<String>, ReadError> {
        let (Some(log), Some(bytes)) = (file.text, file.text_bytes) else { return Ok(None) };
        let log = LogRef { tenant, log };
        let mut cursor = Cursor { epoch: self.log.state(log).await?.epoch, next: Offset(0) };
        let mut text = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
        loop {
            let page = self.log.read(log, cursor, 8 * EVENT_BYTES).await?;
            let Some(last) = page.events.last() else { break };
            cursor.next = last.offset.plus(1);
            for event in page.events.iter().filter(|event| event.kind == Kind::Text) {
                text.extend_from_slice(&event.data);
            }
            if page.ended && cursor.next >= page.tail {
                break;
            }
        }
        Ok(Some(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())))
    }

    /// A file once nothing more becomes of its text, or as it is after so long; `None` where there is none.
    pub async fn settled(&self, tenant: TenantId, id: FileId, wait: Duration) -> Result<Option<File>, Unavailable> {
        let mut patience = self.clock.sleep(wait);
        loop {
            // Ask before the look: a change between the two must wake us.
            let mut changes = self.changes();
            let Some((file, _)) = self.get(tenant, id).await? else { return Ok(None) };
            if file.status != Status::Uploaded {
                return Ok(Some(file));
            }
            let mut look = self.clock.sleep(LOOK);
            let changed = changes.changed();
            tokio::select! {
                _ = changed => {}
                () = &mut look => {}
                () = &mut patience => return Ok(Some(file)),
            }
        }
    }
}
