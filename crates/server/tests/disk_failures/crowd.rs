//! Clients that submit and read until the disk fails.

use super::support::seen::{Seen, read};
use super::support::{Server, ask};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 6;

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
