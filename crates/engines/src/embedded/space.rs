//! Keeps some of the disk free: new work is refused while there is less, so that a full disk is met before it
//! breaks the commits of work that runs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::port::Unavailable;

/// How long a look at the disk counts: in a second, a fast disk takes some 500 MB.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The disk of a data directory.
pub(super) struct Space {
    directory: PathBuf,
    keep_free_bytes: u64,
    /// When it was last looked at, and how much was free.
    seen: Mutex<Option<(Duration, u64)>>,
}

impl Space {
    pub(super) fn new(directory: &Path, keep_free_bytes: u64) -> Self {
        Self { directory: directory.to_owned(), keep_free_bytes, seen: Mutex::new(None) }
    }

    /// How much the disk has free for this process; `None` where that can't be found out.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whether there is room for new work. `now` is the engine's monotonic time.
    pub(super) fn check(&self, now: Duration) -> Result<(), Unavailable> {
        if self.keep_free_bytes == 0 {
            return Ok(());
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let free = match *seen {
            Some((at, free)) if now.saturating_sub(at) < LOOK_EVERY && free >= self.keep_free_bytes => free,
            _ => {
                // A disk that does not tell is no reason to refuse work.
                let free = self.free_bytes().unwrap_or(u64::MAX);
                *seen = Some((now, free));
                free
            }
        };
        if free >= self.keep_free_bytes {
            return Ok(());
        }
        let (at, keep) = (self.directory.display(), self.keep_free_bytes / 1_000_000);
        Err(Unavailable::new(format_args!(
            "the disk under {at} has {} MB free, and new tasks are taken while it has {keep} MB (`limits.data_free_bytes`): free \
             some space; running tasks go on",
            free / 1_000_000
        )))
    }
}
