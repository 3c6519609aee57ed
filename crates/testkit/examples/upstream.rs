//! The scripted model server as a program: what a gateway is put in front of in a benchmark, and what its control
//! talks to directly.
//!
//! ```text
//! cargo run --release -p tidewire-testkit --example upstream -- --port 0 --tokens 50 --first-ms 20 --per-ms 20
//! ```
//! It prints its base URL on a line of its own, serves until it is interrupted or its stdin ends, and then says what it
//! counted. Frames are built once; without pauses an answer is one write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement, run by hand")]

use std::time::Duration;
use tidewire_testkit::upstream::{Fault, Script, Upstream};

const USAGE: &str = "options: --port N --tokens N --first-ms MS --per-ms MS --input-tokens N --models a,b --fail STATUS \
                     --slow-permille N --slow-ms MS --threads N";

struct Options {
    port: u16,
    threads: usize,
    models: Vec<String>,
    script: Script,
}

fn options() -> Options {
    let mut options = Options { port: 0, threads: 1, models: vec!["scripted".to_owned()], script: Script::tokens(50) };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} wants a value; {USAGE}"));
        let number = || value.parse::<u32>().unwrap_or_else(|_| panic!("{name} wants a number; {USAGE}"));
        let script = &mut options.script;
        match name.as_str() {
            "--port" => options.port = u16::try_from(number()).expect("a port"),
            "--tokens" => script.tokens = number(),
            "--first-ms" => script.first_token = Duration::from_millis(number().into()),
            "--per-ms" => script.per_token = Duration::from_millis(number().into()),
            "--input-tokens" => script.input_tokens = number().into(),
            "--models" => options.models = value.split(',').map(str::to_owned).collect(),
            "--fail" => script.fault = Some(Fault::status(u16::try_from(number()).expect("a status"))),
            "--slow-permille" => script.slow.0 = number(),
            "--slow-ms" => script.slow.1 = Duration::from_millis(number().into()),
            "--threads" => options.threads = number() as usize,
            _ => panic!("{name} is no option; {USAGE}"),
        }
    }
    options
}

fn main() {
    let options = options();
    // One thread by default: nothing is stolen between threads, and a benchmark has no more than two cores.
    let mut builder = match options.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    builder.enable_all().build().unwrap().block_on(serve(options));
}

async fn serve(options: Options) {
    let upstream = Upstream::counting(options.port, options.script.clone()).expect("the port is free");
    for model in &options.models {
        upstream.play_to(model, options.script.clone());
    }
    println!("{}", upstream.url());
    // A script that has started it and dies takes it along.
    let orphaned = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        _ = orphaned => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let counts = upstream.counts();
    println!("{} calls, {} tokens, {} cancelled", counts.calls, counts.tokens, counts.cancelled);
    // The thread that reads stdin can't be ended otherwise.
    std::process::exit(0);
}
