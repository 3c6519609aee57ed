//! The account book: whether the balance adds up, and whether what it sums up is there.

use super::tasks::NEXT_START;
use super::{Check, REPORT, RESTORE, named};
use crate::embedded::{key, stored_book};
use std::collections::BTreeMap;
use tidewire_core::port::{Amounts, Totals};
use tidewire_core::{Durability, TenantId};

impl Check<'_> {
    /// Every reservation is of a task that has not ended, and all of them together are what the balance calls
    /// outstanding.
    pub(super) fn reservations(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let (mut outstanding, mut count) = (Amounts::default(), 0);
        self.each("reservations", &store.reservations, |check, key, body| {
            let (Some(task), Some(held)) = (key::parse_task(key), stored_book::parse_held(&body)) else {
                return check.damage("reservation", named(key), "a reservation that can't be read", RESTORE);
            };
            outstanding = outstanding.plus(held.amounts);
            count += 1;
            // A transient task has no record here, and what it holds is settled at the next start.
            if task.task.durability() == Durability::Durable && !check.has(&store.live, key) {
                let what = "it holds a reservation, and has ended or never came to be";
                check.loose("orphan_reservation", task.task, what, NEXT_START);
            }
        })?;
        let Some(balance) = Self::sound(stored_book::balance(store, &self.at))? else { return Ok(()) };
        if !balance.adds_up() {
            let what = format!("reserved and overage are not what is settled, released and outstanding: {balance:?}");
            self.damage("balance", "meta", what, REPORT);
        }
        if (balance.outstanding, balance.reservations) != (outstanding, count) {
            let said = (balance.reservations, balance.outstanding);
            let what =
                format!("{said:?} is outstanding by the balance, and {:?} by the reservations", (count, outstanding));
            self.damage("balance", "meta", what, RESTORE);
        }
        Ok(())
    }

    /// Every account can be read.
    pub(super) fn accounts(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("accounts", &store.accounts, |check, key, body| {
            if stored_book::parse_account(key, &body).is_none() {
                let place = String::from_utf8_lossy(key).into_owned();
                check.damage("account", place, "an account that can't be read", RESTORE);
            }
        })
    }

    /// No tenant's rows of usage are above its sums. (They are below where it used something before there were rows.)
    pub(super) fn usage(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let mut sums: BTreeMap<TenantId, Totals> = BTreeMap::new();
        self.each("usage", &store.usage, |check, key, body| {
            let (Some(row), Some(totals)) = (stored_book::parse_row(key), stored_book::parse_totals(&body)) else {
                return check.damage("usage", super::hex(key), "a row of usage that can't be read", RESTORE);
            };
            let sum = sums.entry(row.tenant).or_default();
            *sum = sum.plus(totals);
        })?;
        for (tenant, sum) in sums {
            let Some(totals) = Self::sound(store.totals(&self.at, tenant))? else { continue };
            if super::tasks::is_below(totals, sum) {
                let what = format!("its sums {totals:?} are below those of its rows of usage {sum:?}");
                self.damage("totals", format!("tenant {}", tenant.0), what, REPORT);
            }
        }
        Ok(())
    }
}
