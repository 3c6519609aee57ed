//! The disk fails under a running server: from then on nothing is acknowledged that the disk has not confirmed, and
//! nothing that was acknowledged or shown is gone.
//!
//! strace makes syncs fail; the counters are per thread, and one thread commits. What the disk would hold had the
//! power failed too is rebuilt from a record of the run, and a server without faults is started on it.
//!
//! `make test` tries a few places; `make soak` sets `TIDEWIRE_TEST_DISK_FAILURES=40`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "disk_failures/crowd.rs"]
mod crowd;
mod support;

use crowd::Crowd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::seen::{Seen, assert_kept};
use support::{PATIENCE, Server, ask, number_from_env, scripted};
use tempfile::TempDir;
use tidewire_testkit::disk::{Record, Unsynced, wrapper};
use tidewire_testkit::random::Random;

const SEED: u64 = 0xD15C;
/// Opening a store that is there takes fewer syncs than this, on its one thread.
const FIRST: u64 = 40;
const SLOTS: usize = 8;

/// Waits until a condition holds, and tells stuck from slow.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A server whose store is made, and a copy of its data as it is then.
fn made() -> (Server, TempDir) {
    let mut server = Server::start(&scripted(SLOTS));
    assert_eq!(server.terminate(), Some(0));
    let before = tempfile::tempdir().unwrap();
    copy(&server.dir.path().join("data"), before.path());
    (server, before)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Loads a server until its disk fails, and answers what was acknowledged and shown.
async fn load_until_failure(server: &Arc<Server>) -> Seen {
    let crowd = Crowd::start(server);
    until("the server says that it can't take work", async || ask(server, "GET", "/readyz", "", "").await.0 == 503)
        .await;
    let (_, _, body) = ask(server, "GET", "/readyz", "", "").await;
    let ready: serde_json::Value = serde_json::from_str(&body).unwrap();
    // With recovery it may be ready again by now; else it says why it is not.
    assert!(ready["ready"] == true || ready["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{ready}");
    crowd.end().await
}

/// A server under strace whose syncs fail with `error` as `when` says, and then loses its power.
async fn syncs_fail(error: &str, when: &str) {
    let (mut server, before) = made();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut words = wrapper(trace.path());
    words.splice(1..1, ["-e".to_owned(), format!("inject=fsync,fdatasync:error={error}:when={when}")]);
    server.restart_under(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let server = Arc::new(server);
    let seen = load_until_failure(&server).await;
    let forever = when.ends_with('+');
    for _ in 0..10 {
        let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"after"}"#).await;
        // With every sync failing there is no way back; else there may be one, but not without a new look at the disk.
        assert!(!forever || status == 503, "{error} {when}: {status} {body}");
    }
    assert!(!seen.acked.is_empty(), "{error} {when}: nothing was acknowledged before the failure");
    let data = server.dir.path().join("data");
    let pid = server.pid();
    let mut server = Arc::into_inner(server).expect("the crowd has ended");
    server.kill();
    // A number of fewer than five digits is padded.
    let ended = format!("{pid:<5} +++ killed");
    until("the tracer ends with the server", async || std::fs::read_to_string(trace.path()).unwrap().contains(&ended))
        .await;
    let record = Record::read(trace.path(), &data, before.path()).unwrap();
    for unsynced in [Unsynced::Lost, Unsynced::Kept] {
        replace(&data, |data| record.rebuild(record.ops().len(), unsynced).write_to(data).unwrap());
        server.restart();
        assert_kept(&server, &seen, &format!("{error} {when} {unsynced:?}")).await;
        server.kill();
    }
}

fn replace(data: &PathBuf, fill: impl FnOnce(&Path)) {
    std::fs::remove_dir_all(data).unwrap();
    std::fs::create_dir(data).unwrap();
    fill(data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_that_the_disk_has_not_confirmed() {
    let mut random = Random::new(SEED);
    for number in 0..number_from_env("TIDEWIRE_TEST_DISK_FAILURES", 2) {
        let place = FIRST + random.below(if number < 4 { 20 } else { 300 });
        let error = ["EIO", "ENOSPC"][number % 2];
        // From there on, or only once: after that a sync would seem to succeed, and what it lost stays lost.
        let when = format!("{place}{}", if number / 2 % 2 == 0 { "+" } else { "" });
        syncs_fail(error, &when).await;
        println!("{error} at sync {when}: nothing that was acknowledged or shown is gone");
    }
}

/// A file system in memory, so small that it fills up. Unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` without the right to mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }

    fn resize(&self, size: &str) {
        let remount = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &remount]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    // Without the part of the disk that is kept free: here it is to be full.
    let mut server = Server::start(&format!("[limits]\ndata_free_bytes = 0\n{}", scripted(SLOTS)));
    assert_eq!(server.terminate(), Some(0));
    let data = server.dir.path().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    let Some(disk) = SmallDisk::mount(data, "1m") else {
        println!("not run: it takes the right to mount");
        return;
    };
    server.restart();
    let server = Arc::new(server);
    let seen = load_until_failure(&server).await;
    assert!(!seen.acked.is_empty(), "something was acknowledged before the disk was full");
    let mut server = Arc::into_inner(server).expect("the crowd has ended");
    server.kill();
    disk.resize("256m");
    server.restart();
    assert_kept(&server, &seen, "a full disk").await;
    let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"again"}"#).await;
    assert_eq!(status, 202, "{body}");
    server.kill();
    drop(disk);
}
