//! A backup: every value of the store as of one commit, read beside all that goes on. It is taken from what readers
//! see, so it holds what was confirmed and nothing else; the committer does not wait for it.

use super::archive::{Contents, FRAME_BYTES, Manifest, Writer, put_value};
use super::store::{Store, pair};
use super::{Engine, format, seal};
use bytes::Bytes;
use fjall::{Readable, Snapshot};
use std::ops::Bound;
use std::sync::{Arc, Weak};
use tidewire_core::port::Unavailable;
use tokio::sync::OwnedSemaphorePermit;

/// One at a time: each reads the whole store, and keeps what is deleted meanwhile from being freed.
pub(super) const BACKUPS_AT_ONCE: usize = 1;

/// A backup that is being made: bytes, piece by piece, at the pace of whoever asks for them.
pub struct Backup {
    engine: Engine,
    walk: Option<Walk>,
    _place: OwnedSemaphorePermit,
}

impl Engine {
    /// Begins a backup of all that is committed at this moment. It also works while no changes are taken.
    pub async fn backup(&self) -> Result<Backup, Unavailable> {
        let place = self.shared.backups.clone().try_acquire_owned();
        let place = place.map_err(|_| Unavailable::new("another backup is being made; try again when it is done"))?;
        let manifest = Manifest::new(format::CURRENT, self.shared.clock.now().as_millis());
        let writer = Writer::new(&manifest).map_err(Unavailable::new)?;
        let store = self.opened().await?.store;
        let walk = Walk {
            at: store.snapshot(),
            store: Arc::downgrade(&store),
            keyspace: 0,
            last: None,
            writer,
            contents: Contents::default(),
        };
        Ok(Backup { engine: self.clone(), walk: Some(walk), _place: place })
    }
}

impl Backup {
    /// The next piece; `None` after the last. After an error the backup is of no use.
    pub async fn next(&mut self) -> Option<Result<Bytes, Unavailable>> {
        loop {
            let walk = self.walk.take()?;
            let stepped = self.engine.reads.spawn_blocking(move || walk.step()).await;
            match stepped.unwrap_or_else(|_| Err(Unavailable::new("the backup was cut off"))) {
                Ok((piece, walk)) => {
                    self.walk = walk;
                    if !piece.is_empty() {
                        return Some(Ok(piece));
                    }
                }
                Err(unavailable) => return Some(Err(unavailable)),
            }
        }
    }
}

/// A place in the store.
struct Walk {
    at: Snapshot,
    // Between two steps the store is not held: whoever takes the pieces may be slow, and the store may have to be
    // opened again.
    store: Weak<Store>,
    keyspace: usize,
    /// The last key that was read of the keyspace; `None` before the first.
    last: Option<Bytes>,
    writer: Writer,
    contents: Contents,
}

impl Walk {
    fn step(mut self) -> Result<(Bytes, Option<Self>), Unavailable> {
        let gone = || Unavailable::new("the store was opened again meanwhile: make the backup again");
        let store = self.store.upgrade().ok_or_else(gone)?;
        let Some(&(name, keyspace)) = store.keyspaces().get(self.keyspace) else {
            self.writer.end(&self.contents).map_err(Unavailable::new)?;
            return Ok((self.writer.take(), None));
        };
        if self.last.is_none() {
            self.writer.keyspace(name);
            self.contents.values.insert(name.to_owned(), 0);
        }
        let begin = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut body = Vec::with_capacity(FRAME_BYTES);
        for entry in self.at.range::<Bytes, _>(keyspace, (begin, Bound::Unbounded)) {
            let (key, value) = pair(entry).map_err(Unavailable::from)?;
            put_value(&mut body, &key, &value);
            *self.contents.values.entry(name.to_owned()).or_default() += 1;
            self.contents.bytes += (key.len() + value.len()) as u64;
            self.contents.damaged += u64::from(seal::open(&key, &value).is_err());
            if body.len() >= FRAME_BYTES {
                self.last = Some(key);
                break;
            }
        }
        if !body.is_empty() {
            self.writer.values(&body);
        }
        if self.last.is_none() {
            self.keyspace += 1;
        }
        Ok((self.writer.take(), Some(self)))
    }
}
