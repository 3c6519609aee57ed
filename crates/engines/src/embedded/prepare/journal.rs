//! Reads a journal of the store as strictly as it can be read. The store takes whatever it can't read for the end of
//! its journal, and what comes after for nothing (<https://github.com/fjall-rs/fjall/issues/311>); and where only a
//! checksum is wrong it does not open at all, be it of a commit that a loss of power tore.
//!
//! The two are told apart by what comes after. Every commit says which commits were synced before it was written
//! ([`Counts`]): where a later one that is whole says so of a commit that can't be read, that one was acknowledged,
//! and the disk has lost it. Else the tear is where the last sync was still under way. Of the very last commit
//! nobody says anything, so that damage to it can't be told from a tear.
//!
//! ```text
//! start: 1, how many items (4 bytes), sequence number (8)
//! item:  2, kind (1), compression (1), keyspace (8), length of the key (2), of the value (4), as stored (4), both
//! clear: 4, keyspace (8)
//! end:   3, XXH3 of the items (8), "FJL", 3
//! ```
//! (fjall 3.1, `journal/entry.rs`; all numbers little-endian. The file is 64 MiB long from the start: zeros follow.)

use crate::embedded::counts::{self, Counts, Witness};
use bytes::Bytes;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use xxhash_rust::xxh3::xxh3_64;

const TRAILER: &[u8] = b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// The store numbers its batches from 0: no machine gets here, but a flipped bit does.
const MAX_SEQUENCE: u64 = 1 << 48;
const CHUNK_BYTES: u64 = 1024 * 1024;

/// How a journal reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// To its end.
    Whole,
    /// Up to this byte. What comes after was never acknowledged.
    Torn { at: usize },
    /// Up to this byte, and what comes after was acknowledged.
    Damaged { at: usize },
}

/// A batch that is whole.
struct Batch {
    end: usize,
    sequence: u64,
    witness: Option<Witness>,
}

/// Reads what was written of a journal, without the hole behind it.
pub(super) fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        // Past the last data there is an error of its own. A file system that knows no holes answers with another,
        // or with the place itself.
        if matches!(seek(file.as_fd(), SeekFrom::Data(bytes.len() as u64)), Err(rustix::io::Errno::NXIO)) {
            return Ok(bytes);
        }
        file.seek(io::SeekFrom::Start(bytes.len() as u64))?;
        if file.by_ref().take(CHUNK_BYTES).read_to_end(&mut bytes)? == 0 {
            return Ok(bytes);
        }
    }
}

/// Looks through a journal. `commits`: the last commit before it, and after it.
pub(super) fn scan(bytes: &[u8], commits: &mut Option<u64>) -> Found {
    let (mut at, mut last) = (0, None);
    while let Some(batch) = batch_at(bytes, at).filter(|batch| last.is_none_or(|last| batch.sequence > last)) {
        (at, last) = (batch.end, Some(batch.sequence));
        *commits = batch.witness.map(|witness| witness.commit).or(*commits);
    }
    if is_empty(&bytes[at..]) {
        return Found::Whole;
    }
    // The first commit that can't be read, as far as that is known.
    let mut missing = commits.map(|commit| commit + 1);
    let mut from = at + 1;
    while let Some(batch) = next_batch(bytes, from) {
        from = batch.end;
        let Some(Witness { commit, synced }) = batch.witness else { continue };
        // It was written after what can't be read: once it is synced, so is that.
        let first = *missing.get_or_insert(commit);
        if synced >= first {
            return Found::Damaged { at };
        }
    }
    Found::Torn { at }
}

/// Whether nothing was written.
pub(super) fn is_empty(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// The next batch that is whole, wherever it begins.
fn next_batch(bytes: &[u8], from: usize) -> Option<Batch> {
    let mut from = from;
    loop {
        let rest = bytes.get(from..)?;
        let start = from + rest.iter().position(|&byte| byte == START)?;
        if let Some(batch) = batch_at(bytes, start) {
            return Some(batch);
        }
        from = start + 1;
    }
}

fn batch_at(bytes: &[u8], at: usize) -> Option<Batch> {
    let mut rest = bytes.get(at..)?;
    (take::<1>(&mut rest)? == [START]).then_some(())?;
    let count = u32::from_le_bytes(take(&mut rest)?);
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    (count > 0 && sequence < MAX_SEQUENCE).then_some(())?;
    let items = rest;
    let mut witness = None;
    for _ in 0..count {
        take_item(&mut rest, &mut witness)?;
    }
    let items = &items[..items.len() - rest.len()];
    (take::<1>(&mut rest)? == [END]).then_some(())?;
    let sum = u64::from_le_bytes(take(&mut rest)?);
    (take::<4>(&mut rest)? == TRAILER && xxh3_64(items) == sum).then_some(())?;
    Some(Batch { end: bytes.len() - rest.len(), sequence, witness })
}

/// Passes over an item, and notes what it bears witness of, if it does.
fn take_item(rest: &mut &[u8], witness: &mut Option<Witness>) -> Option<()> {
    match take::<1>(rest)? {
        [CLEAR] => {
            take::<8>(rest)?;
        }
        [ITEM] => {
            take::<{ 1 + 1 + 8 }>(rest)?;
            let key_bytes = usize::from(u16::from_le_bytes(take(rest)?));
            take::<4>(rest)?;
            let value_bytes = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
            let key = take_slice(rest, key_bytes)?;
            let value = take_slice(rest, value_bytes)?;
            if key == counts::KEY {
                *witness = Counts::witness(&Bytes::copy_from_slice(value)).or(*witness);
            }
        }
        _ => return None,
    }
    Some(())
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(sequence: u64, commit: u64, synced: u64) -> Vec<u8> {
        let value = Counts { commits: commit, synced, ..Counts::default() }.seal();
        let mut items = vec![ITEM, 0, 0];
        items.extend(9u64.to_le_bytes());
        items.extend(u16::try_from(counts::KEY.len()).unwrap().to_le_bytes());
        for _ in 0..2 {
            items.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        items.extend(counts::KEY);
        items.extend(&value[..]);
        let mut batch = vec![START, 1, 0, 0, 0];
        batch.extend(sequence.to_le_bytes());
        batch.extend(&items);
        batch.push(END);
        batch.extend(xxh3_64(&items).to_le_bytes());
        batch.extend(TRAILER);
        batch
    }

    /// Four commits, each written once the one before was synced, and the zeros behind them.
    fn journal() -> (Vec<u8>, usize) {
        let batches: Vec<_> = (0..4).map(|number| batch(number + 10, number + 1, number)).collect();
        let length = batches[0].len();
        (batches.concat().into_iter().chain([0; 100]).collect(), length)
    }

    #[test]
    fn a_whole_journal_is_whole() {
        let mut commits = None;
        assert_eq!(scan(&journal().0, &mut commits), Found::Whole);
        assert_eq!(commits, Some(4));
        assert_eq!(scan(&[0; 5000], &mut commits), Found::Whole);
    }

    #[test]
    fn a_tear_of_what_was_not_synced_is_a_tear_even_before_a_commit_that_is_whole() {
        let (bytes, length) = journal();
        let mut torn = bytes.clone();
        torn[3 * length + 20] ^= 1;
        assert_eq!(scan(&torn, &mut None), Found::Torn { at: 3 * length });
        // The third one, if the fourth does not say that it was synced.
        let mut torn = [&bytes[..3 * length], &batch(20, 4, 2)[..]].concat();
        torn[2 * length + 20] ^= 1;
        assert_eq!(scan(&torn, &mut None), Found::Torn { at: 2 * length });
    }

    proptest! {
        #[test]
        fn a_flipped_bit_of_what_was_synced_is_damage(place in 0..1000usize, bit in 0..8u8) {
            let (mut bytes, length) = journal();
            // A step up of the sequence number changes nothing; it shows where the next one does not follow.
            let place = place % (2 * length);
            bytes[place] ^= 1 << bit;
            let found = scan(&bytes, &mut None);
            let in_sequence = (5..13).contains(&(place % length));
            prop_assert!(matches!(found, Found::Damaged { .. }) || in_sequence, "{:?} at {}", found, place);
        }

        #[test]
        fn no_bytes_make_the_scan_panic(bytes: Vec<u8>) {
            let mut bytes = bytes;
            scan(&bytes, &mut None);
            bytes.insert(0, START);
            scan(&bytes, &mut None);
        }
    }
}
