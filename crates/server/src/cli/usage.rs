//! `tidewire usage`: what was used and what it cost.

use super::Outcome;
use super::remote::Remote;
use super::task::print;
use clap::Args;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use tidewire_client::proto::usage::{UsageLine, UsageReport, UsageSums};
use tidewire_client::{Http, UsageFilter};

/// Arguments of `tidewire usage`.
#[derive(Args, Debug)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    remote: Remote,
    /// The first day, such as 2026-11-01, in UTC; 30 days unless told otherwise
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day; today unless told otherwise
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// What rows are told apart by: some of day, tenant, key, user, route, deployment
    #[arg(long, value_name = "COLUMNS", default_value = "day")]
    by: String,
    /// Another tenant's, or `all`; for operators
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Write CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: UsageArgs) -> Outcome {
    let UsageArgs { remote, from, to, by, tenant, csv, json } = args;
    let http = Http::new(&remote.endpoint())?;
    let filter = UsageFilter { from, to, group_by: Some(by), tenant };
    if csv {
        io::stdout().write_all(http.usage_csv(&filter).await?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = http.usage(&filter).await?;
    print(json, &report, || table(&report))
}

fn table(report: &UsageReport) -> String {
    let mut rows: Vec<Vec<String>> = vec![report.group_by.iter().cloned().chain(titles()).collect()];
    rows.extend(report.rows.iter().map(|line| names(report, line).into_iter().chain(figures(&line.sums)).collect()));
    let blank =
        report.group_by.iter().enumerate().map(|(place, _)| if place == 0 { "all".to_owned() } else { String::new() });
    rows.push(blank.chain(figures(&report.total)).collect());
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let named = report.group_by.len();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, value) in row.iter().enumerate() {
            let width = widths[column];
            // Names to the left, figures to the right. Writing to a string can't fail.
            let _ = if column < named { write!(line, "{value:<width$}  ") } else { write!(line, "{value:>width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn titles() -> [String; 7] {
    ["tasks", "input", "cached", "output", "reasoning", "cost", "saved"].map(str::to_owned)
}

fn names(report: &UsageReport, line: &UsageLine) -> Vec<String> {
    let value = |name: &str| match name {
        "day" => &line.day,
        "tenant" => &line.tenant,
        "key" => &line.key,
        "user" => &line.user,
        "route" => &line.route,
        _ => &line.deployment,
    };
    let shown = |name: &String| value(name).as_deref().filter(|value| !value.is_empty()).unwrap_or("-").to_owned();
    report.group_by.iter().map(shown).collect()
}

fn figures(sums: &UsageSums) -> [String; 7] {
    // `~`: a part of it is an estimate.
    let about = if sums.estimated { "~" } else { "" };
    [
        sums.tasks.to_string(),
        format!("{about}{}", sums.input_tokens),
        sums.cached_tokens.to_string(),
        format!("{about}{}", sums.output_tokens),
        sums.reasoning_tokens.to_string(),
        format!("{about}${:.6}", sums.cost_usd),
        format!("${:.6}", sums.saved_usd),
    ]
}
