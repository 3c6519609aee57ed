//! How much there may be, and how much there is.

use super::{Files, UploadError};
use crate::id::TenantId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// How much of everything there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files of a tenant.
    pub tenant_bytes: u64,
    /// Files of a tenant: a list reads them all.
    pub files: u64,
    /// Bytes of text that the files of one task may amount to.
    pub text_bytes: u64,
}

impl Default for Bounds {
    /// 512 MiB a file, as at OpenAI. Ten thousand files are read from their records in some tens of milliseconds.
    /// 1 MiB of text holds a prompt of 250,000 tokens, and is what a request's body may have.
    fn default() -> Self {
        Self {
            file_bytes: 512 * 1024 * 1024,
            tenant_bytes: 10 * 1024 * 1024 * 1024,
            files: 10_000,
            text_bytes: 1024 * 1024,
        }
    }
}

/// What each tenant has, uploads under way included. Counted from the records when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Room(HashMap<TenantId, Held>);

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    files: u64,
}

impl Room {
    /// Takes room for more, where there is some.
    pub(super) fn take(
        &mut self,
        tenant: TenantId,
        (bytes, files): (u64, u64),
        bounds: &Bounds,
    ) -> Result<(), UploadError> {
        let held = self.0.entry(tenant).or_default();
        if held.files + files > bounds.files {
            return Err(UploadError::TooMany { bound: bounds.files });
        }
        if held.bytes + bytes > bounds.tenant_bytes {
            return Err(UploadError::NoRoom { bound: bounds.tenant_bytes });
        }
        held.bytes += bytes;
        held.files += files;
        Ok(())
    }

    pub(super) fn give_back(&mut self, tenant: TenantId, bytes: u64, files: u64) {
        if let Some(held) = self.0.get_mut(&tenant) {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.files = held.files.saturating_sub(files);
        }
    }
}

impl Files {
    /// Takes room for one more file.
    pub(super) async fn take_place(&self, tenant: TenantId) -> Result<(), UploadError> {
        // Held while the records are read: a second upload must not count them a second time.
        let mut room = self.room.lock().await;
        if let Entry::Vacant(unknown) = room.0.entry(tenant) {
            // Expired ones too: they take room until they are swept.
            let files = self.records(tenant).await?;
            unknown.insert(Held { bytes: files.iter().map(|file| file.bytes).sum(), files: files.len() as u64 });
        }
        room.take(tenant, (0, 1), &self.bounds)
    }
}
