//! The committer's thread, and how it gets from a write that the disk refused back to serving without a restart
//! of the process: it waits until the disk takes writes, closes the store, opens it again, and takes up what it
//! holds. (Why only after a refused write: see `condition`.)
//!
//! What was refused may have got into the journal after all. The store's own recovery says so or cuts it off, as
//! after a crash; either way the caller was told that it is not acknowledged.

use super::committer::{Committer, Ended, Queued};
use super::condition::{Failure, probe};
use super::counts::Counts;
use super::op::Op;
use super::open::{EndedTask, Loaded, OpenError, load};
use super::store::{Store, Trouble};
use super::{Opened, Shared, head, live};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TaskRef;
use tidewire_core::port::Unavailable;
use tokio::sync::mpsc;

/// The first wait before the disk is tried again. The waits double, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Trying costs a sync and 4 MiB; a person who has freed some space should not wait long.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often callers are refused meanwhile: none waits longer than this for its refusal.
const REFUSE_EVERY: Duration = Duration::from_millis(10);
/// How long running reads may take to let go of the store before the reopening is put off.
const LET_GO: Duration = Duration::from_secs(5);
const LET_GO_POLL: Duration = Duration::from_millis(1);

/// Commits until the engine is closed or fails for good.
pub(super) fn keep_committing(mut committer: Committer) {
    let shared = committer.shared().clone();
    loop {
        let run = catch_unwind(AssertUnwindSafe(|| committer.run()));
        let mut ops = match run {
            Ok(Ended::Closed) => return,
            Ok(Ended::Failed(Failure::Lasting(failure), _)) => return shared.fail_for_good(failure),
            Ok(Ended::Failed(Failure::Passing(failure), ops)) => {
                tracing::error!(reason = failure.reason, "no changes are taken until the disk takes writes again");
                ops
            }
            Err(_) => return shared.fail_for_good(Unavailable::new("the committer panicked; start the server again")),
        };
        let reopened = catch_unwind(AssertUnwindSafe(|| wait_and_reopen(&shared, &mut ops)));
        committer = match reopened {
            Ok(Some(again)) => Committer::new(again.opened, ops, again.counts, again.ended),
            Ok(None) => return,
            Err(_) => return shared.fail_for_good(Unavailable::new("the reopening panicked; start the server again")),
        };
        shared.condition.recover();
        tracing::info!("the disk takes writes again, and so does the store");
    }
}

/// Tries until the store is open again; `None` once the engine is closed or has failed for good.
fn wait_and_reopen(shared: &Arc<Shared>, ops: &mut mpsc::Receiver<Queued>) -> Option<Again> {
    let mut wait = FIRST_WAIT;
    loop {
        if !refuse_for(shared, ops, wait) {
            return None;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        match reopen(shared) {
            Ok(again) => return Some(again),
            Err(Failure::Passing(reason)) => {
                tracing::debug!(reason = reason.reason, "the store is not open again yet");
                shared.condition.fail(reason);
            }
            Err(Failure::Lasting(reason)) => {
                shared.fail_for_good(reason);
                return None;
            }
        }
    }
}

/// Refuses what callers send; `false` once the engine is closed.
fn refuse_for(shared: &Shared, ops: &mut mpsc::Receiver<Queued>, wait: Duration) -> bool {
    let mut waited = Duration::ZERO;
    while waited < wait {
        loop {
            match ops.try_recv() {
                Ok(Queued { op: Op::Close, .. }) => ops.close(),
                // Its answer is dropped, and the caller asks why.
                Ok(Queued { bytes, .. }) => shared.room.add_permits(bytes),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    shared.room.close();
                    return false;
                }
            }
        }
        // On the machine's clock, not the engine's: it waits for the disk.
        std::thread::sleep(REFUSE_EVERY);
        waited += REFUSE_EVERY;
    }
    true
}

/// A store that is open again.
struct Again {
    opened: Arc<Opened>,
    counts: Counts,
    ended: Vec<EndedTask>,
}

fn reopen(shared: &Arc<Shared>) -> Result<Again, Failure> {
    let path = &shared.path;
    probe(path).map_err(|error| match Failure::of_write(&error, path) {
        // Nothing is lost by a probe, so whatever it meets may pass.
        Failure::Passing(reason) | Failure::Lasting(reason) => Failure::Passing(reason),
    })?;
    close(shared)?;
    let loaded = load(path, shared.cache_bytes).map_err(|error| match error {
        OpenError::Damaged { .. } => lost(error),
        other => {
            let reason = format_args!("the store could not be opened again yet ({other}); it is tried on");
            Failure::Passing(Unavailable::new(reason))
        }
    })?;
    let Loaded { store, counts, found, .. } = loaded;
    take_up(shared, &store, found.entries)?;
    shared.desk.take_up(counts.commits);
    let store = Arc::new(store);
    shared.store.send_replace(Some(store.clone()));
    let opened = Arc::new(Opened { store, shared: shared.clone() });
    Ok(Again { opened, counts, ended: found.ended })
}

/// Closes the store, once nobody reads from it. Reads that begin meanwhile wait for the next one.
fn close(shared: &Shared) -> Result<(), Failure> {
    let Some(store) = shared.store.send_replace(None) else { return Ok(()) };
    let mut waited = Duration::ZERO;
    let mut held = store;
    loop {
        match Arc::try_unwrap(held) {
            Ok(store) => {
                // Drops the database too, and with it its thread and its lock. What its journal's buffer still
                // holds is written then, which is why the next open comes after it.
                drop(store);
                return Ok(());
            }
            Err(store) if waited < LET_GO => held = store,
            Err(store) => {
                shared.store.send_replace(Some(store));
                return Err(Failure::Passing(Unavailable::new("a long read holds the store; it is tried again")));
            }
        }
        std::thread::sleep(LET_GO_POLL);
        waited += LET_GO_POLL;
    }
}

/// Brings what is in memory in line with the store, after seeing that the store has all that was shown.
fn take_up(shared: &Shared, store: &Store, entries: Vec<live::Entry>) -> Result<(), Failure> {
    let at = store.snapshot();
    let known: HashSet<TaskRef> = entries.iter().map(|entry| entry.task.at()).collect();
    for task in shared.live.refs() {
        if !known.contains(&task) && store.task(&at, task).map_err(unread)?.is_none() {
            return Err(lost(format_args!("{} is gone", task.task)));
        }
    }
    let mut states = Vec::new();
    for (log, slot) in shared.slots.all() {
        let now = head::find(store, &at, log).map_err(unread)?.map(|found| found.stand.state);
        let before = slot.state();
        if now.is_some_and(|now| now.epoch != before.epoch || now.tail < before.tail) {
            return Err(lost(format_args!("events of {} are gone", log.log)));
        }
        states.push((log, slot, now));
    }
    for (log, slot, now) in states {
        match now {
            Some(state) => slot.restart(state),
            // Its expiry was in the commit that failed.
            None => drop(shared.slots.remove(log)),
        }
    }
    shared.live.restart(entries);
    Ok(())
}

fn unread(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Disk(_) => Failure::Passing(trouble.into()),
        Trouble::Damaged { .. } => lost(trouble),
    }
}

/// Opened again, the store has not all that it had confirmed.
fn lost(what: impl std::fmt::Display) -> Failure {
    Failure::Lasting(Unavailable::new(format_args!(
        "the store was opened again after the disk had refused a write, and {what}: look at the disk, then start the \
         server again or restore a backup"
    )))
}
