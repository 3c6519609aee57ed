//! What was in a directory before a program was recorded in it, told as if it had been recorded too.

use super::{FileId, Op};
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes everything that is below `root`, and syncs it.
pub(super) fn read(root: &Path) -> io::Result<Vec<Op>> {
    let mut ops = Vec::new();
    let (mut files, mut directories) = (0, vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                ops.push(Op::MakeDirectory { path: path.clone() });
                directories.push(path);
                continue;
            }
            let file = FileId(files);
            files += 1;
            let mut data = fs::read(entry.path())?;
            let length = data.len() as u64;
            // A journal is long from the start, and mostly a hole.
            data.truncate(data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            ops.push(Op::Create { path, file });
            ops.push(Op::Write { file, offset: 0, data: Bytes::from(data) });
            ops.push(Op::Resize { file, length });
            ops.push(Op::Sync { file, from: ops.len() });
        }
        ops.push(Op::SyncNames { directory, from: ops.len() });
    }
    Ok(ops)
}
