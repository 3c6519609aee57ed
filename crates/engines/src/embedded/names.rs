//! The names of what an open makes. A file that was synced is lost all the same where a directory above it was
//! never told to keep its name, and the store leaves that undone for two of them.

use super::store::DIRECTORY;
use std::fs::File;
use std::io;
use std::path::Path;

/// Syncs the directories in which an open makes names: the one above the data directory, the data directory (where
/// the store is), and the store's own (where its keyspaces are). Before anything is acknowledged.
pub(super) fn sync(data: &Path) -> io::Result<()> {
    let store = data.join(DIRECTORY);
    let above = data.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let of_store = [data.to_owned(), store.join("keyspaces"), store];
    for directory in above.into_iter().chain(of_store.iter().map(AsRef::as_ref)) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
