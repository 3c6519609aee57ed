//! The logs that one connection follows.

use crate::follow::{Batch, Follower};
use crate::refusal::Refusal;
use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use tidewire_core::LogRef;

type Waiting = BoxFuture<'static, (u64, Follower, Result<Batch, Refusal>)>;

/// Cursors, each of which waits for its own log.
#[derive(Default)]
pub(super) struct Cursors {
    waiting: FuturesUnordered<Abortable<Waiting>>,
    followed: HashMap<LogRef, (u64, AbortHandle)>,
    next_mark: u64,
}

/// What a cursor came to.
pub(super) struct Ready {
    pub(super) follower: Follower,
    pub(super) batch: Result<Batch, Refusal>,
}

impl Cursors {
    /// How many logs are followed.
    pub(super) fn len(&self) -> usize {
        self.followed.len()
    }

    /// Whether this log is followed.
    pub(super) fn follows(&self, log: LogRef) -> bool {
        self.followed.contains_key(&log)
    }

    /// Follows a log, in place of an older cursor on it.
    pub(super) fn follow(&mut self, follower: Follower) {
        let mark = self.next_mark;
        self.next_mark += 1;
        let log = follower.at;
        let handle = self.wait(mark, follower);
        if let Some((_, older)) = self.followed.insert(log, (mark, handle)) {
            older.abort();
        }
    }

    /// Follows it no longer. Says whether it did.
    pub(super) fn unfollow(&mut self, log: LogRef) -> bool {
        match self.followed.remove(&log) {
            Some((_, handle)) => {
                handle.abort();
                true
            }
            None => false,
        }
    }

    /// The cursor goes on after its batch was written.
    pub(super) fn go_on(&mut self, follower: Follower) {
        let log = follower.at;
        let Some((mark, _)) = self.followed.get(&log) else { return };
        let mark = *mark;
        let handle = self.wait(mark, follower);
        self.followed.insert(log, (mark, handle));
    }

    fn wait(&mut self, mark: u64, mut follower: Follower) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let batch: Waiting = Box::pin(async move {
            let batch = follower.batch().await;
            (mark, follower, batch)
        });
        self.waiting.push(Abortable::new(batch, registration));
        handle
    }

    /// The next batch of any log; never, where none is followed. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Ready {
        loop {
            match self.waiting.next().await {
                Some(Ok((mark, follower, batch))) => {
                    // A cursor that was replaced in the moment it became ready is not heard.
                    if self.followed.get(&follower.at).is_some_and(|(current, _)| *current == mark) {
                        return Ready { follower, batch };
                    }
                }
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
