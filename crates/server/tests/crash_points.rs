//! A kill at a chosen point between a commit and its ack, and one idempotency key over it.
//!
//! strace kills the server as it enters a chosen system call, so that the binary under test is the one that is
//! shipped: the first send of a socket is after the commit and before its ack; the n-th `fdatasync` of the thread that
//! commits is after the n-th commit was written and before anybody was told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use std::sync::{Arc, Mutex};
use support::seen::{Seen, assert_kept, read};
use support::{PATIENCE, Server, number_from_env, script_text, scripted, try_ask};
use tokio::sync::watch;
use tokio::task::JoinSet;

const TOKENS: usize = 6;
const SIGKILL: i32 = 9;

fn body(seed: &str) -> String {
    format!(
        r#"{{"input":{{"messages":[{{"role":"user","content":"go"}}],"script":{{"tokens":{TOKENS},"delay_ms":5,"seed":"{seed}"}}}}}}"#
    )
}

/// Submits with a key. The status and the answer, or nothing where the connection ended without one.
async fn submit(server: &Server, key: &str, seed: &str) -> Option<(u16, serde_json::Value)> {
    let header = format!("idempotency-key: {key}\r\n");
    let (status, _, body) = try_ask(server, "POST", "/v1/tasks", &header, &body(seed)).await.ok()?;
    (status != 0).then(|| (status, serde_json::from_str(&body).unwrap()))
}

fn id(answer: &serde_json::Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn all_tasks(server: &Server) -> Vec<String> {
    let filter = tidewire_client::Filter { limit: Some(100), ..tidewire_client::Filter::default() };
    server.http().tasks(&filter).await.unwrap().tasks.into_iter().map(|task| task.id).collect()
}

async fn text(server: &Server, task: &str) -> String {
    server.http().text(task, Some(PATIENCE)).await.unwrap()
}

/// A server whose store is made, started again so that strace kills it at a call.
fn killed_at(call: &str) -> Server {
    let mut server = Server::start(&scripted(4));
    assert_eq!(server.terminate(), Some(0));
    let calls = call.split(':').next().unwrap();
    let (trace, inject) = (format!("trace={calls}"), format!("inject={call}"));
    server.restart_under(&["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sent_fifty_times_at_once_gives_one_task() {
    let server = Arc::new(Server::start(&scripted(4)));
    let mut sending = JoinSet::new();
    for _ in 0..50 {
        let server = server.clone();
        sending.spawn(async move { submit(&server, "one", "w").await.unwrap() });
    }
    let answers = sending.join_all().await;
    let first = id(&answers[0].1);
    assert!(answers.iter().all(|(_, answer)| id(answer) == first), "{answers:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1, "one of them made it");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 49, "the others found it");
    let (status, refused) = submit(&server, "one", "another").await.unwrap();
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("idempotency_conflict")), "{refused}");
    assert_eq!(text(&server, &first).await, script_text("w", TOKENS));
    assert_eq!(all_tasks(&server).await, [first]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sent_over_a_kill_between_commit_and_ack_gives_one_task() {
    for round in 0..number_from_env("TIDEWIRE_TEST_CRASH_POINTS", 1) {
        let mut server = killed_at("sendto,writev,sendmsg:signal=KILL:when=1");
        assert_eq!(submit(&server, "key", "w").await, None, "round {round}: the ack got out");
        assert_eq!(server.wait(), Some(SIGKILL));
        server.restart();
        let stored = all_tasks(&server).await;
        assert_eq!(stored.len(), 1, "round {round}: it was committed before the ack");
        let (status, answer) = submit(&server, "key", "w").await.unwrap();
        assert_eq!((status, id(&answer)), (200, stored[0].clone()), "round {round}: the task of the store");
        let (status, refused) = submit(&server, "key", "another").await.unwrap();
        assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("idempotency_conflict")));
        assert_eq!(text(&server, &stored[0]).await, script_text("w", TOKENS));
        assert_eq!(all_tasks(&server).await, stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_each_commit_of_a_tasks_life_loses_nothing_and_doubles_nothing() {
    // The submit, the appends (a lease goes with the first), the end.
    let most = number_from_env("TIDEWIRE_TEST_CRASH_POINTS", 1) as u64 * 4;
    for commit in 1..=most {
        let mut server = killed_at(&format!("fdatasync:signal=KILL:when={commit}"));
        let (over, told) = watch::channel(false);
        let acked = submit(&server, "key", "w").await.map(|(_, answer)| id(&answer));
        let seen = Mutex::new(Seen { acked: acked.iter().cloned().collect(), ..Seen::default() });
        if let Some(task) = &acked {
            read(&server, task, &seen, &told).await;
        }
        over.send_replace(true);
        let ended = seen.lock().unwrap().shown.values().any(|runs| runs.last().is_some_and(support::seen::Run::is_end));
        if ended {
            // So few commits is a task's whole life.
            assert!(commit > 2, "the submit and the end are two commits at least");
            server.kill();
        }
        server.wait();
        server.restart();
        let seen = seen.into_inner().unwrap();
        assert_kept(&server, &seen, &format!("a kill at commit {commit}")).await;
        let (_, answer) = submit(&server, "key", "w").await.unwrap();
        let task = id(&answer);
        assert!(acked.is_none_or(|acked| acked == task), "commit {commit}: the key gave another task");
        assert_eq!(text(&server, &task).await, script_text("w", TOKENS), "commit {commit}");
        assert_eq!(all_tasks(&server).await, [task], "commit {commit}");
    }
}
