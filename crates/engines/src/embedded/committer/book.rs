//! Writing down the account book: with every round, what was decided since the last one. A busy account, a row of
//! usage and the balance are written once a round and not once a task.

use super::Committer;
use super::round::Round;
use crate::embedded::condition::Failure;
use crate::embedded::{key, stored_book};
use std::collections::hash_map::Entry;
use tidewire_core::ledger::{Held, Row};
use tidewire_core::port::{Settlement, Totals, Unavailable};
use tidewire_core::{Durability, TaskRef, TenantId};

/// Rows of usage that are kept in memory, so that adding to one needs no read. Beyond it all are let go of, and read
/// again: some 250 bytes each.
const MAX_ROWS_KNOWN: usize = 65_536;

/// What an open did about reservations that the last run left.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::embedded) struct Orphans {
    pub(in crate::embedded) settled: usize,
    pub(in crate::embedded) released: usize,
}

impl Committer {
    /// Puts what was decided since the last round into this one's batch.
    pub(super) fn seal_book(&mut self, round: &mut Round) -> Result<(), Unavailable> {
        let mut parcel = self.shared.desk.take();
        parcel.own = std::mem::take(&mut round.settled_here);
        if parcel.is_empty() {
            return Ok(());
        }
        for (row, totals) in &parcel.rows {
            self.add_to_totals(round, row.tenant, *totals)?;
            let here = round.rows.remove(row).unwrap_or_default();
            self.add_to_row(round, row.clone(), totals.plus(here))?;
        }
        for (row, totals) in std::mem::take(&mut round.rows) {
            self.add_to_row(round, row, totals)?;
        }
        let store = &self.shared.store;
        for (task, held) in &parcel.changed.reservations {
            let key = key::task(*task);
            match held {
                Some(held) => round.batch.insert(&store.reservations, key, stored_book::seal_held(&key, held)?),
                None => round.batch.remove(&store.reservations, key),
            }
        }
        for (account, standing) in &parcel.changed.accounts {
            let key = stored_book::account_key(account)?;
            match standing {
                Some(standing) => {
                    let value = stored_book::seal_standing(&key, standing)?;
                    round.batch.insert(&store.accounts, key, value);
                }
                None => round.batch.remove(&store.accounts, key),
            }
        }
        if !parcel.changed.is_empty() {
            let (key, value) = stored_book::seal_balance(&parcel.changed.balance)?;
            round.batch.insert(&store.meta, key, value);
        }
        round.parcel = Some(parcel);
        Ok(())
    }

    fn add_to_row(&mut self, round: &mut Round, row: Row, totals: Totals) -> Result<(), Unavailable> {
        let key = stored_book::row_key(&row)?;
        if self.rows.len() >= MAX_ROWS_KNOWN {
            self.rows.clear();
        }
        let store = &self.shared.store;
        let sum = match self.rows.entry(row) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(stored_book::row_totals(store, &store.db.snapshot(), &key)?),
        };
        *sum = sum.plus(totals);
        let value = stored_book::seal_totals(&key, *sum)?;
        round.batch.insert(&store.usage, key, value);
        Ok(())
    }

    pub(super) fn add_to_totals(
        &mut self,
        round: &mut Round,
        tenant: TenantId,
        totals: Totals,
    ) -> Result<(), Unavailable> {
        let store = &self.shared.store;
        let sum = match self.totals.entry(tenant) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(store.totals(&store.db.snapshot(), tenant)?),
        };
        *sum = sum.plus(totals);
        round.totals.insert(tenant);
        Ok(())
    }

    /// Deals with reservations that the last run left: before the thread runs. A transient task went with its process;
    /// a durable one has been submitted, or never was.
    pub(in crate::embedded) fn settle_orphans(&mut self) -> Result<Orphans, Failure> {
        let mut round = self.begin();
        let mut orphans = Orphans::default();
        for (task, held) in self.shared.desk.holders() {
            if task.task.durability() == Durability::Transient {
                self.shared.desk.settle_held(&self.estimate(task, &held));
                orphans.settled += 1;
            } else if self.shared.live.get(task).is_none() {
                self.settle_ended(&mut round, task, &held, &mut orphans)?;
            }
        }
        self.commit(&mut round)?;
        Ok(orphans)
    }

    /// Of a durable task that is not live.
    fn settle_ended(
        &mut self,
        round: &mut Round,
        task: TaskRef,
        held: &Held,
        orphans: &mut Orphans,
    ) -> Result<(), Unavailable> {
        let store = &self.shared.store;
        let ended = match store.task(&store.snapshot(), task) {
            Ok(None) => {
                self.shared.desk.give_back(task);
                orphans.released += 1;
                return Ok(());
            }
            Ok(Some(record)) => record.ended,
            // Its record fails its checksum, so what it used is not known.
            Err(_) => None,
        };
        let settlement = ended.map(|(at, ending)| {
            let deployment = ending.deployment.as_deref().map(Into::into);
            Settlement { task, at, usage: ending.usage, deployment }
        });
        let settlement = settlement.unwrap_or_else(|| self.estimate(task, held));
        orphans.settled += 1;
        if !self.settle(round, &settlement)? {
            // Counted already, and its reservation was left all the same.
            let (_, settled) = self.shared.desk.settle(&settlement);
            round.settled_here.push((task, settled));
        }
        Ok(())
    }

    fn estimate(&self, task: TaskRef, held: &Held) -> Settlement {
        Settlement { task, at: self.shared.clock.now(), usage: held.estimate(), deployment: None }
    }
}
