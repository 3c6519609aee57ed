//! `tidewire backup` of a server under load, `tidewire restore`, and a server that starts from it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use support::{PATIENCE, Server, ask, script_text, scripted, task};
use tidewire_client::{Answer, Follow};

/// Runs the program to its end.
async fn tidewire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    command.args(arguments);
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(PATIENCE, running).await.expect("the command ends").unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

async fn text(mut log: Follow) -> (String, serde_json::Value) {
    let mut answer = Answer::default();
    while let Some(batch) = log.next().await {
        for event in batch.unwrap().events().unwrap() {
            answer.apply(&event);
        }
    }
    (answer.text().to_owned(), answer.end().cloned().expect("every task ends"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_from_a_backup_that_was_made_under_load_and_runs_what_was_queued() {
    const TOKENS: usize = 30;
    let server = Server::start(&scripted(4));
    let session = server.session().await;
    let mut acknowledged = Vec::new();
    for number in 0..40 {
        let seed = format!("t{number}-");
        let script = serde_json::json!({ "tokens": TOKENS, "delay_ms": 10, "seed": seed });
        acknowledged.push((seed, session.submit(task(script)).await.unwrap().ack.task));
    }
    // Some have ended by now, four run, the others wait; and more come while the backup is made.
    let going_on = tokio::spawn(async move {
        for number in 0..40 {
            let script = serde_json::json!({ "tokens": 5, "delay_ms": 5, "seed": format!("later{number}-") });
            session.submit(task(script)).await.unwrap();
        }
        session
    });
    let kept = tempfile::tempdir().unwrap();
    let file = text_of(&kept.path().join("backup"));
    let made = tidewire(&["backup", "--url", &server.url, &file]).await;
    assert!(made.status.success(), "{}", said(&made));
    assert!(!Path::new(&format!("{file}.partial")).exists());
    drop(going_on.await.unwrap());
    let again = tidewire(&["backup", "--url", &server.url, &file]).await;
    assert!(!again.status.success() && said(&again).contains("choose another name"), "{}", said(&again));
    let checked = tidewire(&["backup", "verify", &file]).await;
    assert!(checked.status.success() && said(&checked).contains("is whole"), "{}", said(&checked));
    drop(server);

    let mut server = Server::start(&scripted(4));
    server.terminate();
    let data = server.dir.path().join("data");
    let refused = tidewire(&["restore", &file, "--data", &text_of(&data)]).await;
    assert!(!refused.status.success() && said(&refused).contains("not empty"), "{}", said(&refused));
    std::fs::remove_dir_all(&data).unwrap();
    let restored = tidewire(&["restore", &file, "--data", &text_of(&data)]).await;
    assert!(restored.status.success(), "{}", said(&restored));
    server.restart();
    let session = server.session().await;
    for (seed, id) in acknowledged {
        let log = session.follow(&id, None).await.expect("what was acknowledged before the backup is in it");
        let (text, end) = tokio::time::timeout(PATIENCE, text(log)).await.expect("the task ends");
        assert_eq!((text, &end["state"]), (script_text(&seed, TOKENS), &"done".into()), "{seed}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sites_pages_can_t_have_a_backup_made() {
    let server = Server::start(&scripted(1));
    let (status, _, body) = ask(&server, "POST", "/v1/backup", "origin: https://evil.example\r\n", "").await;
    assert!(status == 403 && body.contains("origin_not_allowed"), "{status}: {body}");
    let (status, ..) = ask(&server, "GET", "/v1/backup", "", "").await;
    assert_eq!(status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_is_checked_once_its_server_has_ended_and_damage_is_an_exit_code() {
    let mut server = Server::start(&scripted(2));
    let session = server.session().await;
    let log = session.submit(task(serde_json::json!({ "tokens": 5, "seed": "t-" }))).await.unwrap().log;
    text(log).await;
    let data = text_of(&server.dir.path().join("data"));
    let held = tidewire(&["data", "check", "--data", &data]).await;
    assert_eq!(held.status.code(), Some(2), "{}", said(&held));
    assert!(said(&held).contains(&format!("in use by process {}", server.pid())), "{}", said(&held));
    server.terminate();
    let checked = tidewire(&["data", "check", "--data", &data]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    assert!(said(&checked).contains("1 done") && said(&checked).contains("all is well"), "{}", said(&checked));
    let info = tidewire(&["data", "info", "--json", "--data", &data]).await;
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!((&info["tasks"]["done"], &info["logs_ended"]), (&1.into(), &1.into()));
    let nothing = tidewire(&["data", "check", "--data", &text_of(server.dir.path())]).await;
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));

    {
        let db = fjall::Database::builder(Path::new(&data).join("store")).open().unwrap();
        let settlements = db.keyspace("settlements", fjall::KeyspaceCreateOptions::default).unwrap();
        let settled = settlements.iter().next().unwrap().key().unwrap();
        settlements.remove(settled).unwrap();
    }
    let damaged = tidewire(&["data", "check", "--data", &data]).await;
    assert_eq!(damaged.status.code(), Some(1), "{}", said(&damaged));
    assert!(said(&damaged).contains("DAMAGE settlement: task_"), "{}", said(&damaged));
}
