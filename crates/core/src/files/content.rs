//! Reads a file's bytes back, piece by piece, and says at the end whether they are the ones that were uploaded.

use super::upload::EVENT_BYTES;
use super::{File, Files};
use crate::event::Kind;
use crate::id::{LogRef, Offset, TenantId};
use crate::port::{Cursor, EventLog, ReadError};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;

/// How much is read at once: what a fast reader takes in one go, small beside what a server has.
const READ_BYTES: usize = 8 * EVENT_BYTES;

/// Why a file's bytes can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The log can't be read: the file was removed meanwhile, or the engine is unwell.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read is not what was uploaded.
    #[error("the file's bytes do not have the checksum that they were uploaded with")]
    Damaged,
}

/// A file's bytes, on their way out.
pub struct Content {
    log: Arc<dyn EventLog>,
    at: LogRef,
    cursor: Cursor,
    read: VecDeque<Bytes>,
    over: bool,
    left: Option<(Sha256, String)>,
}

impl Files {
    /// A file's bytes, from the first one on.
    pub async fn content(&self, tenant: TenantId, file: &File) -> Result<Content, ReadError> {
        let at = file.id.log(tenant);
        let epoch = self.log.state(at).await?.epoch;
        Ok(Content {
            log: self.log.clone(),
            at,
            cursor: Cursor { epoch, next: Offset(0) },
            read: VecDeque::new(),
            over: false,
            left: Some((Sha256::new(), file.sha256.clone())),
        })
    }
}

impl Content {
    /// The next bytes; `None` where all were given and their checksum is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        loop {
            if let Some(bytes) = self.read.pop_front() {
                if let Some((hash, _)) = &mut self.left {
                    hash.update(&bytes);
                }
                return Ok(Some(bytes));
            }
            if self.over {
                let whole = self.left.take().is_none_or(|(hash, wanted)| hex(hash.finalize().as_slice()) == wanted);
                return if whole { Ok(None) } else { Err(ContentError::Damaged) };
            }
            let page = self.log.read(self.at, self.cursor, READ_BYTES).await?;
            if let Some(last) = page.events.last() {
                self.cursor.next = last.offset.plus(1);
            }
            self.over = page.events.is_empty() || (page.ended && self.cursor.next >= page.tail);
            self.read.extend(page.events.into_iter().filter(|event| event.kind == Kind::Data).map(|event| event.data));
        }
    }
}

/// Bytes in hexadecimal, as a checksum is written.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
