//! The account book as it is stored: reservations, accounts, rows of usage, and the balance.

use super::store::{Store, Trouble, pair};
use super::{key, seal};
use bytes::Bytes;
use fjall::{Readable, Snapshot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::sync::Arc;
use tidewire_core::ledger::{Held, Row, Standing};
use tidewire_core::port::{Account, Amounts, Balance, Limits, Reservation, Totals, Unavailable, UsageQuery, UsageRow};
use tidewire_core::{Payer, TaskRef, TenantId, Timestamp, Usage};

/// The longest name of a user, a route or a deployment: the store's keys end at 64 KiB, and the edge's bounds are below
/// this.
const MAX_NAME_BYTES: usize = 4096;
/// The balance's key in the keyspace `meta`.
const BALANCE: &[u8] = b"balance";

/// When it was taken, who pays, over which route, how much, in which accounts.
type StoredHeld = (Timestamp, Payer, Arc<str>, Amounts, Vec<(Account, Limits)>);

/// The sums that are stored. How much is outstanding is the sum of the reservations; it is stored as well, so that a
/// check can tell where they differ.
#[derive(Serialize, Deserialize)]
struct StoredBalance {
    reserved: Amounts,
    overage: Amounts,
    settled: Amounts,
    released: Amounts,
    outstanding: Amounts,
    reservations: u64,
}

/// What an open finds of the book.
#[derive(Default)]
pub(super) struct FoundBook {
    pub(super) accounts: Vec<(Account, Standing)>,
    pub(super) held: Vec<(TaskRef, Held)>,
    pub(super) balance: Balance,
    pub(super) damaged: Vec<String>,
}

fn sealed(key: &[u8], value: &impl Serialize) -> Result<Bytes, Unavailable> {
    Ok(seal::seal(key, &[&serde_json::to_vec(value).map_err(Unavailable::new)?]))
}

fn parsed<T: DeserializeOwned>(key: &[u8], value: &Bytes) -> Option<T> {
    serde_json::from_slice(&seal::open(key, value).ok()?).ok()
}

/// Refuses names that fit into no key.
pub(super) fn admit(reservation: &Reservation) -> Result<(), Unavailable> {
    let account = |account: &Account| match account {
        Account::User(_, name) | Account::Route(name) => name.len(),
        Account::Tenant(_) | Account::Key(..) => 0,
    };
    let accounts = reservation.accounts.iter().map(|(of, _)| account(of)).max().unwrap_or(0);
    let user = reservation.payer.user.as_ref().map_or(0, |user| user.len());
    if accounts.max(user).max(reservation.route.len()) > MAX_NAME_BYTES {
        return Err(Unavailable::new(format_args!("the name of a user or a route may have {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
}

pub(super) fn seal_held(key: &[u8], held: &Held) -> Result<Bytes, Unavailable> {
    sealed(key, &(held.at, &held.payer, &held.route, held.amounts, &*held.accounts))
}

pub(super) fn parse_held(body: &[u8]) -> Option<Held> {
    let (at, payer, route, amounts, accounts): StoredHeld = serde_json::from_slice(body).ok()?;
    Some(Held::new(payer, route, accounts.into(), amounts, at))
}

pub(super) fn account_key(account: &Account) -> Result<Vec<u8>, Unavailable> {
    serde_json::to_vec(account).map_err(Unavailable::new)
}

pub(super) fn seal_standing(key: &[u8], standing: &Standing) -> Result<Bytes, Unavailable> {
    sealed(key, standing)
}

pub(super) fn parse_account(key: &[u8], body: &[u8]) -> Option<(Account, Standing)> {
    Some((serde_json::from_slice(key).ok()?, serde_json::from_slice(body).ok()?))
}

/// A row's key sorts by day.
pub(super) fn row_key(row: &Row) -> Result<Vec<u8>, Unavailable> {
    let deployment = row.deployment.as_ref().filter(|name| name.len() <= MAX_NAME_BYTES);
    let mut key = row.day.to_be_bytes().to_vec();
    let rest = (row.tenant, &row.payer, &row.route, deployment);
    serde_json::to_writer(&mut key, &rest).map_err(Unavailable::new)?;
    Ok(key)
}

pub(super) fn parse_row(key: &[u8]) -> Option<Row> {
    let (day, rest) = key.split_first_chunk()?;
    let (tenant, payer, route, deployment): (TenantId, Payer, Arc<str>, Option<Arc<str>>) =
        serde_json::from_slice(rest).ok()?;
    Some(Row { day: u32::from_be_bytes(*day), tenant, payer, route, deployment })
}

pub(super) fn seal_totals(key: &[u8], totals: Totals) -> Result<Bytes, Unavailable> {
    sealed(key, &(totals.tasks, totals.usage))
}

pub(super) fn parse_totals(body: &[u8]) -> Option<Totals> {
    let (tasks, usage): (u64, Usage) = serde_json::from_slice(body).ok()?;
    Some(Totals { tasks, usage })
}

/// The sum of a row; nothing where there is none yet.
pub(super) fn row_totals(store: &Store, at: &Snapshot, key: &[u8]) -> Result<Totals, Trouble> {
    let what = || "a row of usage".to_owned();
    let Some(body) = Store::body(at, &store.usage, key, what)? else { return Ok(Totals::default()) };
    parse_totals(&body).ok_or_else(|| Trouble::damaged(what()))
}

/// The rows that are asked for, oldest first.
pub(super) fn rows(store: &Store, at: &Snapshot, query: &UsageQuery) -> Result<Vec<UsageRow>, Trouble> {
    if query.from_day > query.to_day {
        return Ok(Vec::new());
    }
    let from = Bound::Included(query.from_day.to_be_bytes());
    let to = query.to_day.checked_add(1).map_or(Bound::Unbounded, |to| Bound::Excluded(to.to_be_bytes()));
    let mut found = Vec::new();
    for entry in at.range(&store.usage, (from, to)) {
        let (key, value) = pair(entry)?;
        let damaged = || Trouble::damaged("a row of usage");
        let row = parse_row(&key).ok_or_else(damaged)?;
        if query.asks_for(row.day, row.tenant) {
            let body = seal::open(&key, &value).map_err(|_| damaged())?;
            found.push((row, parse_totals(&body).ok_or_else(damaged)?));
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found.into_iter().map(|(row, totals)| row.with(totals)).collect())
}

/// The balance's key and value.
pub(super) fn seal_balance(balance: &Balance) -> Result<(&'static [u8], Bytes), Unavailable> {
    let Balance { reserved, overage, settled, released, outstanding, reservations } = *balance;
    let stored = StoredBalance { reserved, overage, settled, released, outstanding, reservations };
    Ok((BALANCE, sealed(BALANCE, &stored)?))
}

/// The balance as it was last written.
pub(super) fn balance(store: &Store, at: &Snapshot) -> Result<Balance, Trouble> {
    let what = || "the ledger's balance".to_owned();
    let Some(body) = Store::body(at, &store.meta, BALANCE, what)? else { return Ok(Balance::default()) };
    let stored: StoredBalance = serde_json::from_slice(&body).map_err(|_| Trouble::damaged(what()))?;
    let StoredBalance { reserved, overage, settled, released, outstanding, reservations } = stored;
    Ok(Balance { reserved, overage, settled, released, outstanding, reservations })
}

/// Reads the whole book. A value that fails its checksum is told and left out: the sums are brought in line with it.
pub(super) fn find(store: &Store, at: &Snapshot) -> Result<FoundBook, Trouble> {
    let mut found = FoundBook::default();
    match balance(store, at) {
        Ok(balance) => found.balance = balance,
        Err(Trouble::Disk(error)) => return Err(error.into()),
        Err(damaged) => found.damaged.push(damaged.to_string()),
    }
    for entry in at.iter(&store.reservations) {
        let (key, value) = pair(entry)?;
        let held = seal::open(&key, &value).ok().and_then(|body| parse_held(&body));
        match key::parse_task(&key).zip(held) {
            Some(held) => found.held.push(held),
            None => found.damaged.push(Trouble::damaged("a reservation").to_string()),
        }
    }
    for entry in at.iter(&store.accounts) {
        let (key, value) = pair(entry)?;
        match serde_json::from_slice(&key).ok().zip(parsed(&key, &value)) {
            Some(account) => found.accounts.push(account),
            None => found.damaged.push(Trouble::damaged("an account").to_string()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidewire_core::{KeyId, Money};

    proptest! {
        #[test]
        fn what_is_stored_is_read_as_it_was(
            day: u32, tenant: u32, key: Option<u64>, user: Option<String>, route: String, deployment: Option<String>,
            cost: u64,
        ) {
            let payer = Payer { key: key.map(KeyId), user: user.map(Arc::from) };
            let (tenant, route) = (TenantId(tenant), Arc::from(route));
            let accounts = vec![
                (Account::Tenant(tenant), Limits { cost_per_day: Some(Money(cost)), ..Limits::default() }),
                (Account::User(tenant, Arc::from("ada")), Limits::default()),
                (Account::Key(tenant, KeyId(cost)), Limits { requests_per_minute: Some(day.into()), ..Limits::default() }),
                (Account::Route(Arc::clone(&route)), Limits::default()),
            ];
            let amounts = Amounts { requests: 1, input_tokens: cost, output_tokens: 3, cost: Money(cost) };
            let held = Held::new(payer.clone(), Arc::clone(&route), accounts.into(), amounts, Timestamp::from_micros(cost));
            let value = seal_held(b"key", &held).unwrap();
            prop_assert_eq!(parse_held(&seal::body_of(&value)), Some(held));
            let row = Row { day, tenant, payer, route, deployment: deployment.map(Arc::from) };
            let row_key = row_key(&row).unwrap();
            prop_assert_eq!(&row_key[..4], &day.to_be_bytes());
            prop_assert_eq!(parse_row(&row_key), Some(row));
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
            let _ = (parse_row(&bytes), parse_held(&bytes), parse_totals(&bytes), parse_account(&bytes, &bytes));
        }
    }
}
