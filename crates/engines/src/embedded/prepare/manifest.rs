//! Which tables a keyspace has stands in a file of its own, and the store believes whatever it reads there: it would
//! pass over tables, delete them, or panic. The checksum that it keeps of that file is checked here.
//!
//! ```text
//! current: number of the manifest (8 bytes), its XXH3 with 128 bits (16), 0
//! ```
//! (lsm-tree 3.1, `version/persist.rs`; all numbers little-endian.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

const CURRENT: &str = "current";

/// Checks every keyspace's manifest; the path of one that is damaged.
pub(super) fn check(keyspaces: &Path) -> io::Result<Option<PathBuf>> {
    for keyspace in fs::read_dir(keyspaces)? {
        let keyspace = keyspace?.path();
        let current = keyspace.join(CURRENT);
        match fs::read(&current) {
            // It was being made when the power failed, and the store makes it anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
            Ok(said) => {
                let Some((number, checksum)) = parse(&said) else { return Ok(Some(current)) };
                let manifest = keyspace.join(format!("v{number}"));
                match fs::read(&manifest) {
                    Ok(bytes) if xxh3_128(&bytes) == checksum => {}
                    Ok(_) => return Ok(Some(manifest)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(current)),
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(None)
}

fn parse(current: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = current.split_first_chunk()?;
    let (checksum, kind) = rest.split_first_chunk()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}
