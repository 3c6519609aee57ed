//! `tidewire data`: what is in a data directory that no server has, and whether it is well.

use super::progress::{Of, bar};
use super::terminal::Terminal;
use super::{Outcome, load};
use crate::wiring::store::{self, Progress, Report};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The directory could not be looked at: neither well nor not.
const NOT_CHECKED: u8 = 2;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Check every record, and that what belongs together is there. Exit code 0: well, 1: findings, 2: not checked
    Check(DataArgs),
    /// Say what it holds: format, tasks, logs, sizes
    Info(DataArgs),
}

#[derive(Args)]
pub(crate) struct DataArgs {
    /// The data directory; the configured one unless named
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &DataCommand) -> Outcome {
    let (args, checked) = match command {
        DataCommand::Check(args) => (args, true),
        DataCommand::Info(args) => (args, false),
    };
    let data = match &args.data {
        Some(data) => data.clone(),
        None => load(args.config.as_deref())?.data,
    };
    let bar = bar(Of::Values, if checked { "checking" } else { "counting" });
    let mut told = |progress: Progress| {
        bar.set_length(progress.of);
        bar.set_position(progress.done);
    };
    let looked = if checked { store::check(&data, &mut told) } else { store::info(&data, &mut told) };
    bar.finish_and_clear();
    let terminal = Terminal::detect();
    let report = match looked {
        Ok(report) => report,
        Err(error) => {
            terminal.note(&format!("error: {error}"))?;
            return Ok(ExitCode::from(NOT_CHECKED));
        }
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { shown(&report, checked) };
    terminal.write(&text)?;
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A report for people.
fn shown(report: &Report, checked: bool) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for finding in &report.findings {
        let severity = if finding.is_damage() { "DAMAGE" } else { "loose " };
        let _ = writeln!(text, "{severity} {}: {}: {}", finding.code, finding.place, finding.what);
        let _ = writeln!(text, "       {}", finding.advice);
    }
    if report.more_findings > 0 {
        let _ = writeln!(text, "and {} more", report.more_findings);
    }
    let tasks: Vec<_> = report.tasks.iter().filter(|(_, count)| **count > 0).collect();
    let tasks: Vec<_> = tasks.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let _ = writeln!(text, "format   {}", report.format);
    let _ = writeln!(text, "tasks    {}", if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") });
    let _ = writeln!(text, "logs     {} live, {} ended", report.logs_live, report.logs_ended);
    let _ = writeln!(text, "events   {}", report.events);
    let _ = writeln!(text, "on disk  {} in tables", HumanBytes(report.disk_bytes.values().sum()));
    for (name, values) in report.values.iter().filter(|(_, values)| **values > 0) {
        let bytes = report.disk_bytes.get(name).copied().unwrap_or_default();
        let _ = writeln!(text, "         {name:12} {values:>12} values {:>12}", HumanBytes(bytes).to_string());
    }
    if checked {
        let findings = report.findings.len() as u64 + report.more_findings;
        let verdict = if findings == 0 { "all is well".to_owned() } else { format!("{findings} findings") };
        let _ = writeln!(text, "{verdict}");
    }
    text
}
