//! What operators type against a running server: `tidewire routes` and `tidewire usage`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::keyed::{ADMIN, make_key, start, with_key};
use support::{PATIENCE, Server};
use tidewire_testkit::upstream::{Script, Upstream};

/// Runs a command with a key: what it writes, and what it complains of.
fn tidewire(server: &Server, key: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    command.args(arguments).env("TIDEWIRE_URL", &server.url).env("TIDEWIRE_KEY", key);
    let ran = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.success(), text(ran.stdout), text(ran.stderr))
}

/// What a command writes that must go well.
fn said(server: &Server, arguments: &[&str]) -> String {
    let (well, out, complaint) = tidewire(server, ADMIN, arguments);
    assert!(well, "{arguments:?}: {complaint}");
    out
}

/// A route `r` to an upstream: $2 for a million tokens read, $0.5 for those that were cached, $8 for those written.
fn routes(upstream: &Upstream) -> String {
    format!(
        "[[deployment]]\nname = \"up\"\nbackend = \"openai\"\nurl = \"{}\"\nprice_input = 2.0\nprice_cached_input = 0.5\n\
         price_output = 8.0\n[[route]]\nname = \"r\"\nstrategy = \"fastest\"\ndeployments = [\"up\", \"scripted\"]\n",
        upstream.url()
    )
}

async fn chat(server: &Server, key: &str) {
    let body = json!({ "model": "r", "user": "ann", "messages": [{ "role": "user", "content": "go" }] });
    let (status, answer) = with_key(server, key, "POST", "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Waits until so many tasks are settled: the answer comes before.
async fn until_settled(server: &Server, tasks: u64) {
    let settled = async {
        while with_key(server, ADMIN, "GET", "/v1/usage", &Value::Null).await.1["total"]["tasks"] != tasks {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the tasks are settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_a_table_json_and_csv_of_what_was_used_and_what_it_cost() {
    let upstream = Upstream::start(Script { input_tokens: 1000, cached_tokens: 600, ..Script::tokens(10) });
    let one = routes(&upstream).replace(", \"scripted\"", "");
    let (server, _secrets) = start(&one);
    let (id, key) = make_key(&server, json!({ "name": "app" })).await;
    for _ in 0..2 {
        chat(&server, &key).await;
    }
    until_settled(&server, 2).await;

    let table = said(&server, &["usage", "--by", "key,route"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let head = ["key", "route", "tasks", "input", "cached", "output", "reasoning", "cost", "saved"];
    // 400 at $2, 600 at $0.5 and 10 at $8 for a million, twice.
    let figures = ["2", "2000", "1200", "20", "0", "$0.002360", "$0.000000"];
    assert_eq!(lines[0], head, "{table}");
    assert_eq!(lines[1], [&[id.as_str(), "r"], &figures[..]].concat(), "{table}");
    assert_eq!(lines[2], [&["all"], &figures[..]].concat(), "{table}");
    assert_eq!(lines.len(), 3, "{table}");

    let csv = said(&server, &["usage", "--by", "route,deployment", "--csv"]);
    assert_eq!(
        csv,
        "route,deployment,tasks,input_tokens,cached_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,saved_usd,estimated\r\n\
         r,up,2,2000,1200,0,20,0,0.002360000,0.000000000,false\r\n"
    );
    let report: Value = serde_json::from_str(&said(&server, &["usage", "--json"])).unwrap();
    assert_eq!(report["total"]["cost_usd"], 0.002_36, "{report}");
    assert_eq!(report["rows"][0]["day"], report["to"], "{report}");

    let (well, out, complaint) = tidewire(&server, ADMIN, &["usage", "--by", "colour"]);
    assert!(!well && out.is_empty() && complaint.contains("`group_by`"), "{out}{complaint}");
    let (well, out, complaint) = tidewire(&server, "tw_wrong", &["usage"]);
    assert!(!well && out.is_empty() && !complaint.contains("tw_wrong"), "{out}{complaint}");
    let (well, _, complaint) = tidewire(&server, ADMIN, &["usage", "--csv", "--json"]);
    assert!(!well && complaint.contains("--csv"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_a_table_and_json_and_a_reload_says_what_changed() {
    let upstream = Upstream::start(Script::default());
    let (server, _secrets) = start(&routes(&upstream));
    let table = said(&server, &["routes"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["ROUTE", "STRATEGY", "DEPLOYMENT", "STATE"], "{table}");
    assert_eq!(lines[1][..4], ["r", "fastest", "up", "ok"], "{table}");
    assert_eq!(lines[2][..4], ["r", "fastest", "scripted", "ok"], "{table}");
    assert_eq!(lines.len(), 3, "{table}");
    let list: Value = serde_json::from_str(&said(&server, &["routes", "--json"])).unwrap();
    assert_eq!((&list["routes"][0]["name"], &list["routes"][0]["deployments"][0]["name"]), (&json!("r"), &json!("up")));

    let file = server.dir.path().join("tidewire.toml");
    let config = std::fs::read_to_string(&file).unwrap().replace("fastest", "cheapest");
    std::fs::write(&file, format!("durability = \"write\"\n{config}")).unwrap();
    let (well, table, told) = tidewire(&server, ADMIN, &["routes", "--reload"]);
    assert!(well && table.contains("cheapest") && !table.contains("fastest"), "{table}{told}");
    assert_eq!(told, "changed: route.r\nneeds a restart: durability\n");
    let (_, key) = make_key(&server, json!({ "name": "app" })).await;
    let (well, table, told) = tidewire(&server, &key, &["routes", "--reload"]);
    assert!(!well && table.is_empty(), "no key of an application reloads: {table}{told}");
}

#[test]
fn the_guide_to_the_configuration_has_the_reference_as_the_program_prints_it() {
    let ran = Command::new(env!("CARGO_BIN_EXE_tidewire")).args(["config", "reference"]).output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    let guide = include_str!("../../../docs/configuration.md");
    // The first block is an example.
    let block = guide.split("```toml\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let differs = printed.lines().zip(block.lines()).find(|(printed, guide)| printed != guide);
    assert!(printed.trim_end() == block.trim_end(), "the second block of docs/configuration.md differs: {differs:?}");
}
