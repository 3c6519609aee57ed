//! From a backup to a data directory. All of the backup is checked before anything is made; the directory is made
//! beside its place and put there by one rename, so that there is a whole one or none.

use super::archive::{ArchiveError, Contents, Frame, Manifest, Reader};
use super::open::{OpenError, load};
use super::store::Store;
use super::{format, names};
use fjall::{Keyspace, PersistMode};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

/// Memory for blocks while it is written: nothing is read.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const READ_BYTES: usize = 1024 * 1024;

/// Why nothing was restored. Nothing is left behind either.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup can't be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is something where the data should go.
    #[error("{} is not empty: move it away, or restore into another directory", path.display())]
    NotEmpty {
        /// Where.
        path: PathBuf,
    },
    /// It names a part of a store that this version does not know.
    #[error("the backup has a part {name:?} that this version of tidewire does not know: use the one that made it")]
    UnknownPart {
        /// Which.
        name: String,
    },
    /// A file or directory can't be made.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// The new store can't be written.
    #[error("the store could not be written: {0}")]
    Store(String),
    /// The new store was written and does not open.
    #[error("the restored store does not open: {0}")]
    Unusable(#[from] OpenError),
}

/// Checks a backup from its first byte to its last. `told` hears how far it is, in bytes.
pub fn verify(archive: &mut File, told: &mut dyn FnMut(u64)) -> Result<(Manifest, Contents), ArchiveError> {
    archive.rewind()?;
    let mut reader = Reader::open(BufReader::with_capacity(READ_BYTES, archive), format::CURRENT)?;
    let mut found = BTreeMap::new();
    let mut counted: Option<(String, u64)> = None;
    loop {
        match reader.next()? {
            Frame::Keyspace(name) => found.extend(counted.replace((name, 0))),
            Frame::Values(mut values) => {
                while let Some(pair) = values.next() {
                    pair?;
                    if let Some((_, count)) = &mut counted {
                        *count += 1;
                    }
                }
            }
            Frame::End(contents) => {
                found.extend(counted.take());
                if found != contents.values {
                    return Err(ArchiveError::Damaged { at: reader.at(), what: "values are missing or too many" });
                }
                return Ok((reader.manifest().clone(), contents));
            }
        }
        told(reader.at());
    }
}

/// Makes a data directory from a backup. `told` hears how far it is, in bytes of the backup; it is read twice, first
/// to check it.
pub fn restore(archive: &mut File, data: &Path, told: &mut dyn FnMut(u64)) -> Result<Contents, RestoreError> {
    demand_empty(data)?;
    let (_, contents) = verify(archive, told)?;
    let above = match data.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    fs::create_dir_all(above).map_err(|error| RestoreError::Io { path: above.to_owned(), error })?;
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = above.join(format!(".{name}.restoring-{}", std::process::id()));
    let written = write(archive, &beside, told).and_then(|()| {
        // Onto an empty directory or nothing; a directory that was filled meanwhile makes it fail.
        let moved = fs::rename(&beside, data).and_then(|()| File::open(above)?.sync_all());
        moved.map_err(|error| RestoreError::Io { path: data.to_owned(), error })
    });
    if written.is_err() {
        // What can't be removed has a name that says what it is.
        let _ = fs::remove_dir_all(&beside);
    }
    written.map(|()| contents)
}

fn demand_empty(data: &Path) -> Result<(), RestoreError> {
    match fs::read_dir(data) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(RestoreError::NotEmpty { path: data.to_owned() }),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RestoreError::Io { path: data.to_owned(), error }),
    }
}

/// Writes all values into a new store, and sees that it opens.
fn write(archive: &mut File, data: &Path, told: &mut dyn FnMut(u64)) -> Result<(), RestoreError> {
    let io = |error| RestoreError::Io { path: data.to_owned(), error };
    let failed = |error: fjall::Error| RestoreError::Store(error.to_string());
    fs::create_dir(data).map_err(io)?;
    archive.rewind().map_err(ArchiveError::from)?;
    let mut reader = Reader::open(BufReader::with_capacity(READ_BYTES, archive), format::CURRENT)?;
    let (db, meta) = Store::open_meta(data, CACHE_BYTES).map_err(failed)?;
    let store = Store::open(db, meta).map_err(failed)?;
    let mut keyspace: Option<&Keyspace> = None;
    loop {
        match reader.next()? {
            Frame::Keyspace(name) => {
                let found = store.keyspaces().into_iter().find(|(known, _)| *known == name);
                keyspace = Some(found.ok_or(RestoreError::UnknownPart { name })?.1);
            }
            Frame::Values(mut values) => {
                let into = keyspace.ok_or(ArchiveError::Damaged { at: reader.at(), what: "values of nothing" })?;
                let mut batch = store.db.batch();
                while let Some(pair) = values.next() {
                    let (key, value) = pair?;
                    batch.insert(into, key, value);
                }
                batch.commit().and_then(|()| store.let_flush()).map_err(failed)?;
            }
            Frame::End(_) => break,
        }
        told(reader.at());
    }
    store.db.persist(PersistMode::SyncAll).map_err(failed)?;
    drop(store);
    names::sync(data).map_err(io)?;
    drop(load(data, CACHE_BYTES)?);
    Ok(())
}
