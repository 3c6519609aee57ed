//! A disk that is full: the server says so, takes nothing that it can't keep, and goes on by itself once there is
//! room, with all that it had acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use std::fs::{File, read_to_string};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{PATIENCE, Server, ask, script_text, scripted, task};
use tidewire_client::{Answer, Follow, Session};

const TASKS: usize = 12;
const TOKENS: usize = 60;

/// Mounts a small file system of its own for the server; it goes with the process.
const MOUNT: &str = r#"for word; do [ "$last" = --data ] && data=$word; last=$word; done
mkdir -p "$data" && mount -t tmpfs -o size=32m tmpfs "$data" && exec "$@""#;
/// Takes a write beyond the limit for an error and not for the end. The log is a file that may not grow either: a
/// server that can't say what is wrong goes on all the same.
const LIMIT: &str = r#"for word; do [ "$last" = --data ] && data=$word; last=$word; done
trap "" XFSZ; exec "$@" 2>"$data.log""#;

/// How the disk is made full.
enum Tight {
    /// A file system of 32 MiB, filled with a file.
    Mount { ballast: PathBuf },
    /// Where nothing may be mounted: no file may grow.
    Limit { pid: u32 },
}

impl Tight {
    fn start(config: &str) -> (Self, Server) {
        for unshare in [&["unshare", "--mount"][..], &["unshare", "--map-root-user", "--mount"]] {
            let probe = ["sh", "-c", "mount -t tmpfs tmpfs /mnt"];
            let can = Command::new(unshare[0]).args(&unshare[1..]).args(probe).stderr(Stdio::null()).status();
            if can.is_ok_and(|status| status.success()) {
                let wrapper = [unshare, &["sh", "-c", MOUNT, "sh"]].concat();
                let server = Server::start_under(config, &wrapper);
                let inside = format!("/proc/{}/root{}", server.pid(), server.dir.path().display());
                return (Self::Mount { ballast: PathBuf::from(inside).join("data/ballast") }, server);
            }
        }
        Self::limited(config)
    }

    fn limited(config: &str) -> (Self, Server) {
        let server = Server::start_under(config, &["sh", "-c", LIMIT, "sh"]);
        (Self::Limit { pid: server.pid() }, server)
    }

    fn fill(&self) {
        match self {
            Self::Mount { ballast } => {
                let mut file = File::create(ballast).unwrap();
                for chunk in [1 << 20, 1 << 12] {
                    let refused = loop {
                        if let Err(error) = file.write_all(&vec![1; chunk]) {
                            break error;
                        }
                    };
                    assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
                }
            }
            Self::Limit { pid } => limit(*pid, "--fsize=1000:unlimited"),
        }
    }

    fn free(&self) {
        match self {
            Self::Mount { ballast } => std::fs::remove_file(ballast).unwrap(),
            Self::Limit { pid } => limit(*pid, "--fsize=unlimited"),
        }
    }
}

fn limit(pid: u32, limit: &str) {
    let set = Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).status().unwrap();
    assert!(set.success());
}

fn scripted_task(seed: &str, delay_ms: u64) -> tidewire_proto::Submission {
    task(serde_json::json!({ "tokens": TOKENS, "delay_ms": delay_ms, "seed": seed }))
}

/// Follows to the end: each event once, in order, and the text that stands at the end.
async fn read(mut log: Follow) -> (String, serde_json::Value) {
    let (mut answer, mut next) = (Answer::default(), 0);
    while let Some(batch) = log.next().await {
        let batch = batch.expect("a follower of a task that waits for the disk is not told anything false");
        assert!(!batch.starts_over, "a durable log was not resumed");
        for event in batch.events().unwrap() {
            assert_eq!(event.offset, next, "a gap, a double or a step back");
            next = event.next();
            answer.apply(&event);
        }
    }
    (answer.text().to_owned(), answer.end().cloned().expect("every acknowledged task ends"))
}

/// Asks until the server is ready, or is not. What it says then.
async fn until_ready(server: &Server, ready: bool) -> String {
    let asking = async {
        loop {
            let (status, _, body) = ask(server, "GET", "/readyz", "", "").await;
            assert!(status == 200 || status == 503, "{status}: {body}");
            if (status == 200) == ready {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server notices what its disk does")
}

/// Submits until the disk refuses. The refusal, and what was acknowledged before it.
async fn submit_until_refused(server: &Server, session: &Session) -> Vec<(String, Follow)> {
    let mut acknowledged = Vec::new();
    for number in 0..5000 {
        let seed = format!("late{number}-");
        match session.submit(scripted_task(&seed, 0)).await {
            Ok(submitted) => acknowledged.push((seed, submitted.log)),
            Err(error) => {
                assert!(error.to_string().contains("unavailable"), "{error}");
                break;
            }
        }
    }
    let (status, head, body) = ask(server, "POST", "/v1/tasks", "", r#"{"prompt":"more"}"#).await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after:") && body.contains(r#""code":"unavailable""#), "{head}{body}");
    acknowledged
}

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("tidewire_{name} ")));
    let value = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

async fn demand_that_the_server_goes_on(tight: Tight, server: Server) {
    let session = server.session().await;
    let mut acknowledged = Vec::new();
    for number in 0..TASKS {
        let seed = format!("early{number}-");
        let submitted = session.submit(scripted_task(&seed, 20)).await.unwrap();
        acknowledged.push((seed, submitted.log));
    }
    tight.fill();
    acknowledged.extend(submit_until_refused(&server, &session).await);
    let told = until_ready(&server, false).await;
    assert!(told.contains("refuses writes") && told.contains("by itself"), "{told}");
    let metrics = server.http().metrics().await.unwrap();
    assert_eq!((metric(&metrics, "takes_changes"), metric(&metrics, "disk_failures_total")), (0, 1));

    // What needs no disk goes on.
    let mut transient = scripted_task("transient-", 0);
    transient.durability = Some("transient".to_owned());
    let submitted = session.submit(transient).await.unwrap();
    let (text, end) = tokio::time::timeout(PATIENCE, read(submitted.log)).await.expect("it ends");
    assert_eq!((text, &end["state"]), (script_text("transient-", TOKENS), &"done".into()));

    tight.free();
    until_ready(&server, true).await;
    for (seed, log) in acknowledged {
        let (text, end) = tokio::time::timeout(PATIENCE, read(log)).await.expect("the task ends");
        assert_eq!((text, &end["state"]), (script_text(&seed, TOKENS), &"done".into()), "{seed}: {end}");
    }
    let metrics = server.http().metrics().await.unwrap();
    assert_eq!((metric(&metrics, "takes_changes"), metric(&metrics, "disk_recoveries_total")), (1, 1));
    let status = read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("State:"), "it is the same process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_says_so_and_goes_on_by_itself_once_there_is_room() {
    let (tight, server) = Tight::start(&format!("[limits]\ndata_free_bytes = 0\n{}", scripted(8)));
    demand_that_the_server_goes_on(tight, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_files_may_not_grow_says_so_and_goes_on_by_itself_once_they_may() {
    let (tight, server) = Tight::limited(&format!("[limits]\ndata_free_bytes = 0\n{}", scripted(8)));
    demand_that_the_server_goes_on(tight, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_nearly_full_takes_no_new_tasks_and_says_why() {
    let config = format!("[limits]\ndata_free_bytes = {}\n{}", u64::MAX / 4, scripted(8));
    let server = Server::start(&config);
    let told = until_ready(&server, false).await;
    assert!(told.contains("limits.data_free_bytes"), "{told}");
    let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"more"}"#).await;
    assert!(status == 503 && body.contains("free some space"), "{status}: {body}");
    let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"x","durability":"transient"}"#).await;
    assert_eq!(status, 202, "{body}");
}
