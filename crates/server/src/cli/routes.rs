//! `tidewire routes`: the public models, and how the deployments behind them are.

use super::Outcome;
use super::remote::Remote;
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;
use tidewire_client::Http;
use tidewire_client::proto::routes::{DeploymentView, RouteList, RouteView};

/// Arguments of `tidewire routes`.
#[derive(Args, Debug)]
pub(crate) struct RoutesArgs {
    #[command(flatten)]
    remote: Remote,
    /// Read the server's configuration again first, and say what changed
    #[arg(long)]
    reload: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: RoutesArgs) -> Outcome {
    let http = Http::new(&args.remote.endpoint())?;
    if args.reload {
        let reloaded = http.reload().await?;
        let said = |paths: &[String]| if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") };
        writeln!(io::stderr(), "changed: {}", said(&reloaded.changed))?;
        if !reloaded.needs_restart.is_empty() {
            writeln!(io::stderr(), "needs a restart: {}", said(&reloaded.needs_restart))?;
        }
    }
    let list = http.routes().await?;
    let text = if args.json { serde_json::to_string(&list)? + "\n" } else { table(&list) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each deployment of each route.
fn table(list: &RouteList) -> String {
    let head = ["ROUTE", "STRATEGY", "DEPLOYMENT", "STATE", "LEFT", "TTFT", "TPOT", "OUT", "OK", "FAILED"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(list.routes.iter().flat_map(|route| route.deployments.iter().map(|deployment| row(route, deployment))));
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 10]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(route: &RouteView, deployment: &DeploymentView) -> [String; 10] {
    let state = match (deployment.down, deployment.retry_after_ms, deployment.breaker.as_str()) {
        (true, _, _) => "down".to_owned(),
        (_, Some(wait), _) => format!("asks to wait {} s", wait.div_ceil(1000)),
        (_, _, "closed") if deployment.available => "ok".to_owned(),
        (_, _, "closed") => "limit reached".to_owned(),
        (_, _, state) => state.replace('_', "-"),
    };
    let time = |millis: Option<f64>| millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.0} ms"));
    let ok = deployment.outcomes.get("ok").copied().unwrap_or(0);
    let failed: u64 = deployment
        .outcomes
        .iter()
        .filter(|(name, _)| !["ok", "cut"].contains(&name.as_str()))
        .map(|(_, count)| count)
        .sum();
    [
        if route.takes_any { format!("{} (any name)", route.name) } else { route.name.clone() },
        route.strategy.clone(),
        deployment.name.clone(),
        state,
        format!("{:.0} %", deployment.headroom * 100.0),
        time(deployment.ttft_ms),
        time(deployment.tpot_ms),
        deployment.requests.to_string(),
        ok.to_string(),
        failed.to_string(),
    ]
}
