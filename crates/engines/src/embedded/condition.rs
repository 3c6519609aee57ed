//! Whether the engine takes changes, and if not: why, what to do about it, and whether it goes on by itself.
//!
//! Two failures look alike to a caller, and are not:
//! - **A write was refused**: the disk is full or read-only, a quota or a size limit is reached. What was
//!   confirmed before is on the disk as it was, and what was refused never got to a sync. So the store can be
//!   opened again within the process as soon as the disk takes writes: its recovery reads the journal and cuts
//!   off a batch that got only half into it.
//! - **A sync failed.** The kernel tells that once. It may have dropped the pages that it could not write, or keep
//!   them as if they were written: the journal then reads well from memory while the disk has a hole in it. What
//!   would be confirmed behind that hole would be lost with the next loss of power. So nothing is taken until
//!   somebody has looked at the disk and started the process again.
//!
//! A failure of the store's own thread (it flushes and compacts) comes without its cause. It counts as the first
//! kind where the disk refuses a write at that moment too, else as the second.

use fjall::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidewire_core::port::Unavailable;

/// What is written to see whether the disk takes writes: as much as a round of the committer.
pub(super) const PROBE_BYTES: usize = super::committer::MAX_ROUND_BYTES;
const PROBE_FILE: &str = "PROBE";

/// Why a commit failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The disk refused a write: the store is opened again once it takes one.
    Passing(Unavailable),
    /// What the disk holds is not known: the process has to be started again.
    Lasting(Unavailable),
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self::Lasting(unavailable)
    }
}

impl From<Failure> for Unavailable {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(unavailable) | Failure::Lasting(unavailable) => unavailable,
        }
    }
}

impl Failure {
    /// A write that failed before anything of it was given to a sync.
    pub(super) fn of_write(error: &io::Error, directory: &Path) -> Self {
        if is_refusal(error) {
            return Self::Passing(refused(error, directory));
        }
        Self::Lasting(lasting("a commit failed", error, directory))
    }

    /// A sync that failed, for whatever reason it gives.
    pub(super) fn of_sync(error: &dyn std::fmt::Display, directory: &Path) -> Self {
        Self::Lasting(lasting("the disk did not confirm a commit", error, directory))
    }

    /// A batch that the store did not take, before any sync of it.
    pub(super) fn of_batch(error: &Error, condition: &Condition, directory: &Path) -> Self {
        match error {
            Error::Io(error) => Self::of_write(error, directory),
            Error::Poisoned => Self::of_background(condition, directory),
            other => Self::Lasting(lasting("a commit failed", other, directory)),
        }
    }

    /// Something that the store did by itself.
    fn of_background(condition: &Condition, directory: &Path) -> Self {
        if let Some(refusal) = condition.lock().hint.take() {
            return Self::Passing(refusal);
        }
        match probe(directory) {
            Err(error) if is_refusal(&error) => Self::Passing(refused(&error, directory)),
            _ => {
                let cause = "a flush or a compaction, for a reason that it does not tell";
                Self::Lasting(lasting("the store failed in the background", &cause, directory))
            }
        }
    }
}

/// The disk says that it takes no such write now; it has not lost anything.
fn is_refusal(error: &io::Error) -> bool {
    let kinds =
        [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem, ErrorKind::FileTooLarge];
    kinds.contains(&error.kind())
}

fn refused(error: &io::Error, directory: &Path) -> Unavailable {
    let at = directory.display();
    let what_to_do = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "make it writable",
        ErrorKind::QuotaExceeded => "raise the quota or free some space",
        ErrorKind::FileTooLarge => "raise the limit on the size of files",
        _ => "free some space",
    };
    Unavailable::new(format_args!(
        "the disk under {at} refuses writes ({error}): {what_to_do}; the server goes on by itself then"
    ))
}

fn lasting(what: &str, error: &dyn std::fmt::Display, directory: &Path) -> Unavailable {
    let at = directory.display();
    Unavailable::new(format_args!(
        "{what} ({error}), so what the disk under {at} holds is not known: look at the disk, then start the server \
         again; if its data is damaged, restore a backup"
    ))
}

/// Writes a file and syncs it: whether the disk takes writes.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(PROBE_FILE);
    let written = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    });
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound && written.is_ok() => Err(error),
        _ => written,
    }
}

/// Whether changes are taken.
#[derive(Debug)]
pub(super) struct Condition {
    taking: AtomicBool,
    why: Mutex<Why>,
    failures: AtomicU64,
    recoveries: AtomicU64,
}

#[derive(Debug, Default)]
struct Why {
    /// Why no changes are taken now.
    failure: Option<Unavailable>,
    /// Why a change was last not taken.
    last: Option<Unavailable>,
    /// A write beside the committer was refused; its next commit will find the store closed to writes.
    hint: Option<Unavailable>,
}

impl Condition {
    pub(super) fn well() -> Self {
        Self {
            taking: AtomicBool::new(true),
            why: Mutex::default(),
            failures: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Why> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> Result<(), Unavailable> {
        if self.taking.load(Ordering::Acquire) {
            return Ok(());
        }
        self.lock().failure.clone().map_or(Ok(()), Err)
    }

    /// Takes no changes from now on.
    pub(super) fn fail(&self, failure: Unavailable) {
        let mut why = self.lock();
        why.last = Some(failure.clone());
        why.failure = Some(failure);
        if self.taking.swap(false, Ordering::AcqRel) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes changes again.
    pub(super) fn recover(&self) {
        let mut why = self.lock();
        why.failure = None;
        why.hint = None;
        self.taking.store(true, Ordering::Release);
        self.recoveries.fetch_add(1, Ordering::Relaxed);
    }

    /// A write beside the committer failed.
    pub(super) fn note_beside(&self, error: &Error, directory: &Path) -> Unavailable {
        if let Error::Io(error) = error
            && is_refusal(error)
        {
            let refusal = refused(error, directory);
            self.lock().hint = Some(refusal.clone());
            return refusal;
        }
        Unavailable::new(error)
    }

    /// Why a change was not taken that was on its way.
    pub(super) fn refusal(&self) -> Unavailable {
        let why = self.lock();
        let reason = why.failure.as_ref().or(why.last.as_ref());
        reason.cloned().unwrap_or_else(|| Unavailable::new("it is shut down"))
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(failure: &Failure) -> bool {
        matches!(failure, Failure::Passing(_))
    }

    #[test]
    fn a_refused_write_passes_and_a_failed_sync_never_does_whatever_it_says() {
        let at = Path::new("/data");
        let refusals = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
        for kind in refusals.into_iter().chain([ErrorKind::FileTooLarge]) {
            let error = io::Error::from(kind);
            assert!(passes(&Failure::of_write(&error, at)), "{kind}");
            assert!(passes(&Failure::of_batch(&Error::Io(io::Error::from(kind)), &Condition::well(), at)), "{kind}");
            assert!(
                !passes(&Failure::of_sync(&error, at)),
                "{kind}: the kernel may have dropped what it could not write"
            );
        }
        for kind in [ErrorKind::Other, ErrorKind::InvalidData, ErrorKind::Interrupted] {
            assert!(!passes(&Failure::of_write(&io::Error::from(kind), at)), "{kind}");
        }
    }

    #[test]
    fn a_failure_in_the_background_passes_only_where_the_disk_is_seen_to_refuse_writes() {
        let well = tempfile::tempdir().unwrap();
        let condition = Condition::well();
        assert!(!passes(&Failure::of_batch(&Error::Poisoned, &condition, well.path())));
        let full = Error::Io(io::Error::from(ErrorKind::StorageFull));
        condition.note_beside(&full, well.path());
        assert!(passes(&Failure::of_batch(&Error::Poisoned, &condition, well.path())));
        assert!(!passes(&Failure::of_batch(&Error::Poisoned, &condition, well.path())), "it counts once");
    }
}
