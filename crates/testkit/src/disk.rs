//! What a disk holds after the power fails: a record of everything that a program did to a directory, and the
//! directory as it would be after any prefix of it.
//!
//! The record is strace's. A preloaded library would see only calls that go through libc, and needs a C compiler and
//! code that this workspace forbids; strace sees every system call, orders those of all threads with what the
//! program prints, and is here for other tests already. Memory that is mapped to be written would escape it, so such
//! a mapping is an error.
//!
//! The model is POSIX's, and so harsher than any one file system:
//! - What a file was given before an `fsync` or `fdatasync` of it began is on the disk once that has returned.
//! - A name is on the disk once its directory was synced; a synced file whose name is not is gone.
//! - Anything else may be there, be missing, or be there in part ([`Unsynced`]).

mod before;
mod image;
mod rebuild;
mod recorder;
mod trace;

pub use image::{Flipped, Image};
pub use rebuild::Unsynced;
pub use recorder::{Recorder, RecorderError, wrapper};
pub use trace::TraceError;

use bytes::Bytes;
use std::path::PathBuf;

/// A file, whatever its name is at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(usize);

/// One thing that the program did, and that succeeded. Paths are relative to the recorded directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bytes were written to a file.
    Write {
        /// Which one.
        file: FileId,
        /// Where.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// A file was given this length.
    Resize {
        /// Which one.
        file: FileId,
        /// In bytes.
        length: u64,
    },
    /// A file was synced. What happened to it at or after `from` is not covered: the sync had begun.
    Sync {
        /// Which one.
        file: FileId,
        /// An index into the record.
        from: usize,
    },
    /// A directory was synced: the names in it.
    SyncNames {
        /// Which one.
        directory: PathBuf,
        /// As for [`Op::Sync`].
        from: usize,
    },
    /// A file was made.
    Create {
        /// Its name.
        path: PathBuf,
        /// What it is called in this record.
        file: FileId,
    },
    /// A directory was made.
    MakeDirectory {
        /// Its name.
        path: PathBuf,
    },
    /// A file got another name, and whatever had that name is gone.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name, in the same directory.
        to: PathBuf,
    },
    /// A name was removed, of a file or of an empty directory.
    Remove {
        /// Which one.
        path: PathBuf,
    },
    /// The program printed a line.
    Note(String),
}

impl Op {
    /// Whether the disk is concerned.
    pub fn is_of_disk(&self) -> bool {
        !matches!(self, Self::Note(_))
    }
}

/// All that a program did to a directory, in order.
#[derive(Clone, Debug, Default)]
pub struct Record {
    ops: Vec<Op>,
    files: usize,
}

impl Record {
    /// What was done.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Where the power may fail: after each operation of the disk, and with all that was printed before the next.
    /// Each is a number of operations from the start.
    pub fn cuts(&self) -> Vec<usize> {
        let of_disk = self.ops.iter().enumerate().filter(|(_, op)| op.is_of_disk()).map(|(index, _)| index);
        of_disk.skip(1).chain([self.ops.len()]).collect()
    }

    /// The lines that were printed within the first `count` operations.
    pub fn notes(&self, count: usize) -> impl Iterator<Item = &str> {
        self.ops[..count].iter().filter_map(|op| if let Op::Note(line) = op { Some(line.as_str()) } else { None })
    }
}

#[cfg(test)]
mod tests;
