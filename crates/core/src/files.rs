//! Files that were uploaded: their bytes and their text as logs, and what is known of them as a record.
//!
//! ```text
//!   record file-X ──▶ log X      the bytes, ended when whole
//!        │      └───▶ log T      the text, once it was taken
//!   record stray-X    what to clean up: an upload under way, or a removal
//! ```
//!
//! A file is there from the moment when its record is committed, which comes last. What a crash leaves half done is
//! named by a stray record, which comes first, and [`Files::sweep`] takes it away.
//!
//! Edge and worker meet here without knowing each other: the edge takes files in and checks those that a task names
//! ([`Files::check`]), the worker puts their text in place of the names ([`Files::with_texts`]).

mod content;
mod file;
mod message;
mod named;
mod room;
mod sweep;
mod text;
mod upload;

pub use content::{Content, ContentError};
pub use file::{File, FileId, PURPOSES, Status, takes_text};
pub use message::MessageError;
pub use room::Bounds;
pub use sweep::Sweep;
pub use text::Reading;
pub use upload::{About, Upload, UploadError};

use crate::id::{LogRef, TenantId};
use crate::port::{
    Clock, Directory, EventLog, Expect, LogKeeping, PutError, RecordName, RemoveError, RemoveRecordError, Shelf,
    Unavailable,
};
use room::Room;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

/// How many records are read at once: a millisecond of an engine's time.
const PAGE: usize = 500;

/// How many uploads run at once. Each holds up to a mebibyte; further ones wait, and their senders with them.
const MAX_UPLOADS: usize = 64;

/// Files whose texts wait to be taken and that the reader has not heard of; its sweep finds further ones.
const MAX_UNREAD: usize = 1024;

/// All files.
pub struct Files {
    directory: Arc<dyn Directory>,
    log: Arc<dyn EventLog>,
    keeping: Arc<dyn LogKeeping>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    room: Mutex<Room>,
    uploads: Arc<Semaphore>,
    /// Counts what became of files in this process, so that whoever waits for a text looks again.
    changed: watch::Sender<u64>,
    /// Whose text is to be taken.
    unread: mpsc::Sender<(TenantId, FileId)>,
    reader: std::sync::Mutex<Option<mpsc::Receiver<(TenantId, FileId)>>>,
}

/// Why a record was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such file, or not in this version any more. Read it, and decide again.
    #[error("the file has changed meanwhile, or is gone")]
    Changed,
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<PutError> for ChangeError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Conflict { .. } => Self::Changed,
            PutError::TooLarge { .. } => Self::Unavailable(Unavailable::new(error)),
            PutError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl Files {
    /// Files whose records, bytes and texts these ports keep.
    pub fn new(
        directory: Arc<dyn Directory>,
        log: Arc<dyn EventLog>,
        keeping: Arc<dyn LogKeeping>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Self {
        let (unread, reader) = mpsc::channel(MAX_UNREAD);
        Self {
            directory,
            log,
            keeping,
            clock,
            bounds,
            room: Mutex::new(Room::default()),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            changed: watch::Sender::new(0),
            unread,
            reader: std::sync::Mutex::new(Some(reader)),
        }
    }

    /// Files as they are uploaded, for the one who takes their texts; `None` for any other one who asks.
    pub fn unread(&self) -> Option<mpsc::Receiver<(TenantId, FileId)>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How much of everything there may be.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A file and its record's version. One that expired is gone, whether it was swept yet or not.
    pub async fn get(&self, tenant: TenantId, id: FileId) -> Result<Option<(File, u64)>, Unavailable> {
        let Some(record) = self.directory.get(&file_name(tenant, id)).await? else { return Ok(None) };
        let file = File::from_record(&record)?;
        Ok((!file.is_expired(self.clock.now())).then_some((file, record.version)))
    }

    /// All files of a tenant, oldest first: as many as [`Bounds::files`] at most.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<File>, Unavailable> {
        let now = self.clock.now();
        let mut files = self.records(tenant).await?;
        files.retain(|file| !file.is_expired(now));
        Ok(files)
    }

    /// Replaces a file's record, and wakes those who wait for its text.
    pub async fn change(&self, tenant: TenantId, file: &File, version: u64) -> Result<u64, ChangeError> {
        let version =
            self.directory.put(file_name(tenant, file.id), file.to_record(), Expect::Version(version)).await?;
        self.changed.send_modify(|count| *count += 1);
        Ok(version)
    }

    /// Removes a file, its bytes and its text; `false` where there was none.
    pub async fn remove(&self, tenant: TenantId, id: FileId) -> Result<bool, Unavailable> {
        loop {
            let Some(record) = self.directory.get(&file_name(tenant, id)).await? else { return Ok(false) };
            let file = File::from_record(&record)?;
            let stray = self.note_stray(tenant, id, file.logs()).await?;
            match self.directory.remove(&file_name(tenant, id), Expect::Version(record.version)).await {
                Ok(_) => {}
                // Somebody has changed it meanwhile: its logs may be other ones.
                Err(RemoveRecordError::Conflict { .. }) => continue,
                Err(RemoveRecordError::Unavailable(error)) => return Err(error),
            }
            self.room.lock().await.give_back(tenant, file.bytes, 1);
            self.changed.send_modify(|count| *count += 1);
            self.clear_stray(tenant, &stray, &file.logs()).await?;
            return Ok(true);
        }
    }

    /// A log of a file's, removed.
    pub async fn remove_log(&self, log: LogRef) -> Result<(), Unavailable> {
        match self.keeping.remove(log).await {
            Err(RemoveError::Unavailable(error)) => Err(error),
            // A task's log is what only a damaged record names: there is nothing to remove.
            Ok(()) | Err(RemoveError::OfATask) => Ok(()),
        }
    }

    /// Waits until something became of a file in this process. It starts at now, so ask before the first look.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

fn file_name(tenant: TenantId, id: FileId) -> RecordName {
    RecordName { tenant, shelf: Shelf::Files, name: id.to_string() }
}
