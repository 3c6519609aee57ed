//! A server that keeps and shares what a model server says that counts for itself, and clients of `OpenAI`'s protocol.
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "the figures are whole numbers")]

use super::{PATIENCE, Server, ask};
use serde_json::{Value, json};
use tidewire_testkit::upstream::{Break, Fault, Script, State, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Tokens of an answer, and what one costs: a cent for all of them.
pub const TOKENS: u32 = 10;
pub const CENT: f64 = 0.01;

/// A server with one route to this model server, which keeps and shares answers as told, and has few slots.
pub fn config(upstream: &Upstream, cache: &str) -> String {
    format!(
        "[[deployment]]\nname = \"up\"\nbackend = \"openai\"\nurl = \"{}\"\nslots = 32\nprice_input = 0.0\n\
         price_output = 1000.0\n[[route]]\nname = \"r\"\ndeployments = [\"up\"]\n[route.cache]\n{cache}\n",
        upstream.url()
    )
}

pub fn chat(content: &str, extra: &Value) -> String {
    let messages = [json!({ "role": "user", "content": content })];
    let mut body = json!({ "model": "r", "messages": messages, "temperature": 0, "stream": true });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body.to_string()
}

/// An answer as a client of `OpenAI`'s protocol reads it: status, head, and the text that it streamed up to its end.
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub text: String,
    pub whole: bool,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    }
}

pub async fn send(address: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub async fn heard(mut stream: TcpStream) -> Heard {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time").unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut text = String::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if let Ok(chunk) = serde_json::from_str::<Value>(line) {
            text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    }
    Heard { status, head: head.to_lowercase(), text, whole: body.contains("data: [DONE]") }
}

/// Asks and reads the whole answer.
pub async fn asks(server: &Server, headers: &str, body: &str) -> Heard {
    heard(send(server.address(), headers, body).await).await
}

/// Asks, gets a whole answer, and says where it came from.
pub async fn source(server: &Server, body: &str) -> String {
    let heard = asks(server, "", body).await;
    assert_eq!((heard.status, heard.whole), (200, true), "{}", heard.head);
    heard.header("tidewire-cache").unwrap_or("none").to_owned()
}

/// A figure of `/metrics`, summed over those of its lines that have all of these labels.
pub async fn figure(server: &Server, name: &str, labels: &[&str]) -> f64 {
    let (_, _, text) = ask(server, "GET", "/metrics", "", "").await;
    let of = |line: &&str| {
        line.starts_with(name)
            && line[name.len()..].starts_with(['{', ' '])
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap().abs()).sum()
}

/// Waits until nothing is held any more; then the book adds up. What was used, by then.
pub async fn settled(server: &Server, tasks: u64) -> Value {
    let total = async {
        loop {
            let (status, _, body) = ask(server, "GET", "/v1/usage?group_by=route", "", "").await;
            assert_eq!(status, 200, "{body}");
            let report: Value = serde_json::from_str(&body).unwrap();
            let open = figure(server, "tidewire_reservations", &[]).await;
            if open == 0.0 && report["total"]["tasks"].as_u64() >= Some(tasks) {
                return report["total"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let total = tokio::time::timeout(PATIENCE, total).await.expect("all that was reserved is settled");
    assert_eq!(figure(server, "tidewire_reserved_amount", &[]).await, 0.0);
    assert_eq!(figure(server, "tidewire_ledger_imbalance", &[]).await, 0.0);
    assert_eq!(total["tasks"], tasks);
    total
}

pub fn dollars(total: &Value, name: &str) -> f64 {
    (total[name].as_f64().unwrap() * 1e6).round() / 1e6
}

/// An answer that begins at once and then stands still, until it is told to go on.
pub fn standing() -> Script {
    Script { tokens: TOKENS, ..Script::default() }.with(Fault::after(3, Break::Stall))
}

pub async fn stands(upstream: &Upstream) {
    upstream
        .wait_for("the call stands", |calls| calls.iter().any(|call| call.state == State::Stalled).then_some(()))
        .await;
}

/// Waits until so many have joined the call.
pub async fn joined(server: &Server, count: usize) {
    let all = async {
        while figure(server, "tidewire_cache_answers_total", &["joined"]).await < count as f64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all of them join");
}
