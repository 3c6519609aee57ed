//! How the committer waits for what is next: for changes, and for the moment in which something has to be written or
//! synced though nobody asks for it.

use super::{Committer, MAX_ROUND_CHANGES, Queued};
use crate::embedded::Mode;
use crate::embedded::condition::Failure;
use crate::embedded::desk::Haste;
use crate::embedded::op::Op;
use fjall::PersistMode;
use std::time::Duration;

/// Settlements of transient tasks wait so long for a round that somebody waits for: under load they go along with one,
/// and a round of their own costs as much as many settlements.
const LINGER: Duration = Duration::from_millis(20);
/// Rounds begin no closer to each other than this: under load one of many changes costs little more than one of a few, and
/// wakes as many at once. One that comes after a pause, or among few, waits for nothing. A millisecond is little beside a
/// sync's 20 (p99).
const GAP: Duration = Duration::from_millis(1);
/// Among so many changes a round: gathering fewer only adds the wait and the waking up to each.
const MANY: usize = 8;
/// What was written without a sync is synced within this: so much of transient tasks' entries a loss of power may take.
const SYNC_WITHIN: Duration = Duration::from_secs(1);

impl Committer {
    /// Waits for changes; `false` once the engine is closed and all are taken.
    pub(super) fn receive(&mut self, waiting: &mut Vec<Queued>) -> Result<bool, Failure> {
        let mut taken = None;
        while taken.is_none() {
            if self.unsynced {
                taken = self.receive_within(waiting, SYNC_WITHIN);
                if taken.is_none() {
                    self.sync()?;
                }
            } else {
                taken = Some(self.ops.blocking_recv_many(waiting, MAX_ROUND_CHANGES));
            }
        }
        if taken == Some(0) {
            return Ok(false);
        }
        if waiting.iter().all(|queued| matches!(queued.op, Op::WriteBook(Haste::Soon))) {
            self.receive_within(waiting, LINGER);
        }
        self.gather(waiting);
        Ok(true)
    }

    /// Lets more changes come where the last round began a moment ago.
    fn gather(&mut self, waiting: &mut Vec<Queued>) {
        let since = self.shared.clock.monotonic().saturating_sub(self.began);
        let many = self.last.max(waiting.len()) >= MANY;
        if let Some(wait) = GAP.checked_sub(since).filter(|wait| many && !wait.is_zero()) {
            // The machine's sleep, not the engine's: it waits for the disk's sake.
            std::thread::sleep(wait);
            while waiting.len() < MAX_ROUND_CHANGES
                && let Ok(more) = self.ops.try_recv()
            {
                waiting.push(more);
            }
        }
        self.began = self.shared.clock.monotonic();
        self.last = waiting.len();
    }

    /// How many changes came, if some did within this time. On the machine's clock, not the engine's: it waits for the
    /// disk's sake.
    fn receive_within(&mut self, waiting: &mut Vec<Queued>, wait: Duration) -> Option<usize> {
        let (ops, timer) = (&mut self.ops, self.timer.as_ref()?);
        timer.block_on(async { tokio::time::timeout(wait, ops.recv_many(waiting, MAX_ROUND_CHANGES)).await.ok() })
    }

    /// Syncs what was written without, if that is long enough ago.
    pub(super) fn sync_in_time(&mut self) -> Result<(), Failure> {
        let now = self.shared.clock.monotonic();
        if self.unsynced && now.saturating_sub(self.unsynced_since) >= SYNC_WITHIN { self.sync() } else { Ok(()) }
    }

    /// Notes how a round was written.
    pub(super) fn note_written(&mut self, synced: bool, to_system: bool) {
        if synced {
            self.unsynced = false;
            self.counts.synced = self.counts.commits;
        } else if to_system && self.shared.mode == Mode::Fsync && !self.unsynced {
            self.unsynced = true;
            self.unsynced_since = self.shared.clock.monotonic();
        }
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let asked = match &shared.before_sync {
            Some(hook) => hook().map_err(|error| Failure::of_sync(&error, &shared.path)),
            None => Ok(()),
        };
        let synced =
            asked.and_then(|()| shared.store.db.persist(PersistMode::SyncData).map_err(|error| self.of_sync(&error)));
        if let Err(failure) = synced {
            shared.condition.fail(failure.clone().into());
            shared.desk.fail(None);
            return Err(failure);
        }
        self.note_written(true, true);
        Ok(())
    }
}

/// Keeps time for [`Committer::receive_within`]. Without it, which no machine should refuse, nothing lingers and a sync
/// comes at once.
pub(super) fn timer() -> Option<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build().ok()
}
