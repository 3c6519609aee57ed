//! Clients that submit and read until the disk fails, and what they were told.

use super::support::{Server, ask};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tidewire_client::proto::WireEvent;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 6;

/// Text, or another event, at its offset. Adjacent text is joined, for it may come merged in any way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    kind: String,
    from: u64,
    to: u64,
    data: String,
}

/// What the server has said.
#[derive(Default)]
pub(crate) struct Seen {
    /// Tasks that were acknowledged.
    pub(crate) acked: Vec<String>,
    /// Events that were shown.
    pub(crate) shown: BTreeMap<String, Vec<Run>>,
}

/// Clients at work.
pub(crate) struct Crowd {
    seen: Arc<Mutex<Seen>>,
    over: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Crowd {
    pub(crate) fn start(server: &Arc<Server>) -> Self {
        let (over, told) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(work(server.clone(), number, seen.clone(), told.clone()));
        }
        Self { seen, over, clients }
    }

    /// Lets the clients end what they are at.
    pub(crate) async fn end(mut self) -> Seen {
        self.over.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn work(server: Arc<Server>, number: usize, seen: Arc<Mutex<Seen>>, over: watch::Receiver<bool>) {
    let mut count = 0;
    while !*over.borrow() {
        count += 1;
        let script = format!(r#"{{"tokens":12,"delay_ms":2,"seed":"c{number}n{count}-"}}"#);
        let words = "word ".repeat(200);
        let body = format!(
            r#"{{"input":{{"messages":[{{"role":"user","content":"{words}"}}],"script":{script}}},"idempotency_key":"k{number}-{count}"}}"#
        );
        let (status, _, answer) = ask(&server, "POST", "/v1/tasks", "", &body).await;
        if status != 202 {
            continue;
        }
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let task = answer["id"].as_str().unwrap().to_owned();
        seen.lock().unwrap().acked.push(task.clone());
        read(&server, &task, &seen, &over).await;
    }
}

/// Reads a task's log by long polls, until its end or until the disk has failed and there is no news.
async fn read(server: &Server, task: &str, seen: &Mutex<Seen>, over: &watch::Receiver<bool>) {
    let mut after = String::new();
    loop {
        let path = format!("/v1/tasks/{task}/events?format=json&wait_ms=100{after}");
        let (status, _, body) = ask(server, "GET", &path, "", "").await;
        if status != 200 {
            return;
        }
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let shown = runs(&page);
        if shown.is_empty() && *over.borrow() {
            return;
        }
        let mut seen = seen.lock().unwrap();
        let known = seen.shown.entry(task.to_owned()).or_default();
        shown.into_iter().for_each(|run| join(known, run));
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
pub(crate) async fn assert_kept(server: &Server, seen: &Seen, what: &str) {
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
