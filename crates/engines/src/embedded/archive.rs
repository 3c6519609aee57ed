//! The file that a backup is: every value of the store as of one commit, in frames, each with a checksum, and at the
//! end a checksum of all, so that a file that was cut short or damaged is refused.
//!
//! ```text
//! "TIDEWIRE BACKUP\n", then frames: kind (1 byte), length of the body (4), CRC-32 of kind, length and body (4), body
//!   M  manifest, JSON          K  name of the keyspace that the values after it are of
//!   V  values: length of key, key, length of value, value, again and again
//!   E  the last: XXH3 with 128 bits of all bytes before this frame (16), then what the archive holds, JSON
//! ```
//! Numbers are little-endian, lengths within `V` are varints.

use super::varint;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 16] = b"TIDEWIRE BACKUP\n";
const HEADER_BYTES: usize = 9;
const HASH_BYTES: usize = 16;
/// The version of this layout.
const LAYOUT: u32 = 1;
/// A frame of values is closed at this size: what a reader and a writer hold in memory.
pub(super) const FRAME_BYTES: usize = 256 * 1024;
/// A frame with one value can be larger. Values are bounded by a request's body and an append: this is far beyond.
const MAX_FRAME_BYTES: usize = 256 * 1024 * 1024;

/// How an archive was made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The version of the archive's layout.
    pub layout: u32,
    /// The format of the store that it was made from.
    pub format: u32,
    /// The version of tidewire that made it.
    pub made_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub made_at_ms: u64,
}

impl Manifest {
    pub(super) fn new(format: u32, made_at_ms: u64) -> Self {
        Self { layout: LAYOUT, format, made_by: env!("CARGO_PKG_VERSION").to_owned(), made_at_ms }
    }
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Contents {
    /// How many values of each keyspace.
    pub values: BTreeMap<String, u64>,
    /// Their bytes, keys included.
    pub bytes: u64,
    /// Values that failed their checksum in the store already. They are here as they were.
    pub damaged: u64,
}

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is something else.
    #[error("this is no backup of tidewire")]
    Foreign,
    /// It ends before its end.
    #[error("the backup was cut short after {at} bytes: make it again, or fetch it again from where it is kept")]
    Short {
        /// How much there is.
        at: u64,
    },
    /// What stands there is not what was written.
    #[error("the backup is damaged near byte {at} ({what}): use another one")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A newer version made it.
    #[error("the backup has {what} {found}, and this version of tidewire knows up to {known}: use a newer one")]
    Newer {
        /// The layout or the format.
        what: &'static str,
        /// The archive's.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The file can't be read.
    #[error("the backup can't be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Writes frames into memory; whoever drives it takes them from there.
pub(super) struct Writer {
    hash: Xxh3,
    out: BytesMut,
}

impl Writer {
    pub(super) fn new(manifest: &Manifest) -> serde_json::Result<Self> {
        let mut writer = Self { hash: Xxh3::new(), out: BytesMut::new() };
        writer.out.put_slice(MAGIC);
        writer.hash.update(MAGIC);
        writer.frame(b'M', &serde_json::to_vec(manifest)?);
        Ok(writer)
    }

    pub(super) fn keyspace(&mut self, name: &str) {
        self.frame(b'K', name.as_bytes());
    }

    pub(super) fn values(&mut self, body: &[u8]) {
        self.frame(b'V', body);
    }

    pub(super) fn end(&mut self, contents: &Contents) -> serde_json::Result<()> {
        let mut body = self.hash.digest128().to_le_bytes().to_vec();
        serde_json::to_writer(&mut body, contents)?;
        self.frame(b'E', &body);
        Ok(())
    }

    /// What has been written since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    fn frame(&mut self, kind: u8, body: &[u8]) {
        let begin = self.out.len();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.out.put_u8(kind);
        self.out.put_slice(&length);
        self.out.put_u32_le(checksum(kind, length, body));
        self.out.put_slice(body);
        self.hash.update(&self.out[begin..]);
    }
}

/// Adds a value to the body of a frame of values.
pub(super) fn put_value(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        varint::put(body, part.len() as u64);
        body.extend_from_slice(part);
    }
}

fn checksum(kind: u8, length: [u8; 4], body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&[kind]);
    sum.update(&length);
    sum.update(body);
    sum.finalize()
}

/// One step through an archive.
pub(super) enum Frame {
    Keyspace(String),
    /// Keys and values, each checked to be as it was written.
    Values(Values),
    /// The last one: all before it is whole.
    End(Contents),
}

/// The values of a frame.
pub(super) struct Values(Bytes);

impl Values {
    fn part(&mut self) -> Option<Bytes> {
        let mut rest = &self.0[..];
        let length = usize::try_from(varint::take(&mut rest)?).ok()?;
        let begin = self.0.len() - rest.len();
        let part = (rest.len() >= length).then(|| self.0.slice(begin..begin + length))?;
        self.0 = self.0.slice(begin + length..);
        Some(part)
    }

    /// The next key and value; `None` at the end, an error where the frame is not whole.
    pub(super) fn next(&mut self) -> Option<Result<(Bytes, Bytes), ArchiveError>> {
        if self.0.is_empty() {
            return None;
        }
        let pair = self.part().and_then(|key| Some((key, self.part()?)));
        Some(pair.ok_or(ArchiveError::Damaged { at: 0, what: "a value runs over its frame" }))
    }
}

/// Reads an archive frame by frame, and checks each before it is given.
pub(super) struct Reader<R> {
    from: R,
    hash: Xxh3,
    at: u64,
    manifest: Manifest,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub(super) fn open(mut from: R, known_format: u32) -> Result<Self, ArchiveError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => return Err(ArchiveError::Foreign),
        }
        let mut hash = Xxh3::new();
        hash.update(&magic);
        let manifest = Manifest { layout: 0, format: 0, made_by: String::new(), made_at_ms: 0 };
        let mut reader = Self { from, hash, at: MAGIC.len() as u64, manifest };
        let (kind, body) = reader.frame()?;
        let manifest = (kind == b'M').then(|| serde_json::from_slice::<Manifest>(&body).ok()).flatten();
        reader.manifest = manifest.ok_or(reader.damaged("its manifest can't be read"))?;
        let Manifest { layout, format, .. } = reader.manifest;
        for (what, found, known) in [("layout", layout, LAYOUT), ("format", format, known_format)] {
            if found > known {
                return Err(ArchiveError::Newer { what, found, known });
            }
        }
        Ok(reader)
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How far it has been read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn next(&mut self) -> Result<Frame, ArchiveError> {
        let so_far = self.hash.digest128().to_le_bytes();
        let (kind, body) = self.frame()?;
        match kind {
            b'K' => String::from_utf8(body).map(Frame::Keyspace).map_err(|_| self.damaged("a name is no text")),
            b'V' => Ok(Frame::Values(Values(body.into()))),
            b'E' => {
                let (hash, contents) =
                    body.split_first_chunk::<HASH_BYTES>().ok_or(self.damaged("its end can't be read"))?;
                if so_far != *hash {
                    return Err(self.damaged("the checksum of the whole differs"));
                }
                if self.from.read(&mut [0])? > 0 {
                    return Err(self.damaged("something follows its end"));
                }
                serde_json::from_slice(contents).map(Frame::End).map_err(|_| self.damaged("its end can't be read"))
            }
            _ => Err(self.damaged("a frame of an unknown kind")),
        }
    }

    fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged { at: self.at, what }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), ArchiveError> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let [kind, a, b, c, d, sum @ ..] = header;
        let length = [a, b, c, d];
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > MAX_FRAME_BYTES {
            return Err(self.damaged("a frame's length is impossible"));
        }
        // Not made as long as it says before there is so much to read.
        let mut body = Vec::new();
        let read = self.from.by_ref().take(bytes as u64).read_to_end(&mut body)?;
        if read < bytes {
            return Err(ArchiveError::Short { at: self.at + read as u64 });
        }
        if checksum(kind, length, &body) != u32::from_le_bytes(sum) {
            return Err(self.damaged("a frame's checksum differs"));
        }
        self.at += bytes as u64;
        self.hash.update(&header);
        self.hash.update(&body);
        Ok((kind, body))
    }

    fn fill(&mut self, header: &mut [u8; HEADER_BYTES]) -> Result<(), ArchiveError> {
        match self.from.read_exact(header) {
            Ok(()) => {
                self.at += HEADER_BYTES as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(ArchiveError::Short { at: self.at }),
            Err(error) => Err(error.into()),
        }
    }
}
