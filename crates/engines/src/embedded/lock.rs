//! The lock on a data directory: two processes that write one store would tear it apart.

use super::open::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

const FILE: &str = "LOCK";
/// A process that was killed holds its files until its last sync has returned, and whoever starts it again may
/// be quicker than that: 2 s are a hundred syncs.
const MAX_TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held for as long as it lives. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let failed = |error| OpenError::Io { path: path.clone(), error };
        // Not truncated before it is ours: what stands in it is the pid of the holder.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let mut tries = 0;
        while let Err(refused) = file.try_lock() {
            if let TryLockError::Error(error) = refused {
                return Err(failed(error));
            }
            tries += 1;
            if tries == MAX_TRIES {
                let mut holder = String::new();
                // Best effort: without a pid the refusal is as right, and says less.
                let _ = file.read_to_string(&mut holder);
                return Err(OpenError::Locked { path: directory.to_owned(), pid: holder.trim().parse().ok() });
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
