//! What is put right before the store is opened: what a loss of power leaves that the store itself would refuse, and
//! what it would pass over in silence.

mod journal;
mod manifest;

use super::open::OpenError;
use super::store::DIRECTORY;
use journal::Found;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// In here is everything but the journals.
const KEYSPACES: &str = "keyspaces";
const JOURNAL: &str = "jnl";

/// Makes a data directory ready for the store. Nothing that was acknowledged is touched.
pub(super) fn prepare(data: &Path) -> Result<(), OpenError> {
    let store = data.join(DIRECTORY);
    let failed = |error| OpenError::Io { path: store.clone(), error };
    if !store.try_exists().map_err(failed)? {
        return Ok(());
    }
    let journals = journals(&store).map_err(failed)?;
    if has_no_keyspace(&store).map_err(failed)? {
        return clear_unfinished(&store, &journals);
    }
    if let Some(damaged) = manifest::check(&store.join(KEYSPACES)).map_err(failed)? {
        return Err(OpenError::Damaged { what: format!("{} fails its checksum", damaged.display()) });
    }
    let mut commits = None;
    for (place, path) in journals.iter().enumerate() {
        let failed = |error| OpenError::Io { path: path.clone(), error };
        // Before another journal is begun, this one is synced whole.
        let is_last = place + 1 == journals.len();
        let bytes = journal::read(&mut File::open(path).map_err(failed)?).map_err(failed)?;
        match journal::scan(&bytes, &mut commits) {
            Found::Whole => {}
            Found::Torn { at } if is_last => cut_off(path, at).map_err(failed)?,
            Found::Torn { at } | Found::Damaged { at } => {
                let what = format!("{} at byte {at}, with commits after it", path.display());
                return Err(OpenError::Damaged { what });
            }
        }
    }
    Ok(())
}

fn has_no_keyspace(store: &Path) -> io::Result<bool> {
    match fs::read_dir(store.join(KEYSPACES)) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// A first start that was cut off leaves files that the next one would trip over. The first keyspace is made before
/// anything is written to a journal.
fn clear_unfinished(store: &Path, journals: &[PathBuf]) -> Result<(), OpenError> {
    for path in journals {
        let failed = |error| OpenError::Io { path: path.clone(), error };
        let bytes = journal::read(&mut File::open(path).map_err(failed)?).map_err(failed)?;
        if !journal::is_empty(&bytes) {
            let what = format!("{} has commits, and the keyspaces that they are of are gone", path.display());
            return Err(OpenError::Damaged { what });
        }
    }
    tracing::warn!("the first start was cut off before the store was made; it is made anew");
    fs::remove_dir_all(store).map_err(|error| OpenError::Io { path: store.to_owned(), error })
}

/// The journals, oldest first. What has another name is the store's to judge.
fn journals(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), Some(JOURNAL)) = (number, path.extension().and_then(|end| end.to_str())) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Cuts off a commit that did not get to the disk as a whole, and so was not acknowledged.
fn cut_off(path: &Path, at: usize) -> io::Result<()> {
    tracing::warn!(journal = %path.display(), at, "the last commit is torn and was never acknowledged; it is cut off");
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at as u64)?;
    file.sync_all()
}
