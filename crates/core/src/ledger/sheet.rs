//! The usage sheet: sums of settlements by day, tenant, key, user, route and deployment.

use super::book::Held;
use super::calendar::day;
use crate::id::TenantId;
use crate::payer::Payer;
use crate::port::{Settlement, Totals, UsageQuery, UsageRow};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows in which a sheet in memory tells users apart; some 250 bytes each. Beyond it what another user uses is counted
/// under its key alone: the sums stay right, and the number of rows is that of keys, routes and days.
pub const MAX_ROWS: usize = 65_536;

/// What a row sums up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// The UTC day, counted from 1970.
    pub day: u32,
    /// Whose.
    pub tenant: TenantId,
    /// With which key and for which user.
    pub payer: Payer,
    /// Over which route; empty for a task that held nothing.
    pub route: Arc<str>,
    /// On which deployment.
    pub deployment: Option<Arc<str>>,
}

impl Row {
    /// The row that a settlement counts in. Who pays for a task that held nothing is not known.
    pub fn of(settlement: &Settlement, held: Option<&Held>) -> Self {
        Self {
            day: day(settlement.at),
            tenant: settlement.task.tenant,
            payer: held.map(|held| held.payer.clone()).unwrap_or_default(),
            route: held.map_or_else(|| Arc::from(""), |held| held.route.clone()),
            deployment: settlement.deployment.clone(),
        }
    }

    /// With its sum.
    pub fn with(self, totals: Totals) -> UsageRow {
        let Self { day, tenant, payer, route, deployment } = self;
        UsageRow { day, tenant, payer, route, deployment, totals }
    }
}

/// Sums by row.
#[derive(Debug, Default)]
pub struct Sheet {
    rows: HashMap<Row, Totals>,
}

impl Sheet {
    /// Adds to a row.
    pub fn add(&mut self, row: Row, totals: Totals) {
        if let Some(sum) = self.rows.get_mut(&row) {
            *sum = sum.plus(totals);
            return;
        }
        let told_apart = self.rows.len() < MAX_ROWS;
        let row = if told_apart { row } else { Row { payer: Payer { user: None, ..row.payer }, ..row } };
        let sum = self.rows.entry(row).or_default();
        *sum = sum.plus(totals);
    }

    /// The rows that are asked for, oldest first.
    pub fn find(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let found = self.rows.iter().filter(|(row, _)| query.asks_for(row.day, row.tenant));
        let mut found: Vec<_> = found.map(|(row, sum)| (row.clone(), *sum)).collect();
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        found.into_iter().map(|(row, sum)| row.with(sum)).collect()
    }

    /// All of them; the sheet is empty then.
    pub fn take(&mut self) -> HashMap<Row, Totals> {
        std::mem::take(&mut self.rows)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_bound_users_are_no_longer_told_apart_and_the_sums_stay_right() {
        let mut sheet = Sheet::default();
        let row = |user: usize| Row {
            day: 1,
            tenant: TenantId(1),
            payer: Payer { key: None, user: Some(Arc::from(user.to_string())) },
            route: Arc::from("r"),
            deployment: None,
        };
        for user in 0..MAX_ROWS + 10 {
            sheet.add(row(user), Totals { tasks: 1, ..Totals::default() });
        }
        sheet.add(row(0), Totals { tasks: 1, ..Totals::default() });
        let rows = sheet.find(&UsageQuery { tenant: None, from_day: 0, to_day: 9 });
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert_eq!(rows[0].payer.user, None);
        assert_eq!(rows[0].totals.tasks, 10);
        assert_eq!(rows[1].totals.tasks, 2, "those that are there go on");
        assert_eq!(rows.iter().map(|row| row.totals.tasks).sum::<u64>(), MAX_ROWS as u64 + 11);
    }
}
