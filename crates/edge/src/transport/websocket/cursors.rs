//! The logs that one connection follows.

use crate::follow::{Batch, Follower};
use crate::refusal::Refusal;
use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::hash::Hash;

type Waiting<K> = BoxFuture<'static, (u64, K, Follower, Result<Batch, Refusal>)>;

/// Cursors, each of which waits for its own log, by what the connection knows them.
pub(in crate::transport) struct Cursors<K> {
    waiting: FuturesUnordered<Abortable<Waiting<K>>>,
    followed: HashMap<K, (u64, AbortHandle)>,
    next_mark: u64,
}

/// What a cursor came to.
pub(in crate::transport) struct Ready<K> {
    pub(in crate::transport) key: K,
    pub(in crate::transport) follower: Follower,
    pub(in crate::transport) batch: Result<Batch, Refusal>,
}

impl<K> Default for Cursors<K> {
    fn default() -> Self {
        Self { waiting: FuturesUnordered::new(), followed: HashMap::new(), next_mark: 0 }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Cursors<K> {
    /// How many logs are followed.
    pub(in crate::transport) fn len(&self) -> usize {
        self.followed.len()
    }

    /// Whether this one is followed.
    pub(in crate::transport) fn follows(&self, key: &K) -> bool {
        self.followed.contains_key(key)
    }

    /// Follows a log, in place of an older cursor of this name.
    pub(in crate::transport) fn follow(&mut self, key: K, follower: Follower) {
        let mark = self.next_mark;
        self.next_mark += 1;
        let handle = self.wait(mark, key.clone(), follower);
        if let Some((_, older)) = self.followed.insert(key, (mark, handle)) {
            older.abort();
        }
    }

    /// Follows it no longer. Says whether it did.
    pub(in crate::transport) fn unfollow(&mut self, key: &K) -> bool {
        match self.followed.remove(key) {
            Some((_, handle)) => {
                handle.abort();
                true
            }
            None => false,
        }
    }

    /// The cursor goes on after its batch was written.
    pub(in crate::transport) fn go_on(&mut self, key: K, follower: Follower) {
        let Some((mark, _)) = self.followed.get(&key) else { return };
        let mark = *mark;
        let handle = self.wait(mark, key.clone(), follower);
        self.followed.insert(key, (mark, handle));
    }

    fn wait(&mut self, mark: u64, key: K, mut follower: Follower) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let batch: Waiting<K> = Box::pin(async move {
            let batch = follower.batch().await;
            (mark, key, follower, batch)
        });
        self.waiting.push(Abortable::new(batch, registration));
        handle
    }

    /// The next batch of any log; never, where none is followed. Dropping the future loses nothing.
    pub(in crate::transport) async fn next(&mut self) -> Ready<K> {
        loop {
            match self.waiting.next().await {
                Some(Ok((mark, key, follower, batch))) => {
                    // A cursor that was replaced in the moment it became ready is not heard.
                    if self.followed.get(&key).is_some_and(|(current, _)| *current == mark) {
                        return Ready { key, follower, batch };
                    }
                }
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
