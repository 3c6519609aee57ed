//! What tenants spend, as the Operations page shows it. The ledger's rows are many, so they are summed at most every few
//! seconds, while somebody looks, and those of past days once an hour.

use std::collections::HashMap;
use std::time::Duration;
use tidewire_core::ledger::{day, first_of_month};
use tidewire_core::port::{Clock, Ledger, Totals, Unavailable, UsageQuery};
use tidewire_core::{Money, TenantId};

/// How old the sums of today may be: nobody reads money faster.
const TODAY: Duration = Duration::from_secs(2);

/// Making them may take a tenth of the time: where it takes long, they are older.
const SHARE: u32 = 10;

/// How old the sums of past days may be: what ends at midnight is settled a moment later.
const PAST_DAYS: Duration = Duration::from_hours(1);

/// The newest sums.
#[derive(Default)]
pub(super) struct Spending(tokio::sync::Mutex<Option<Sums>>);

/// Sums by tenant.
#[derive(Clone, Default)]
pub(super) struct Sums {
    pub(super) today: HashMap<TenantId, Totals>,
    /// Without today.
    month: HashMap<TenantId, Money>,
    day: u32,
    /// When they were made, by the monotonic clock, and how long that took.
    made: (Duration, Duration),
    past_made: Duration,
}

impl Sums {
    /// Today and this month.
    pub(super) fn of(&self, tenant: TenantId) -> (Totals, Money) {
        let today = self.today.get(&tenant).copied().unwrap_or_default();
        (today, today.usage.cost.plus(self.month.get(&tenant).copied().unwrap_or_default()))
    }

    /// What all of today's kept and shared answers would have cost.
    pub(super) fn saved_today(&self) -> Money {
        self.today.values().fold(Money::ZERO, |sum, totals| sum.plus(totals.usage.saved))
    }
}

impl Spending {
    /// Sums that are new enough; those that were, where the ledger can't be read now. Those who come meanwhile wait for the one
    /// who makes them.
    pub(super) async fn sums(&self, ledger: &dyn Ledger, clock: &dyn Clock) -> Sums {
        let mut held = self.0.lock().await;
        let (now, today) = (clock.monotonic(), day(clock.now()));
        let before = held.clone().unwrap_or_default();
        let (made, took) = before.made;
        let waits = TODAY.max(took.saturating_mul(SHARE));
        if held.is_some() && before.day == today && now.saturating_sub(made) < waits {
            return before;
        }
        match make(&before, ledger, clock).await {
            Ok(sums) => held.insert(sums).clone(),
            Err(error) => {
                tracing::warn!(%error, "what tenants spend can't be summed up");
                before
            }
        }
    }
}

async fn make(before: &Sums, ledger: &dyn Ledger, clock: &dyn Clock) -> Result<Sums, Unavailable> {
    let (now, today) = (clock.monotonic(), day(clock.now()));
    let (month, past_made) = if before.day == today && now.saturating_sub(before.past_made) < PAST_DAYS {
        (before.month.clone(), before.past_made)
    } else {
        (past_days(ledger, first_of_month(clock.now()), today).await?, now)
    };
    let mut sums = Sums { month, past_made, day: today, ..Sums::default() };
    for row in ledger.usage(UsageQuery { tenant: None, from_day: today, to_day: today }).await? {
        let sum = sums.today.entry(row.tenant).or_default();
        *sum = sum.plus(row.totals);
    }
    sums.made = (now, clock.monotonic().saturating_sub(now));
    Ok(sums)
}

/// Day by day: a month of rows at once would take its room in memory.
async fn past_days(ledger: &dyn Ledger, from: u32, before: u32) -> Result<HashMap<TenantId, Money>, Unavailable> {
    let mut sums: HashMap<TenantId, Money> = HashMap::new();
    for day in from..before {
        for row in ledger.usage(UsageQuery { tenant: None, from_day: day, to_day: day }).await? {
            let sum = sums.entry(row.tenant).or_default();
            *sum = sum.plus(row.totals.usage.cost);
        }
    }
    Ok(sums)
}
