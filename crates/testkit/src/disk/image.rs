//! A disk's state, and how it is written to a real directory.

use super::FileId;
use crate::random::Random;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Something that happened to a file's data.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Write { offset: u64, data: Bytes, synced: bool },
    Resize { length: u64 },
}

/// What the disk holds.
#[derive(Clone, Debug)]
pub struct Image {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, FileId>,
    data: Vec<Vec<Piece>>,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// In which file.
    pub path: PathBuf,
    /// In which of its bytes.
    pub offset: u64,
    /// Which of its bits.
    pub bit: u8,
}

impl Image {
    pub(super) fn new(files: usize) -> Self {
        Self { directories: BTreeSet::new(), files: BTreeMap::new(), data: vec![Vec::new(); files] }
    }

    pub(super) fn give(&mut self, file: FileId, piece: Piece) {
        self.data[file.0].push(piece);
    }

    /// Whether there is a directory for a name. What was made in one that is not there is not there either.
    fn holds(&self, path: &Path) -> bool {
        path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || self.directories.contains(parent))
    }

    pub(super) fn create(&mut self, path: &Path, file: FileId) {
        if self.holds(path) {
            self.files.insert(path.to_owned(), file);
        }
    }

    pub(super) fn make_directory(&mut self, path: &Path) {
        if self.holds(path) {
            self.directories.insert(path.to_owned());
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.to_owned(), file);
        }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.files.remove(path);
        // A directory's removal is on the disk only with all that was in it.
        let empty = !self.files.keys().chain(&self.directories).any(|name| name != path && name.starts_with(path));
        if empty {
            self.directories.remove(path);
        }
    }

    /// The files there are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Writes it into an empty directory.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        for path in &self.directories {
            fs::create_dir_all(directory.join(path))?;
        }
        for (path, file) in &self.files {
            let target = File::create(directory.join(path))?;
            for piece in &self.data[file.0] {
                match piece {
                    Piece::Write { offset, data, .. } => target.write_all_at(data, *offset)?,
                    Piece::Resize { length } => target.set_len(*length)?,
                }
            }
        }
        Ok(())
    }

    /// Flips one bit of what was synced, in a directory that this image was written to. `None` where nothing was.
    pub fn flip_synced(&self, directory: &Path, random: &mut Random) -> io::Result<Option<Flipped>> {
        let mut pieces = Vec::new();
        for (path, file) in &self.files {
            let length = fs::metadata(directory.join(path))?.len();
            for piece in &self.data[file.0] {
                if let Piece::Write { offset, data, synced: true } = piece
                    && offset + data.len() as u64 <= length
                    && !data.is_empty()
                {
                    pieces.push((path, *offset, data.len() as u64));
                }
            }
        }
        let mut place = random.below(pieces.iter().map(|(.., length)| length).sum());
        for (path, offset, length) in pieces {
            if place < length {
                let flipped = Flipped {
                    path: path.clone(),
                    offset: offset + place,
                    bit: u8::try_from(random.below(8)).unwrap_or(0),
                };
                flipped.apply(directory)?;
                return Ok(Some(flipped));
            }
            place -= length;
        }
        Ok(None)
    }
}

impl Flipped {
    fn apply(&self, directory: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(directory.join(&self.path))?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.offset)?;
        byte[0] ^= 1 << self.bit;
        file.write_all_at(&byte, self.offset)
    }
}
