//! The disk after a prefix of the record.

use super::image::{Image, Piece};
use super::{FileId, Op, Record};
use crate::random::Random;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::path::Path;

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// What became of all that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It is all there: the process was killed, and the machine lives.
    Kept,
    /// None of it is there.
    Lost,
    /// Of each operation, drawn from this seed: all, nothing, or some sectors, or with a bit flipped.
    Torn(u64),
}

/// Up to where the disk has confirmed what was done to a file or a directory.
#[derive(Default)]
struct Synced<'a> {
    files: HashMap<FileId, usize>,
    directories: HashMap<&'a Path, usize>,
}

impl<'a> Synced<'a> {
    fn of(ops: &'a [Op]) -> Self {
        let mut synced = Self::default();
        for op in ops {
            let (known, from) = match op {
                Op::Sync { file, from } => (synced.files.entry(*file).or_default(), *from),
                Op::SyncNames { directory, from } => (synced.directories.entry(directory).or_default(), *from),
                _ => continue,
            };
            *known = from.max(*known);
        }
        synced
    }

    fn data(&self, file: FileId, index: usize) -> bool {
        self.files.get(&file).is_some_and(|upto| index < *upto)
    }

    fn name(&self, path: &Path, index: usize) -> bool {
        let directory = path.parent().unwrap_or(Path::new(""));
        self.directories.get(directory).is_some_and(|upto| index < *upto)
    }
}

impl Record {
    /// The disk after the first `count` operations.
    pub fn rebuild(&self, count: usize, unsynced: Unsynced) -> Image {
        let ops = &self.ops[..count];
        let synced = Synced::of(ops);
        let mut chance = Chance::new(unsynced);
        let mut image = Image::new(self.files);
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::Write { file, offset, data } => {
                    let synced = synced.data(*file, index);
                    for (offset, data) in
                        if synced { vec![(*offset, data.clone())] } else { chance.write(*offset, data) }
                    {
                        image.give(*file, Piece::Write { offset, data, synced });
                    }
                }
                Op::Resize { file, length } if synced.data(*file, index) || chance.keeps() => {
                    image.give(*file, Piece::Resize { length: *length });
                }
                Op::Create { path, file } if synced.name(path, index) || chance.keeps() => image.create(path, *file),
                Op::MakeDirectory { path } if synced.name(path, index) || chance.keeps() => image.make_directory(path),
                Op::Rename { from, to } if synced.name(from, index) || chance.keeps() => image.rename(from, to),
                Op::Remove { path } if synced.name(path, index) || chance.keeps() => image.remove(path),
                _ => {}
            }
        }
        image
    }
}

/// Decides what becomes of each operation that was not synced.
enum Chance {
    Certain(bool),
    Drawn(Random),
}

impl Chance {
    fn new(unsynced: Unsynced) -> Self {
        match unsynced {
            Unsynced::Kept => Self::Certain(true),
            Unsynced::Lost => Self::Certain(false),
            Unsynced::Torn(seed) => Self::Drawn(Random::new(seed)),
        }
    }

    fn keeps(&mut self) -> bool {
        match self {
            Self::Certain(kept) => *kept,
            Self::Drawn(random) => random.once_in(2),
        }
    }

    /// What there is of a write.
    fn write(&mut self, offset: u64, data: &Bytes) -> Vec<(u64, Bytes)> {
        let random = match self {
            Self::Certain(true) => return vec![(offset, data.clone())],
            Self::Certain(false) => return Vec::new(),
            Self::Drawn(random) => random,
        };
        match random.below(6) {
            0 => Vec::new(),
            1 => vec![(offset, data.clone())],
            // Only its beginning.
            2 => vec![(offset, data.slice(..random.place(data.len() + 1)))],
            3 => vec![(offset, flipped(data, random))],
            // The file has grown and the data is not there.
            4 => vec![(offset, Bytes::from(vec![0; data.len()]))],
            _ => sectors(offset, data).into_iter().filter(|_| random.once_in(2)).collect(),
        }
    }
}

fn flipped(data: &Bytes, random: &mut Random) -> Bytes {
    let mut wrong = BytesMut::from(&data[..]);
    let at = random.place(wrong.len());
    if let Some(byte) = wrong.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
    wrong.freeze()
}

/// A write as the sectors that it falls into.
fn sectors(offset: u64, data: &Bytes) -> Vec<(u64, Bytes)> {
    let mut pieces = Vec::new();
    let mut rest = data.clone();
    let mut at = offset;
    while !rest.is_empty() {
        let within = usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
        let piece = rest.split_to((SECTOR_BYTES - within).min(rest.len()));
        pieces.push((at, piece.clone()));
        at += piece.len() as u64;
    }
    pieces
}
