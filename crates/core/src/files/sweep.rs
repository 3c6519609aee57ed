//! Cleans up behind files: expired ones, uploads that broke off in a crash, removals that did.

use super::file::{self, File, FileId};
use super::{Files, PAGE, file_name};
use crate::id::{LogId, LogRef, TenantId};
use crate::port::{Expect, PutError, RecordName, RemoveRecordError, Shelf, Unavailable};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a stray record's name begins; it sorts after those of files.
const PREFIX: &str = "stray-";

/// How old a stray record must be before it is taken for one that a crash left: twice what an upload may take.
const STRAY_AGE: Duration = Duration::from_hours(2);

/// What there may be to clean up, and since when.
#[derive(Debug, Serialize, Deserialize)]
struct Stray {
    since: Timestamp,
    logs: Vec<LogId>,
}

/// Where the next round of sweeping goes on. The default begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    after: Option<String>,
    /// Files whose text nobody has taken yet, as the last round found them.
    pub unread: Vec<FileId>,
    /// How many files and strays the last round took away.
    pub removed: usize,
}

impl Sweep {
    /// Whether the next round begins anew: the last one has seen the end.
    pub fn is_whole(&self) -> bool {
        self.after.is_none()
    }
}

impl Files {
    /// One round: looks at so many records at most, from where the last round ended.
    pub async fn sweep(&self, tenant: TenantId, sweep: &mut Sweep, limit: usize) -> Result<(), Unavailable> {
        sweep.unread.clear();
        sweep.removed = 0;
        let page = self.directory.list(tenant, Shelf::Files, sweep.after.as_deref(), limit).await?;
        let more = page.len() >= limit;
        let now = self.clock.now();
        let mut last = None;
        for (name, record) in page {
            if file::is_file_name(&name) {
                let file = File::from_record(&record)?;
                if file.is_expired(now) {
                    sweep.removed += usize::from(self.remove(tenant, file.id).await?);
                } else if file.status == super::Status::Uploaded {
                    sweep.unread.push(file.id);
                }
            } else if let Ok(stray) = serde_json::from_slice::<Stray>(&record.value)
                && stray.since.plus(STRAY_AGE) <= now
            {
                self.take_away(tenant, &name, &stray).await?;
                sweep.removed += 1;
            }
            last = Some(name);
        }
        sweep.after = last.filter(|_| more);
        Ok(())
    }

    /// Cleans up after a crash. Where the file's record stands, the upload was whole, or the removal did not begin.
    async fn take_away(&self, tenant: TenantId, name: &str, stray: &Stray) -> Result<(), Unavailable> {
        let id: Option<FileId> = name.strip_prefix(PREFIX).and_then(|letters| format!("file-{letters}").parse().ok());
        let stands = match id {
            Some(id) => self.directory.get(&file_name(tenant, id)).await?.is_some(),
            None => false,
        };
        let logs = if stands { &[] } else { &*stray.logs };
        self.clear_stray(tenant, name, logs).await
    }

    /// Notes what there will be to clean up, before it is there. The note's name.
    pub(super) async fn note_stray(
        &self,
        tenant: TenantId,
        id: FileId,
        logs: Vec<LogId>,
    ) -> Result<String, Unavailable> {
        let name = format!("{PREFIX}{}", id.to_string().trim_start_matches("file-"));
        let stray = Stray { since: self.clock.now(), logs };
        // Numbers and names only: it can't fail.
        let value = serde_json::to_vec(&stray).unwrap_or_default().into();
        match self.directory.put(stray_name(tenant, name.clone()), value, Expect::Anything).await {
            Ok(_) => Ok(name),
            Err(PutError::Unavailable(error)) => Err(error),
            Err(error) => Err(Unavailable::new(error)),
        }
    }

    /// Removes the logs and then the note.
    pub(super) async fn clear_stray(&self, tenant: TenantId, name: &str, logs: &[LogId]) -> Result<(), Unavailable> {
        for &log in logs {
            self.remove_log(LogRef { tenant, log }).await?;
        }
        match self.directory.remove(&stray_name(tenant, name.to_owned()), Expect::Anything).await {
            Ok(_) | Err(RemoveRecordError::Conflict { .. }) => Ok(()),
            Err(RemoveRecordError::Unavailable(error)) => Err(error),
        }
    }

    /// All records of files, expired ones too, oldest first.
    pub(super) async fn records(&self, tenant: TenantId) -> Result<Vec<File>, Unavailable> {
        let mut files = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.directory.list(tenant, Shelf::Files, after.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            for (name, record) in page {
                if !file::is_file_name(&name) {
                    return Ok(files);
                }
                files.push(File::from_record(&record)?);
                after = Some(name);
            }
            if last {
                return Ok(files);
            }
        }
    }
}

fn stray_name(tenant: TenantId, name: String) -> RecordName {
    RecordName { tenant, shelf: Shelf::Files, name }
}
