//! The port `Ledger`: what may be used, what is held for work under way, and what was used, by whom.

use super::Unavailable;
use crate::ending::Usage;
use crate::id::{KeyId, TaskRef, TenantId};
use crate::money::Money;
use crate::payer::Payer;
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The account book. Work is reserved before anything is spent, and settled at whatever end.
///
/// Promises, checked by `testkit::ledger`:
/// - **One settlement.** A task is settled once, whoever asks how often; an engine that also keeps logs settles from the
///   `end` event by itself.
/// - **It adds up.** `reserved + overage = settled + released + outstanding`, in every one of the amounts, at any moment
///   and after any crash. Overage is what was used beyond a reservation.
/// - **No overspending.** However many callers reserve at once, what is outstanding and spent of an account passes none of
///   its limits; only what one task uses beyond its reservation can.
/// - **Nobody starves.** A reservation that is refused takes nothing, so a small one finds the room that a large one did
///   not have.
/// - **Nothing leaks.** What was reserved for a transient task is settled as an estimate when the engine opens again
///   after its process; what was reserved for a task that never came to be is released.
///
/// What was held and not used goes back into a bucket within a minute of having been taken out; later it has flowed
/// back by itself. What was used beyond is taken out whenever that turns out, also of an empty bucket. Money is spent on
/// the day of the settlement. An account that stands as a fresh one does is forgotten: full buckets, nothing spent this
/// month, nothing held. How many there may be is [`Bounds`](crate::ledger::Bounds); a task beyond it is `Unavailable`.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Holds amounts for a task, if all of the accounts have room for all of them; else none of them. A task has one
    /// reservation: asked for again, the first one's answer stands.
    ///
    /// The decision is made at once, in memory. What was decided is written before anything that this engine is asked
    /// for later; [`Ledger::secure`] waits for it. An account is named once.
    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError>;

    /// Waits until the task's reservation survives the end of the process. Nothing may be spent before. `Unavailable`
    /// also where the task has none: then the caller gives back what it reserved, and refuses the task.
    ///
    /// That of a durable task survives as its task does, and need not be waited for: it is committed with the task at
    /// the latest. That of a transient one survives `kill -9`; a loss of power may take back the last second.
    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable>;

    /// Holds more for a task that runs; nothing where it has no reservation. Refused as a reservation is.
    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError>;

    /// Settles a task: what it used is spent, and the rest of what was held is free again. `true` where this was the
    /// first time. A task that held nothing counts in the totals and in a row of usage that names no payer and no route,
    /// and not in the balance.
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable>;

    /// Gives back what was held for a task that never came to be. `true` where there was something. Where that can't be
    /// written now, it is later.
    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable>;

    /// What a tenant has used since the ledger began.
    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable>;

    /// What was used, by day, tenant, key, user, route and deployment; oldest first.
    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable>;

    /// Whether it adds up. From memory: for metrics.
    fn balance(&self) -> Balance;
}

/// Amounts that are held, released, settled: each counted for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Tasks.
    pub requests: u64,
    /// Tokens that are read.
    pub input_tokens: u64,
    /// Tokens that are written.
    pub output_tokens: u64,
    /// Money.
    #[serde(rename = "cost_nanousd")]
    pub cost: Money,
}

impl Amounts {
    /// What one task used, as far as it is limited.
    pub fn of(usage: &Usage) -> Self {
        let Usage { input_tokens, output_tokens, cost, .. } = *usage;
        Self { requests: 1, input_tokens, output_tokens, cost }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.plus(other.cost),
        }
    }

    /// What is left of each; nothing where the other one is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            cost: self.cost.minus(other.cost),
        }
    }

    /// serde's `skip_serializing_if`.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// For which task.
    pub task: TaskRef,
    /// When.
    pub at: Timestamp,
    /// Who pays.
    pub payer: Payer,
    /// The route that it takes.
    pub route: Arc<str>,
    /// How much.
    pub amounts: Amounts,
    /// The accounts that must have room, and what their limits are now. An account without a limit need not be named:
    /// usage is counted for all.
    pub accounts: Arc<[(Account, Limits)]>,
}

/// What has limits of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Account {
    /// All that a tenant does.
    Tenant(TenantId),
    /// All that comes with a key.
    Key(TenantId, KeyId),
    /// All that is done for a user of a tenant.
    User(TenantId, Arc<str>),
    /// All that takes a route, whoever asks.
    Route(Arc<str>),
}

/// What an account may use. A bucket holds as much as a minute gives, and fills evenly. Days and months are UTC's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tasks a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens read a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Tokens written a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Money a day.
    #[serde(skip_serializing_if = "Option::is_none", rename = "nanousd_per_day")]
    pub cost_per_day: Option<Money>,
    /// Money a month.
    #[serde(skip_serializing_if = "Option::is_none", rename = "nanousd_per_month")]
    pub cost_per_month: Option<Money>,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// Tasks a minute.
    Requests,
    /// Tokens read a minute.
    InputTokens,
    /// Tokens written a minute.
    OutputTokens,
    /// Money a day.
    CostPerDay,
    /// Money a month.
    CostPerMonth,
}

/// What is left after a reservation, of each limit the account that has least; none where no account has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Tasks.
    pub requests: Option<Allowance>,
    /// Tokens read.
    pub input_tokens: Option<Allowance>,
    /// Tokens written.
    pub output_tokens: Option<Allowance>,
    /// Money, in nanodollars, of the budget that has least.
    pub cost: Option<Allowance>,
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// All there is in its period.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When all of it is back.
    pub reset: Duration,
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// An account has no room.
    #[error(transparent)]
    Over(Over),
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// An account has no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what:?} of {account:?}: {asked} asked for, {remaining} of {limit} left")]
pub struct Over {
    /// Which one.
    pub account: Account,
    /// Which of its limits.
    pub what: Limited,
    /// The limit.
    pub limit: u64,
    /// How much was asked for.
    pub asked: u64,
    /// How much there is.
    pub remaining: u64,
    /// When there will be room; none where there never is, because more was asked for than the limit.
    pub retry_after: Option<Duration>,
    /// What is left of all limits.
    pub left: Left,
}

/// What a task used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which task.
    pub task: TaskRef,
    /// When it ended.
    pub at: Timestamp,
    /// What it used.
    pub usage: Usage,
    /// Which deployment did it.
    pub deployment: Option<Arc<str>>,
}

/// Sums over settlements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many tasks were settled.
    pub tasks: u64,
    /// The sum of their usage.
    pub usage: Usage,
}

impl Totals {
    /// Those of one settlement.
    pub fn of(usage: Usage) -> Self {
        Self { tasks: 1, usage }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { tasks: self.tasks + other.tasks, usage: self.usage.plus(other.usage) }
    }
}

/// Which usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Of one tenant; else of all.
    pub tenant: Option<TenantId>,
    /// From this day on, counted in UTC days since 1970.
    pub from_day: u32,
    /// Up to this day, it included.
    pub to_day: u32,
}

impl UsageQuery {
    /// Whether it asks for what this tenant used on this day.
    pub fn asks_for(&self, day: u32, tenant: TenantId) -> bool {
        (self.from_day..=self.to_day).contains(&day) && self.tenant.is_none_or(|asked| asked == tenant)
    }
}

/// What was used on one day by one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The UTC day, counted from 1970.
    pub day: u32,
    /// Whose.
    pub tenant: TenantId,
    /// With which key and for which user.
    pub payer: Payer,
    /// Over which route.
    pub route: Arc<str>,
    /// On which deployment; none where no attempt began.
    pub deployment: Option<Arc<str>>,
    /// How much.
    pub totals: Totals,
}

/// All that was ever reserved, and where it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Reserved and topped up.
    pub reserved: Amounts,
    /// Used beyond a reservation, by tasks that had one.
    pub overage: Amounts,
    /// Used, by tasks that had a reservation.
    pub settled: Amounts,
    /// Held and not used.
    pub released: Amounts,
    /// Held now.
    pub outstanding: Amounts,
    /// How many tasks hold it.
    pub reservations: u64,
}

impl Balance {
    /// Whether it adds up: `reserved + overage = settled + released + outstanding`.
    pub fn adds_up(&self) -> bool {
        self.reserved.plus(self.overage) == self.settled.plus(self.released).plus(self.outstanding)
    }
}
