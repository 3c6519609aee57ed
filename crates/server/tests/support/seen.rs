//! What a server has said to clients, and whether it still says so after it was started again.

use super::{Server, ask, try_ask};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tidewire_client::proto::WireEvent;
use tokio::sync::watch;

/// Text, or another event, at its offset. Adjacent text is joined, for it may come merged in any way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    kind: String,
    from: u64,
    to: u64,
    data: String,
}

impl Run {
    /// Whether it is a log's last event.
    pub fn is_end(&self) -> bool {
        self.kind == "end"
    }
}

/// What the server has said.
#[derive(Default)]
pub struct Seen {
    /// Tasks that were acknowledged.
    pub acked: Vec<String>,
    /// Events that were shown.
    pub shown: BTreeMap<String, Vec<Run>>,
}

/// Reads a task's log by long polls, until its end or until the disk has failed and there is no news.
pub async fn read(server: &Server, task: &str, seen: &Mutex<Seen>, over: &watch::Receiver<bool>) {
    let mut after = String::new();
    loop {
        let path = format!("/v1/tasks/{task}/events?format=json&wait_ms=100{after}");
        // A server that was killed answers no more.
        let Ok((200, _, body)) = try_ask(server, "GET", &path, "", "").await else { return };
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let shown = runs(&page);
        if shown.is_empty() && *over.borrow() {
            return;
        }
        let mut seen = seen.lock().unwrap();
        let known = seen.shown.entry(task.to_owned()).or_default();
        for run in shown {
            join(known, run);
        }
        if page["ended"] == true {
            return;
        }
        if let Some(to) = page["to"].as_u64().filter(|to| *to > 0) {
            after = format!("&after={}", to - 1);
        }
    }
}

fn runs(page: &serde_json::Value) -> Vec<Run> {
    let mut runs = Vec::new();
    for event in page["events"].as_array().unwrap() {
        let text = event.to_string();
        let event: WireEvent<'_> = serde_json::from_str(&text).unwrap();
        let data = event.text().map_or_else(|| event.value().to_string(), |text| text.to_string());
        join(&mut runs, Run { kind: event.kind.to_string(), from: event.offset, to: event.next(), data });
    }
    runs
}

fn join(runs: &mut Vec<Run>, next: Run) {
    match runs.last_mut() {
        Some(last) if last.kind == "text" && next.kind == "text" && last.to == next.from => {
            last.to = next.to;
            last.data += &next.data;
        }
        _ => runs.push(next),
    }
}

/// A server that was started again still has all of it.
pub async fn assert_kept(server: &Server, seen: &Seen, what: &str) {
    for task in &seen.acked {
        let (status, _, body) = ask(server, "GET", &format!("/v1/tasks/{task}"), "", "").await;
        assert_eq!(status, 200, "{what}: {task} was acknowledged and is gone: {body}");
    }
    for (task, shown) in &seen.shown {
        let (status, _, body) = ask(server, "GET", &format!("/v1/tasks/{task}/events?format=json"), "", "").await;
        assert_eq!(status, 200, "{what}: {task}: {body}");
        let kept = runs(&serde_json::from_str(&body).unwrap());
        let Some((last, whole)) = shown.split_last() else { continue };
        let same = kept.len() >= shown.len() && kept[..whole.len()] == *whole && begins(&kept[whole.len()], last);
        assert!(same, "{what}: {task} showed {shown:?} and now has {kept:?}");
    }
}

fn begins(kept: &Run, shown: &Run) -> bool {
    kept.kind == shown.kind && kept.from == shown.from && kept.to >= shown.to && kept.data.starts_with(&shown.data)
}
