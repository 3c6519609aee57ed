//! `tidewire doctor`: what is missing on this machine, and how to mend it.

use super::Outcome;
use crate::config;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidewire_client::Stopwatch;

/// Descriptors below which connections run out soon: each takes one.
const FEW_DESCRIPTORS: u64 = 4096;

/// How often the disk is asked to sync.
const SYNCS: usize = 20;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,
    /// An upstream to ask for its models; repeatable
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
}

/// A finding: fine, worth knowing, or in the way.
enum Finding {
    Fine(String),
    Note(String),
    Wrong(String),
}

pub(crate) async fn run(args: DoctorArgs) -> Outcome {
    let mut findings = Vec::new();
    match config::load(args.config.as_deref(), config::variables()) {
        Ok(config) => {
            findings.push(Finding::Fine("configuration can be read".to_owned()));
            findings.push(port(&config));
            findings.extend(data(&config.data));
            for deployment in &config.deployment {
                if let Some(key_env) = deployment.key_env.as_deref().filter(|name| config::variable(name).is_none()) {
                    findings.push(Finding::Wrong(format!("`{}` wants its key in {key_env}: set it", deployment.name)));
                }
            }
        }
        Err(error) => findings.push(Finding::Wrong(error.to_string())),
    }
    findings.push(built_in());
    findings.push(descriptors());
    for url in &args.upstream {
        findings.push(upstream(url).await);
    }
    report(&findings)
}

fn report(findings: &[Finding]) -> Outcome {
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for finding in findings {
        match finding {
            Finding::Fine(text) => writeln!(out, "ok     {text}")?,
            Finding::Note(text) => writeln!(out, "note   {text}")?,
            Finding::Wrong(text) => {
                code = ExitCode::FAILURE;
                writeln!(out, "WRONG  {text}")?;
            }
        }
    }
    Ok(code)
}

fn port(config: &config::Config) -> Finding {
    match std::net::TcpListener::bind(config.listen) {
        Ok(_) => Finding::Fine(format!("{} is free", config.listen)),
        Err(error) => Finding::Note(format!(
            "{}: {error}. A server may be running there already; `--listen 127.0.0.1:0` takes a free port",
            config.listen
        )),
    }
}

/// Whether the data directory can be written, and how long its disk takes to sync: the ack waits for it.
fn data(path: &Path) -> Vec<Finding> {
    if let Err(error) = std::fs::create_dir_all(path) {
        return vec![Finding::Wrong(format!("the data directory {} can't be made: {error}", path.display()))];
    }
    let probe = path.join("doctor.probe");
    let measured = sync_times(&probe);
    // The probe is of no use to anybody else.
    let _ = std::fs::remove_file(&probe);
    match measured {
        Ok(mut millis) => {
            millis.sort_by(f64::total_cmp);
            let (median, worst) = (millis[millis.len() / 2], millis[millis.len() - 1]);
            let times = format!("a sync takes {median:.1} ms, at worst {worst:.1} ms: an ack waits for one");
            vec![Finding::Fine(format!("{} can be written; {times}", path.display()))]
        }
        Err(error) => vec![Finding::Wrong(format!("the data directory {} can't be written: {error}", path.display()))],
    }
}

fn sync_times(probe: &Path) -> std::io::Result<Vec<f64>> {
    let mut file = std::fs::File::create(probe)?;
    let mut millis = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096])?;
        let watch = Stopwatch::start();
        file.sync_data()?;
        millis.push(watch.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(millis)
}

#[cfg(feature = "local")]
fn built_in() -> Finding {
    let weights = config::cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    for weights in [weights, config::cache().join(config::EMBEDDINGS)] {
        if !weights.exists() {
            return Finding::Wrong(format!(
                "the built-in model is not at {}: `make model` fetches it",
                weights.display()
            ));
        }
    }
    Finding::Fine(format!("the built-in models are in {}", config::cache().join("models").display()))
}

#[cfg(not(feature = "local"))]
fn built_in() -> Finding {
    Finding::Note(
        "this program was built without the built-in model: `make run` builds it in; without it, name an upstream with \
         `serve --upstream URL`"
            .to_owned(),
    )
}

fn descriptors() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)).and_then(|text| text.parse::<u64>().ok());
    match soft {
        Some(soft) if soft < FEW_DESCRIPTORS => Finding::Note(format!(
            "a process may open {soft} files, and each connection is one: `ulimit -n 20000` before serving thousands"
        )),
        Some(soft) => Finding::Fine(format!("a process may open {soft} files")),
        None => Finding::Note("how many files a process may open can't be read here".to_owned()),
    }
}

async fn upstream(url: &str) -> Finding {
    match crate::wiring::models_of(url).await {
        Ok(models) => Finding::Fine(format!("{url} has {} models", models.len())),
        Err(error) => Finding::Wrong(format!("{url}: {error}")),
    }
}
