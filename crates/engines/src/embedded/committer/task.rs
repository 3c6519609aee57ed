//! Tasks and the ledger. A submit, a stop and an ending wait for the disk. A lease, its renewal and its
//! return do not: the journal keeps them before any append that carries the lease's fence, and a crash that
//! takes them back takes their worker along.

use super::Committer;
use super::round::Round;
use crate::embedded::op::{Reply, Submit, Taken};
use crate::embedded::store::{Store, Trouble, seal_settlement};
use crate::embedded::{key, live, seal};
use std::collections::hash_map::Entry;
use tidewire_core::port::{
    FamilyError, LeaseError, Leasing, Release, Renewal, Settlement, SubmitError, Totals, Unavailable, UpdateError,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Task, TaskId, TaskRef, TenantId, Timestamp};

/// The longest idempotency key: the store's keys end at 64 KiB, and the edge's bound is far below this.
const MAX_KEY_BYTES: usize = 4096;

impl Committer {
    /// A live task as this round leaves it, to be changed: what is done to it is committed with the round.
    pub(super) fn pending<'a>(&self, round: &'a mut Round, task: TaskRef) -> Option<&'a mut live::Entry> {
        let entry = match round.tasks.entry(task) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(live::Entry::clone(&*self.shared.live.get(task)?)),
        };
        round.durable = true;
        Some(entry)
    }

    /// A task's record as this round leaves it, live or ended.
    fn record(&self, round: &Round, task: TaskRef) -> Result<Option<Taken>, Trouble> {
        let taken = |entry: &live::Entry| Taken { task: entry.task.clone(), input: entry.input.clone(), fresh: false };
        if let Some(entry) = round.tasks.get(&task) {
            return Ok(Some(taken(entry)));
        }
        if let Some(entry) = self.shared.live.get(task) {
            return Ok(Some(taken(&entry)));
        }
        let stored = self.shared.store.task(&self.shared.store.db.snapshot(), task)?;
        Ok(stored.map(|task| Taken { task, input: None, fresh: false }))
    }

    pub(super) fn submit(&mut self, round: &mut Round, submit: Submit) -> Result<Taken, SubmitError> {
        let Submit { task, input, input_is_stored } = submit;
        let at = task.at();
        let known = self.known(round, &task)?;
        if let Some(known) = known {
            if input_is_stored && known.task.id != task.id {
                // Put there for a task that will not be.
                round.batch.remove(&self.shared.store.inputs, key::task(at));
            }
            return Ok(known);
        }
        let room = self.shared.room_for_work().map_err(SubmitError::from);
        if let Err(refused) = room.and_then(|()| self.take_into_family(round, &task)) {
            if input_is_stored {
                round.batch.remove(&self.shared.store.inputs, key::task(at));
            }
            return Err(refused);
        }
        if let Some(idempotency) = &task.idempotency {
            let key = key::idempotency(at.tenant, &idempotency.key);
            let value = seal::seal(&key, &[&at.task.to_bytes(), &idempotency.body_hash.to_le_bytes()]);
            round.batch.insert(&self.shared.store.idempotency, key, value);
            let given = (at.task, idempotency.body_hash);
            round.keys.insert((at.tenant, idempotency.key.clone()), given);
        }
        if !input_is_stored {
            round.bytes += input.len();
            round.batch.insert(&self.shared.store.inputs, key::task(at), input.clone());
        }
        // In the same commit, so that a submit costs one sync and not two: creating it again costs none.
        self.create(round, at.log()).map_err(Unavailable::from)?;
        let entry = live::Entry { task, input: Some(seal::body_of(&input)) };
        let taken = Taken { task: entry.task.clone(), input: entry.input.clone(), fresh: true };
        round.tasks.insert(at, entry);
        round.durable = true;
        Ok(taken)
    }

    /// The task that a submit asks for, if there is one: it has the same key, or the same id.
    fn known(&self, round: &Round, task: &Task) -> Result<Option<Taken>, SubmitError> {
        if let Some(idempotency) = &task.idempotency {
            if idempotency.key.len() > MAX_KEY_BYTES {
                let reason = format_args!("an idempotency key may have {MAX_KEY_BYTES} bytes");
                return Err(Unavailable::new(reason).into());
            }
            let holder = self.holder(round, task.tenant, &idempotency.key).map_err(Unavailable::from)?;
            if let Some((holder, body_hash)) = holder {
                let holder = TaskRef { tenant: task.tenant, task: holder };
                let known = self.record(round, holder).map_err(Unavailable::from)?;
                if known.is_some() && body_hash != idempotency.body_hash {
                    return Err(SubmitError::KeyConflict { task: holder.task });
                }
                // A key whose task has expired is free again.
                if known.is_some() {
                    return Ok(known);
                }
            }
        }
        if let Some(known) = self.record(round, task.at()).map_err(Unavailable::from)? {
            return Ok(Some(known));
        }
        let Some(dead) = task.spec.origin.retry_of else { return Ok(None) };
        let dead = self.record(round, TaskRef { tenant: task.tenant, task: dead }).map_err(Unavailable::from)?;
        let retry = dead.and_then(|dead| dead.task.retried_as);
        let retry = retry.map(|retry| self.record(round, TaskRef { tenant: task.tenant, task: retry }));
        Ok(retry.transpose().map_err(Unavailable::from)?.flatten())
    }

    /// Counts a new task against its parent and its root, and marks the dead letter that it tries again.
    fn take_into_family(&self, round: &mut Round, task: &Task) -> Result<(), SubmitError> {
        // All are asked before one is changed.
        let parent = task.parent().filter(|parent| Some(*parent) != task.root());
        for above in task.root().into_iter().chain(parent) {
            let known = self.record(round, above).map_err(Unavailable::from)?;
            let mut known = known.ok_or(FamilyError::Unknown)?.task;
            known.take_child(task)?;
        }
        if let Some(dead) = task.spec.origin.retry_of {
            let dead = TaskRef { tenant: task.tenant, task: dead };
            let record = self.record(round, dead).map_err(Unavailable::from)?.ok_or(FamilyError::Unknown)?;
            let mut record = record.task;
            record.retried(task.id)?;
            round.tasks.insert(dead, live::Entry { task: record, input: None });
            round.durable = true;
        }
        for above in task.root().into_iter().chain(parent) {
            if let Some(entry) = self.pending(round, above) {
                entry.task.take_child(task)?;
            }
        }
        Ok(())
    }

    /// Records a task's end, and charges the root of its family with what it used.
    pub(super) fn finish_record(&self, round: &mut Round, task: TaskRef, at: Timestamp, ending: Ending) {
        let usage = ending.usage;
        let Some(entry) = self.pending(round, task) else { return };
        if entry.task.finish(at, ending)
            && let Some(root) = entry.task.root()
            && let Some(root) = self.pending(round, root)
        {
            root.task.charge(usage);
        }
    }

    /// Which task has an idempotency key, and the hash of its body.
    fn holder(&self, round: &Round, tenant: TenantId, key: &str) -> Result<Option<(TaskId, u64)>, Trouble> {
        if let Some(given) = round.keys.get(&(tenant, key.to_owned())) {
            return Ok(Some(*given));
        }
        self.shared.store.holder(tenant, key)
    }

    pub(super) fn request_stop(&mut self, round: &mut Round, task: TaskRef) -> Result<Taken, UpdateError> {
        let taken = self.record(round, task).map_err(Unavailable::from)?.ok_or(UpdateError::Unknown)?;
        if taken.task.state.is_ended() || taken.task.stop_requested {
            return Ok(taken);
        }
        match self.pending(round, task) {
            Some(entry) => {
                entry.task.request_stop();
                Ok(Taken { task: entry.task.clone(), ..taken })
            }
            None => Ok(taken),
        }
    }

    pub(super) fn lease(
        &mut self,
        round: &mut Round,
        task: TaskRef,
        leasing: Leasing,
        reply: Reply<(Taken, Lease), LeaseError>,
    ) {
        let change = |entry: &mut live::Entry| {
            let lease = entry.task.lease(leasing)?;
            Ok((Taken { task: entry.task.clone(), input: entry.input.clone(), fresh: false }, lease))
        };
        if let Some(entry) = round.tasks.get_mut(&task) {
            let result = change(entry);
            return round.answer(reply, result);
        }
        match self.shared.live.update(task, change) {
            Some(result) => {
                if result.is_ok() {
                    round.to_write.insert(task);
                }
                reply.now(result);
            }
            None => reply.now(Err(match self.record(round, task) {
                Ok(Some(_)) => LeaseError::Ended,
                Ok(None) => LeaseError::Unknown,
                Err(trouble) => LeaseError::Unavailable(trouble.into()),
            })),
        }
    }

    pub(super) fn renew(
        &mut self,
        round: &mut Round,
        leases: &[Lease],
        until: Timestamp,
        reply: Reply<Vec<Renewal>, Unavailable>,
    ) {
        // Never written: after a restart there is no worker that holds a lease.
        let renewals = leases.iter().map(|lease| {
            let held = match round.tasks.get_mut(&lease.task) {
                Some(entry) => Some(entry.task.renew(lease, until)),
                None => self.shared.live.update(lease.task, |entry| entry.task.renew(lease, until)),
            };
            held.unwrap_or(Renewal::Lost)
        });
        let result = Ok(renewals.collect());
        if round.tasks.is_empty() {
            reply.now(result);
        } else {
            round.answer(reply, result);
        }
    }

    pub(super) fn release(
        &mut self,
        round: &mut Round,
        lease: &Lease,
        release: Release,
        reply: Reply<(), UpdateError>,
    ) {
        if let Some(entry) = round.tasks.get_mut(&lease.task) {
            let result = entry.task.release(lease, release);
            return round.answer(reply, result);
        }
        match self.shared.live.update(lease.task, |entry| entry.task.release(lease, release)) {
            Some(result) => {
                if result.is_ok() {
                    round.to_write.insert(lease.task);
                }
                reply.now(result);
            }
            None => reply.now(Err(match self.record(round, lease.task) {
                Ok(Some(_)) => UpdateError::LeaseLost,
                Ok(None) => UpdateError::Unknown,
                Err(trouble) => UpdateError::Unavailable(trouble.into()),
            })),
        }
    }

    pub(super) fn finish(
        &mut self,
        round: &mut Round,
        task: TaskRef,
        at: Timestamp,
        ending: Ending,
    ) -> Result<(), UpdateError> {
        let known = self.record(round, task).map_err(Unavailable::from)?.ok_or(UpdateError::Unknown)?;
        if !known.task.state.is_ended() {
            self.finish_record(round, task, at, ending);
        }
        Ok(())
    }

    /// Settles a task, unless it is settled. Says whether this was the first time.
    pub(super) fn settle(&mut self, round: &mut Round, settlement: &Settlement) -> Result<bool, Unavailable> {
        let Settlement { task, at, usage, .. } = *settlement;
        let store = &self.shared.store;
        let snapshot = store.db.snapshot();
        let key = key::task(task);
        let what = || format!("the settlement of {}", task.task);
        if round.settled.contains(&task) || Store::body(&snapshot, &store.settlements, &key, what)?.is_some() {
            return Ok(false);
        }
        let value = seal_settlement(task, at, usage)?;
        round.batch.insert(&store.settlements, key, value);
        self.add_to_totals(round, task.tenant, Totals::of(usage))?;
        let (row, settled) = self.shared.desk.settle(settlement);
        let sum = round.rows.entry(row).or_default();
        *sum = sum.plus(Totals::of(usage));
        round.settled.insert(task);
        round.settled_here.push((task, settled));
        round.durable = true;
        Ok(true)
    }
}
