//! `GET /v1/usage`: what was used and what it cost, by day, tenant, key, user, route and deployment.

use super::durable_streams::date;
use super::tasks::query;
use super::whose::whose;
use crate::Edge;
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Totals, UsageQuery, UsageRow};
use tidewire_core::{Timestamp, Usage};
use tidewire_proto::Code;
use tidewire_proto::usage::{UsageLine, UsageReport, UsageSums};

const DAY: Duration = Duration::from_hours(24);

/// Without `from`: a month.
const DEFAULT_DAYS: u32 = 30;

/// What one report may span: a year, leap day and the day of asking included.
const MAX_DAYS: u32 = 367;

/// Rows of a page: a month of 30 keys.
const DEFAULT_ROWS: usize = 1_000;

/// The most rows of a page: some 2 MB of JSON.
const MAX_ROWS: usize = 10_000;

/// Names the next page of CSV, which has no other place for it.
const NEXT: HeaderName = HeaderName::from_static("tidewire-next");

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Day,
    Tenant,
    Key,
    User,
    Route,
    Deployment,
}

impl Column {
    const ALL: [Self; 6] = [Self::Day, Self::Tenant, Self::Key, Self::User, Self::Route, Self::Deployment];

    const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Tenant => "tenant",
            Self::Key => "key",
            Self::User => "user",
            Self::Route => "route",
            Self::Deployment => "deployment",
        }
    }

    fn of(self, edge: &Edge, row: &UsageRow) -> String {
        match self {
            Self::Day => show(row.day),
            Self::Tenant => edge.identity.tenant_name(row.tenant),
            Self::Key => row.payer.key.map(|key| key.to_string()).unwrap_or_default(),
            Self::User => row.payer.user.as_deref().unwrap_or_default().to_owned(),
            Self::Route => row.route.to_string(),
            Self::Deployment => row.deployment.as_deref().unwrap_or_default().to_owned(),
        }
    }

    fn set(self, line: &mut UsageLine, value: String) {
        let place = match self {
            Self::Day => &mut line.day,
            Self::Tenant => &mut line.tenant,
            Self::Key => &mut line.key,
            Self::User => &mut line.user,
            Self::Route => &mut line.route,
            Self::Deployment => &mut line.deployment,
        };
        *place = Some(value);
    }
}

#[derive(Deserialize)]
struct Asked {
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
    tenant: Option<String>,
    format: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Which rows of all: those after one, and how many.
#[derive(Default)]
struct Paging {
    after: Option<Vec<String>>,
    limit: usize,
}

impl Paging {
    fn of(limit: Option<usize>, cursor: Option<&str>, columns: &[Column]) -> Result<Self, Refusal> {
        let limit = limit.unwrap_or(DEFAULT_ROWS);
        if !(1..=MAX_ROWS).contains(&limit) {
            return Err(invalid(format!("`limit` is 1 to {MAX_ROWS}")));
        }
        let read = |cursor: &str| {
            let after: Vec<String> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
            (after.len() == columns.len()).then_some(after)
        };
        let unknown = || invalid("`cursor` is the `next` of the page before, with the same `group_by`");
        let after = cursor.map(|cursor| read(cursor).ok_or_else(unknown)).transpose()?;
        Ok(Self { after, limit })
    }

    fn cursor(after: &[String]) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(after).unwrap_or_default())
    }
}

pub(super) async fn usage(State(edge): State<Arc<Edge>>, caller: Caller, raw: RawQuery) -> Result<Response, Refusal> {
    let asked: Asked = query(raw)?;
    let csv = match asked.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(other) => return Err(invalid(format!("`format` is `json` or `csv`, not `{other}`"))),
    };
    let columns = columns(asked.group_by.as_deref().unwrap_or("day"))?;
    let paging = Paging::of(asked.limit, asked.cursor.as_deref(), &columns)?;
    let tenant = whose(&edge, &caller, asked.tenant.as_deref())?;
    let (from_day, to_day) = days(asked.from.as_deref(), asked.to.as_deref(), edge.clock.now())?;
    let mut rows = edge.ledger.usage(UsageQuery { tenant, from_day, to_day }).await?;
    // Whoever speaks for one user alone sees that one's.
    if let Some(user) = caller.payer.user.as_ref().filter(|_| !caller.scopes.has(Scope::Users)) {
        rows.retain(|row| row.payer.user.as_ref() == Some(user));
    }
    let named = |column: Column, row: &UsageRow| column.of(&edge, row);
    let report = report(&rows, &columns, (from_day, to_day), &paging, named);
    if !csv {
        return Ok(Json(report).into_response());
    }
    let kind = HeaderValue::from_static("text/csv; charset=utf-8");
    let name = HeaderValue::from_static("attachment; filename=\"usage.csv\"");
    let head = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    let mut answer = (head, written(&report, &columns)).into_response();
    if let Some(next) = report.next.as_deref().and_then(|next| HeaderValue::from_str(next).ok()) {
        answer.headers_mut().insert(NEXT, next);
    }
    Ok(answer)
}

fn columns(names: &str) -> Result<Vec<Column>, Refusal> {
    let mut columns = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let found = Column::ALL.into_iter().find(|column| column.name() == name);
        let known = || Column::ALL.map(Column::name).join(", ");
        let column = found.ok_or_else(|| invalid(format!("`group_by` names some of {}, not `{name}`", known())))?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// The first and the last day that are asked for.
fn days(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<(u32, u32), Refusal> {
    let day = |text: &str| {
        let at = date::parse(&format!("{text}T00:00:00Z"));
        at.map(day_of).ok_or_else(|| invalid(format!("`{text}` is no day: write it as `2026-11-01`")))
    };
    let to = to.map(day).transpose()?.unwrap_or_else(|| day_of(now));
    let from = from.map(day).transpose()?.unwrap_or_else(|| to.saturating_sub(DEFAULT_DAYS - 1));
    match to.checked_sub(from) {
        None => Err(invalid("`to` is before `from`")),
        Some(span) if span >= MAX_DAYS => Err(invalid(format!("at most {MAX_DAYS} days at once"))),
        Some(_) => Ok((from, to)),
    }
}

fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.since(Timestamp::default()).as_secs() / DAY.as_secs()).unwrap_or(u32::MAX)
}

fn show(day: u32) -> String {
    let mut text = date::show(Timestamp::default().plus(DAY.saturating_mul(day)));
    text.truncate("2026-11-01".len());
    text
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

fn report(
    rows: &[UsageRow],
    columns: &[Column],
    (from, to): (u32, u32),
    paging: &Paging,
    named: impl Fn(Column, &UsageRow) -> String,
) -> UsageReport {
    let mut groups: BTreeMap<Vec<String>, Totals> = BTreeMap::new();
    let mut total = Totals::default();
    for row in rows {
        let key = columns.iter().map(|column| named(*column, row)).collect();
        add(groups.entry(key).or_default(), row.totals);
        add(&mut total, row.totals);
    }
    let line = |(values, totals): (Vec<String>, Totals)| {
        let mut line = UsageLine { sums: sums(totals), ..UsageLine::default() };
        columns.iter().zip(values).for_each(|(column, value)| column.set(&mut line, value));
        line
    };
    if let Some(after) = &paging.after {
        groups = groups.split_off(after);
        groups.remove(after);
    }
    let more = groups.len() > paging.limit;
    let next = groups.keys().nth(paging.limit - 1).filter(|_| more).map(|last| Paging::cursor(last));
    UsageReport {
        from: show(from),
        to: show(to),
        group_by: columns.iter().map(|column| column.name().to_owned()).collect(),
        rows: groups.into_iter().take(paging.limit).map(line).collect(),
        total: sums(total),
        next,
    }
}

fn add(to: &mut Totals, more: Totals) {
    to.tasks += more.tasks;
    to.usage = to.usage.plus(more.usage);
}

fn sums(Totals { tasks, usage }: Totals) -> UsageSums {
    let Usage {
        input_tokens,
        cached_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        cost,
        saved,
        estimated,
    } = usage;
    let (cost_usd, saved_usd) = (cost.dollars(), saved.dollars());
    UsageSums {
        tasks,
        input_tokens,
        cached_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        cost_usd,
        saved_usd,
        estimated,
    }
}

/// The rows as CSV (<https://www.rfc-editor.org/rfc/rfc4180>), a header first.
fn written(report: &UsageReport, columns: &[Column]) -> String {
    let mut text = String::new();
    for column in columns {
        text.push_str(column.name());
        text.push(',');
    }
    text.push_str(
        "tasks,input_tokens,cached_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,saved_usd,estimated\r\n",
    );
    for line in &report.rows {
        let values = [&line.day, &line.tenant, &line.key, &line.user, &line.route, &line.deployment];
        for column in columns {
            let place = Column::ALL.iter().position(|one| one == column).and_then(|place| values[place].as_deref());
            cell(&mut text, place.unwrap_or_default());
            text.push(',');
        }
        let UsageSums {
            tasks,
            input_tokens,
            cached_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
            cost_usd,
            saved_usd,
            estimated,
        } = line.sums;
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "{tasks},{input_tokens},{cached_tokens},{cache_write_tokens},{output_tokens},{reasoning_tokens},{cost_usd:.9},{saved_usd:.9},{estimated}\r\n"
        );
    }
    text
}

/// A user's name comes from a client. One that a spreadsheet would take for a formula gets an apostrophe in front.
fn cell(text: &mut String, value: &str) {
    let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let value = if formula { format!("'{value}") } else { value.to_owned() };
    if value.contains([',', '"', '\n', '\r']) {
        let _ = write!(text, "\"{}\"", value.replace('"', "\"\""));
    } else {
        text.push_str(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::{Money, Payer, TenantId};

    const ALL: Paging = Paging { after: None, limit: MAX_ROWS };

    fn plain(column: Column, row: &UsageRow) -> String {
        match column {
            Column::Day => show(row.day),
            Column::User => row.payer.user.as_deref().unwrap_or_default().to_owned(),
            _ => row.route.to_string(),
        }
    }

    fn row(day: u32, user: &str, output_tokens: u64) -> UsageRow {
        let usage = Usage { output_tokens, cost: Money(1_500_000_000), ..Usage::default() };
        UsageRow {
            day,
            tenant: TenantId(1),
            payer: Payer { key: None, user: Some(user.into()) },
            route: "r".into(),
            deployment: None,
            totals: Totals { tasks: 1, usage },
        }
    }

    #[test]
    fn rows_are_summed_by_what_is_asked_for() {
        let rows = [row(20_393, "b", 1), row(20_393, "a", 2), row(20_394, "a", 4)];
        let by_day = report(&rows, &columns("day").unwrap(), (20_393, 20_394), &ALL, plain);
        assert_eq!((by_day.from.as_str(), by_day.to.as_str()), ("2025-11-01", "2025-11-02"));
        let days: Vec<_> = by_day.rows.iter().map(|line| (line.day.as_deref(), line.sums.output_tokens)).collect();
        assert_eq!(days, [(Some("2025-11-01"), 3), (Some("2025-11-02"), 4)]);
        assert_eq!((by_day.total.tasks, by_day.total.cost_usd), (3, 4.5));
        let by_user = report(&rows, &columns("user,route").unwrap(), (20_393, 20_394), &ALL, plain);
        assert_eq!(by_user.rows[0].user.as_deref(), Some("a"));
        assert_eq!(by_user.rows[0].sums.output_tokens, 6);
        assert!(columns("user,model").is_err());
    }

    #[test]
    fn pages_have_each_row_once_and_the_sum_of_all() {
        let columns = columns("user,day").unwrap();
        let rows: Vec<UsageRow> = (0..25).map(|number| row(number % 5, &format!("u{}", number / 5), 1)).collect();
        let whole = report(&rows, &columns, (0, 9), &ALL, plain);
        assert_eq!((whole.rows.len(), &whole.next), (25, &None));
        for limit in [1, 7, 24, 25] {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let paging = Paging::of(Some(limit), cursor.as_deref(), &columns).unwrap();
                let page = report(&rows, &columns, (0, 9), &paging, plain);
                assert!((1..=limit).contains(&page.rows.len()) && page.total == whole.total, "{limit}");
                seen.extend(page.rows);
                (cursor, pages) = (page.next, pages + 1);
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!((seen, pages), (whole.rows.clone(), 25_usize.div_ceil(limit)), "{limit}");
        }
        let other = Paging::cursor(&["u1".to_owned()]);
        for (limit, cursor) in [(Some(0), None), (Some(MAX_ROWS + 1), None), (None, Some("?")), (None, Some(&*other))] {
            assert!(Paging::of(limit, cursor, &columns).is_err(), "{limit:?} {cursor:?}");
        }
    }

    #[test]
    fn days_are_utc_and_no_more_than_a_year() {
        let now = Timestamp::from_millis(20_393 * 86_400_000 + 5);
        assert_eq!(days(None, None, now).unwrap(), (20_364, 20_393));
        assert_eq!(days(Some("2025-11-01"), Some("2025-11-01"), now).unwrap(), (20_393, 20_393));
        assert!(days(Some("2025-11-02"), Some("2025-11-01"), now).is_err());
        assert!(days(Some("2020-01-01"), None, now).is_err());
        assert!(days(Some("yesterday"), None, now).is_err());
    }

    #[test]
    fn a_name_is_no_formula_and_breaks_no_line() {
        let rows = [row(20_393, "=HYPERLINK(\"x\")", 1), row(20_393, "a,b", 1)];
        let columns = columns("user").unwrap();
        let text = written(&report(&rows, &columns, (20_393, 20_393), &ALL, plain), &columns);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(
            lines[0],
            "user,tasks,input_tokens,cached_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,saved_usd,estimated"
        );
        assert_eq!(lines[1], "\"'=HYPERLINK(\"\"x\"\")\",1,0,0,0,1,0,1.500000000,0.000000000,false");
        assert_eq!(lines[2], "\"a,b\",1,0,0,0,1,0,1.500000000,0.000000000,false");
    }
}
