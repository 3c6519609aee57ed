//! Runs a program under strace, and reads the record that comes of it.

use super::trace::{self, TraceError};
use super::{Record, before};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Calls that change files, names or descriptors; `fcntl` duplicates descriptors, `mmap` may map a file for writing.
const CALLS: &str = "trace=open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,read,write,pwrite64,writev,pwritev,pwritev2,\
                     ftruncate,truncate,fallocate,copy_file_range,sendfile,splice,mmap,\
                     rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,\
                     fsync,fdatasync,sync_file_range,sync,syncfs";
/// The longest write that is recorded whole. A longer one is an error, and not a shorter record.
const MAX_WRITE_BYTES: &str = "67108864";

const OPTIONS: [&str; 11] =
    ["-f", "-q", "-xx", "--seccomp-bpf", "-s", MAX_WRITE_BYTES, "-e", CALLS, "-e", "signal=KILL", "-o"];

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// strace could not be run: scripts/setup.sh installs it.
    #[error("strace could not be run ({0}): `scripts/setup.sh test` installs it")]
    Strace(io::Error),
    /// The program failed.
    #[error("the recorded program ended with {0}")]
    Program(ExitStatus),
    /// The record can't be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The file that strace wrote can't be read.
    #[error("the trace can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Records what a program does to one directory.
#[derive(Debug)]
pub struct Recorder {
    directory: PathBuf,
    command: Command,
    trace: PathBuf,
}

/// The command that records whatever program is named after it. The tracer is the program's grandchild, so that who
/// starts it has the program itself, to be killed.
pub fn wrapper(trace: &Path) -> Vec<String> {
    let mut words: Vec<_> = ["strace", "-D"].into_iter().chain(OPTIONS).map(str::to_owned).collect();
    words.push(trace.display().to_string());
    words
}

impl Record {
    /// The record that a program left at `trace` which ran under [`wrapper`] in `directory`. `before` is a copy of
    /// the directory as it was when the program was started; it counts as synced.
    pub fn read(trace: &Path, directory: &Path, before: &Path) -> Result<Self, RecorderError> {
        Ok(trace::parse(&std::fs::read_to_string(trace)?, directory, before::read(before)?)?)
    }
}

impl Recorder {
    /// A record of `program` in `directory`, which is absolute and empty. strace's own file is put at `trace`,
    /// outside of it.
    pub fn new(directory: &Path, trace: &Path, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-q",
            "-xx",
            "--seccomp-bpf",
            "-s",
            MAX_WRITE_BYTES,
            "-e",
            CALLS,
            "-e",
            "signal=KILL",
            "-o",
        ]);
        command.arg(trace).arg(program).stdout(Stdio::null());
        Self { directory: directory.to_owned(), command, trace: trace.to_owned() }
    }

    /// The command, for further arguments and variables. Its stdout is recorded and goes nowhere.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs the program to its end.
    pub fn run(mut self) -> Result<Record, RecorderError> {
        let status = self.command.status().map_err(RecorderError::Strace)?;
        if !status.success() {
            return Err(RecorderError::Program(status));
        }
        let text = std::fs::read_to_string(&self.trace)?;
        Ok(trace::parse(&text, &self.directory, Vec::new())?)
    }
}
