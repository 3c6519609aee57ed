//! Takes a file in, piece by piece: never the whole of it in memory, and nothing of it visible until it is whole.

use super::content::hex;
use super::file::FileId;
use super::{File, Files, Status, file_name, takes_text};
use crate::ending::{Ending, Outcome, Usage};
use crate::event::{Entry, Kind};
use crate::id::{LogRef, TenantId};
use crate::port::{Append, AppendError, EventLog, Expect, MAX_APPEND_BYTES, PutError, Unavailable, Writer};
use crate::time::Timestamp;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of one event: what a reader gets at once at the least.
pub(super) const EVENT_BYTES: usize = 64 * 1024;

/// Bytes of one append: half of what one may carry, so that a commit has room for others.
const APPEND_BYTES: usize = MAX_APPEND_BYTES / 2;

/// Why a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It is over the bound.
    #[error("a file may have {bound} bytes (`limits.file_bytes`)")]
    TooLarge {
        /// How many it may have.
        bound: u64,
    },
    /// The tenant's files hold too much.
    #[error("all files together may hold {bound} bytes (`limits.files_bytes`); delete some, or let them expire")]
    NoRoom {
        /// How many they may hold.
        bound: u64,
    },
    /// The tenant has too many files.
    #[error("there may be {bound} files (`limits.files`); delete some, or let them expire")]
    TooMany {
        /// How many there may be.
        bound: u64,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the sender says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// Its type.
    pub media: String,
    /// How long after it is whole it goes by itself.
    pub expires_after: Option<Duration>,
}

/// A file on its way in. [`Upload::abandon`] one that breaks off; where a crash forbids that, the sweep does it.
pub struct Upload {
    files: Arc<Files>,
    tenant: TenantId,
    id: FileId,
    stray: String,
    bytes: u64,
    hash: Sha256,
    pending: BytesMut,
    /// Gives the next upload its turn.
    _turn: OwnedSemaphorePermit,
}

impl Files {
    /// Begins an upload, when it is its turn.
    pub async fn upload(self: &Arc<Self>, tenant: TenantId) -> Result<Upload, UploadError> {
        let turn = self.uploads.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Unavailable::new("the server is shutting down"))?;
        self.take_place(tenant).await?;
        let id = FileId::new(&*self.clock);
        let begun = async {
            let stray = self.note_stray(tenant, id, vec![id.log(tenant).log]).await?;
            self.log.create(id.log(tenant)).await?;
            Ok(stray)
        };
        match begun.await {
            Ok(stray) => Ok(Upload {
                files: self.clone(),
                tenant,
                id,
                stray,
                bytes: 0,
                hash: Sha256::new(),
                pending: BytesMut::new(),
                _turn: turn,
            }),
            Err(error) => {
                self.room.lock().await.give_back(tenant, 0, 1);
                Err(UploadError::Unavailable(error))
            }
        }
    }
}

impl Upload {
    /// The next bytes.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        let bound = self.files.bounds.file_bytes;
        let more = bytes.len() as u64;
        if more > bound.saturating_sub(self.bytes) {
            return Err(UploadError::TooLarge { bound });
        }
        self.files.room.lock().await.take(self.tenant, (more, 0), &self.files.bounds)?;
        self.bytes += more;
        self.hash.update(&bytes);
        self.pending.extend_from_slice(&bytes);
        while self.pending.len() >= APPEND_BYTES {
            let part = self.pending.split_to(APPEND_BYTES).freeze();
            append(&*self.files.log, self.id.log(self.tenant), self.files.clock.now(), Kind::Data, part).await?;
        }
        Ok(())
    }

    /// The file is whole: from here on it is there.
    pub async fn finish(mut self, about: About) -> Result<File, UploadError> {
        if let Err(error) = self.end().await {
            self.abandon().await;
            return Err(UploadError::Unavailable(error));
        }
        let now = self.files.clock.now();
        let wants_text = takes_text(&about.purpose);
        let file = File {
            id: self.id,
            filename: about.filename,
            media: about.media,
            bytes: self.bytes,
            sha256: hex(self.hash.finalize_reset().as_slice()),
            created_at: now,
            expires_at: about.expires_after.map(|wait| now.plus(wait)),
            status: if wants_text { Status::Uploaded } else { Status::Processed },
            purpose: about.purpose,
            details: None,
            readings: 0,
            text: None,
            text_bytes: None,
        };
        let Self { files, tenant, id, stray, .. } = self;
        match files.directory.put(file_name(tenant, id), file.to_record(), Expect::Absent).await {
            Ok(_) => {}
            // Whether the record stands is not known. The sweep looks, and takes the bytes away if it does not.
            Err(PutError::Unavailable(error)) => return Err(error.into()),
            Err(error) => return Err(Unavailable::new(error).into()),
        }
        // A note that stays is no harm: the sweep sees that the record stands.
        let _ = files.clear_stray(tenant, &stray, &[]).await;
        if wants_text {
            // Where the line is full the sweep finds the file.
            let _ = files.unread.try_send((tenant, id));
        }
        Ok(file)
    }

    async fn end(&mut self) -> Result<(), Unavailable> {
        let rest = std::mem::take(&mut self.pending).freeze();
        append(&*self.files.log, self.id.log(self.tenant), self.files.clock.now(), Kind::Data, rest).await?;
        end(&*self.files.log, self.id.log(self.tenant)).await
    }

    /// Takes back what is there.
    pub async fn abandon(self) {
        self.files.room.lock().await.give_back(self.tenant, self.bytes, 1);
        // What can't be removed now is still named by its stray.
        let logs = [self.id.log(self.tenant).log];
        let _ = self.files.clear_stray(self.tenant, &self.stray, &logs).await;
    }
}

/// Appends bytes or text in events of a size that readers take.
pub(super) async fn append(
    log: &dyn EventLog,
    at: LogRef,
    now: Timestamp,
    kind: Kind,
    mut data: Bytes,
) -> Result<(), Unavailable> {
    let mut entries = Vec::with_capacity(data.len().div_ceil(EVENT_BYTES));
    while !data.is_empty() {
        let mut cut = data.len().min(EVENT_BYTES);
        // An event of text has whole characters.
        while kind.is_text() && cut < data.len() && data[cut] & 0b1100_0000 == 0b1000_0000 {
            cut -= 1;
        }
        entries.push(Entry::new(now, kind, data.split_to(cut)));
    }
    if entries.is_empty() {
        return Ok(());
    }
    let append = Append { log: at, writer: Writer::Open { rank: None }, entries };
    log.append(append).await.map(|_| ()).map_err(unwritten)
}

/// Ends a log that holds a whole file or a whole text.
pub(super) async fn end(log: &dyn EventLog, at: LogRef) -> Result<(), Unavailable> {
    let ending = Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: Usage::default(),
        deployment: None,
        attempts: 0,
        cache: None,
    };
    let append = Append { log: at, writer: Writer::Open { rank: None }, entries: Vec::new() };
    log.end(append, ending).await.map(|_| ()).map_err(unwritten)
}

fn unwritten(error: AppendError) -> Unavailable {
    match error {
        AppendError::Unavailable(error) => error,
        // The log is this writer's own: whatever else is wrong, the file can't be kept.
        error => Unavailable::new(error),
    }
}
