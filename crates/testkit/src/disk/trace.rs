//! Reads what strace wrote: one call a line, in the order in which they returned.

mod call;
mod names;

use super::{FileId, Op, Record};
use bytes::Bytes;
use call::{Call, Calls};
use names::{Names, Node};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The record shows something that it can't be rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace: {what}")]
pub struct TraceError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// An open descriptor.
#[derive(Clone, Debug)]
enum Open {
    File { file: FileId, position: u64, appends: bool },
    Directory(PathBuf),
    Elsewhere,
}

/// The program as far as it has been read.
struct Reading {
    names: Names,
    open: HashMap<i64, Open>,
    lengths: Vec<u64>,
    ops: Vec<Op>,
    /// What was printed after the last whole line.
    line: String,
}

type Told = Result<(), String>;

pub(super) fn parse(text: &str, root: &Path, before: Vec<Op>) -> Result<Record, TraceError> {
    let mut reading = Reading::after(before, root);
    let mut calls = Calls::default();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: String| TraceError { line: number + 1, what };
        if calls.begin(line, reading.ops.len()) {
            continue;
        }
        let Some((call, since)) = calls.whole(line, reading.ops.len()).map_err(wrong)? else { continue };
        // A call that failed changed nothing.
        if call.result >= 0 {
            reading.take(&call, since).map_err(wrong)?;
        }
    }
    Ok(Record { ops: reading.ops, files: reading.lengths.len() })
}

impl Reading {
    /// Begins with what there was before.
    fn after(ops: Vec<Op>, root: &Path) -> Self {
        let (mut names, mut lengths) = (Names::new(root), Vec::new());
        for op in &ops {
            match op {
                Op::MakeDirectory { path } => names.put(path.clone(), Node::Directory),
                Op::Create { path, file } => {
                    names.put(path.clone(), Node::File(*file));
                    lengths.push(0);
                }
                Op::Resize { file, length } => lengths[file.0] = *length,
                _ => {}
            }
        }
        Self { names, open: HashMap::new(), lengths, ops, line: String::new() }
    }

    fn take(&mut self, call: &Call<'_>, since: usize) -> Told {
        match call.name {
            "open" | "openat" | "creat" => self.open(call),
            "close" => {
                self.open.remove(&call.number(0)?);
                Ok(())
            }
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.argument(1)?.starts_with("F_DUPFD") => self.duplicate(call),
            "lseek" | "read" => self.moved(call),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(call),
            "ftruncate" => self.resize(call),
            "fallocate" => self.allocate(call),
            "fsync" | "fdatasync" => self.sync(call, since),
            "mkdir" | "mkdirat" => self.make_directory(call),
            "rename" | "renameat" | "renameat2" => self.rename(call),
            "unlink" | "unlinkat" | "rmdir" => self.remove(call),
            "mmap" => self.map(call),
            "truncate" | "link" | "linkat" | "symlink" | "symlinkat" => self.not_here(call),
            "copy_file_range" | "sendfile" | "splice" => self.not_to_ours(call),
            // Others ask descriptors, or sync without a promise.
            _ => Ok(()),
        }
    }

    fn open(&mut self, call: &Call<'_>) -> Told {
        let (path, after) = self.path(call, 0)?;
        let flags = if call.name == "creat" { "O_CREAT|O_TRUNC" } else { call.argument(after)? };
        let Some(path) = path else {
            self.open.insert(call.result, Open::Elsewhere);
            return Ok(());
        };
        if flags.contains("O_TMPFILE") {
            return Err("a file without a name".to_owned());
        }
        let opened = match self.names.get(&path) {
            Some(Node::Directory) => Open::Directory(path),
            Some(Node::File(file)) => {
                if flags.contains("O_TRUNC") && self.lengths[file.0] > 0 {
                    self.set_length(file, 0);
                }
                Open::File { file, position: 0, appends: flags.contains("O_APPEND") }
            }
            None => {
                let file = FileId(self.lengths.len());
                self.lengths.push(0);
                self.names.put(path.clone(), Node::File(file));
                self.ops.push(Op::Create { path, file });
                Open::File { file, position: 0, appends: flags.contains("O_APPEND") }
            }
        };
        self.open.insert(call.result, opened);
        Ok(())
    }

    fn duplicate(&mut self, call: &Call<'_>) -> Told {
        match self.open.get(&call.number(0)?) {
            // The two would share a position.
            Some(Open::File { appends: false, .. }) => Err("a descriptor of a recorded file is duplicated".to_owned()),
            Some(open) => {
                let open = open.clone();
                self.open.insert(call.result, open);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn moved(&mut self, call: &Call<'_>) -> Told {
        if let Some(Open::File { position, .. }) = self.open.get_mut(&call.number(0)?) {
            let result = call.result.unsigned_abs();
            *position = if call.name == "lseek" { result } else { *position + result };
        }
        Ok(())
    }

    fn write(&mut self, call: &Call<'_>) -> Told {
        let descriptor = call.number(0)?;
        let Some(open) = self.open.get_mut(&descriptor) else {
            return if descriptor == 1 { self.print(&call.data()?) } else { Ok(()) };
        };
        let Open::File { file, position, appends } = open else { return Ok(()) };
        let data = Bytes::from(call.data()?);
        if data.len() as u64 != call.result.unsigned_abs() {
            return Err(format!("{} bytes are shown of {} that were written", data.len(), call.result));
        }
        let (file, length) = (*file, &mut self.lengths[file.0]);
        let offset = match call.name {
            "write" | "writev" => {
                let offset = if *appends { *length } else { *position };
                *position = offset + data.len() as u64;
                offset
            }
            "pwrite64" => call.size(3)?,
            _ => call.size(call.arguments.len().min(4) - 1)?,
        };
        *length = (*length).max(offset + data.len() as u64);
        self.ops.push(Op::Write { file, offset, data });
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) -> Told {
        self.line += std::str::from_utf8(bytes).map_err(|_| "the program printed what is no text")?;
        while let Some((line, rest)) = self.line.split_once('\n') {
            self.ops.push(Op::Note(line.to_owned()));
            self.line = rest.to_owned();
        }
        Ok(())
    }

    fn set_length(&mut self, file: FileId, length: u64) {
        self.lengths[file.0] = length;
        self.ops.push(Op::Resize { file, length });
    }

    fn resize(&mut self, call: &Call<'_>) -> Told {
        if let Some(Open::File { file, .. }) = self.open.get(&call.number(0)?) {
            self.set_length(*file, call.size(1)?);
        }
        Ok(())
    }

    fn allocate(&mut self, call: &Call<'_>) -> Told {
        let Some(Open::File { file, .. }) = self.open.get(&call.number(0)?) else { return Ok(()) };
        if call.argument(1)? != "0" {
            return Err(format!("fallocate with {}", call.argument(1)?));
        }
        let (file, end) = (*file, call.size(2)? + call.size(3)?);
        if end > self.lengths[file.0] {
            self.set_length(file, end);
        }
        Ok(())
    }

    fn sync(&mut self, call: &Call<'_>, from: usize) -> Told {
        match self.open.get(&call.number(0)?) {
            Some(Open::File { file, .. }) => self.ops.push(Op::Sync { file: *file, from }),
            Some(Open::Directory(path)) => self.ops.push(Op::SyncNames { directory: path.clone(), from }),
            _ => {}
        }
        Ok(())
    }

    fn make_directory(&mut self, call: &Call<'_>) -> Told {
        if let (Some(path), _) = self.path(call, 0)? {
            // The recorded directory itself.
            if self.names.get(&path).is_none() {
                self.names.put(path.clone(), Node::Directory);
                self.ops.push(Op::MakeDirectory { path });
            }
        }
        Ok(())
    }

    fn rename(&mut self, call: &Call<'_>) -> Told {
        let (from, after) = self.path(call, 0)?;
        let (to, _) = self.path(call, after)?;
        match (from, to) {
            (None, None) => Ok(()),
            (Some(from), Some(to)) if from.parent() == to.parent() => {
                let Some(node @ Node::File(_)) = self.names.take(&from) else {
                    return Err(format!("{} is renamed, and is no file", from.display()));
                };
                self.names.put(to.clone(), node);
                self.ops.push(Op::Rename { from, to });
                Ok(())
            }
            _ => Err("a file is moved from one directory to another".to_owned()),
        }
    }

    fn remove(&mut self, call: &Call<'_>) -> Told {
        if let (Some(path), _) = self.path(call, 0)? {
            self.names.take(&path);
            self.ops.push(Op::Remove { path });
        }
        Ok(())
    }

    fn map(&mut self, call: &Call<'_>) -> Told {
        let writes = call.argument(2)?.contains("PROT_WRITE") && call.argument(3)?.contains("MAP_SHARED");
        let ours = matches!(self.open.get(&call.number(4)?), Some(Open::File { .. }));
        if writes && ours { Err("a recorded file is mapped to be written".to_owned()) } else { Ok(()) }
    }

    fn not_here(&self, call: &Call<'_>) -> Told {
        let ours = call.strings()?.iter().any(|path| self.names.within(Path::new("/"), path).is_some());
        if ours { Err(format!("{} is not followed", call.name)) } else { Ok(()) }
    }

    fn not_to_ours(&self, call: &Call<'_>) -> Told {
        let place = usize::from(call.name != "sendfile") * 2;
        let ours = matches!(self.open.get(&call.number(place)?), Some(Open::File { .. }));
        if ours { Err(format!("{} is not followed", call.name)) } else { Ok(()) }
    }

    /// The path that begins at this argument, if it is of the recorded directory, and the place of the next argument.
    fn path(&self, call: &Call<'_>, at: usize) -> Result<(Option<PathBuf>, usize), String> {
        let first = call.argument(at)?;
        if first.starts_with('"') {
            return Ok((self.names.within(Path::new("/"), &call.text(at)?), at + 1));
        }
        let base = match first {
            "AT_FDCWD" => Path::new("/").to_owned(),
            descriptor => match descriptor.parse().ok().and_then(|number: i64| self.open.get(&number)) {
                Some(Open::Directory(path)) => self.names.root().join(path),
                _ => return Ok((None, at + 2)),
            },
        };
        Ok((self.names.within(&base, &call.text(at + 1)?), at + 2))
    }
}
