//! A collector of traces on loopback: takes what OTLP sends it over HTTP, and keeps it.

use super::PATIENCE;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A request that it got.
#[derive(Clone, Debug)]
pub struct Export {
    /// In small letters.
    pub head: String,
    pub body: Value,
}

impl Export {
    /// Its spans.
    pub fn spans(&self) -> Vec<Value> {
        let list =
            |value: &Value, name: &str| value[name].as_array().unwrap_or_else(|| panic!("{name} in {value}")).clone();
        let scopes = list(&self.body, "resourceSpans").into_iter().flat_map(|resource| list(&resource, "scopeSpans"));
        scopes.flat_map(|scope| list(&scope, "spans")).collect()
    }
}

/// A running collector. It refuses as many exports as `refuse` says before it takes one.
pub struct Collector {
    pub url: String,
    got: Arc<Mutex<Vec<Export>>>,
    changed: watch::Receiver<usize>,
}

impl Collector {
    /// Listens on a free port. Within a runtime.
    pub async fn start(refuse: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, (tell, changed)) = (Arc::new(Mutex::new(Vec::new())), watch::channel(0));
        let kept = got.clone();
        tokio::spawn(async move {
            let mut refused = 0;
            while let Ok((mut socket, _)) = listener.accept().await {
                // One connection after another: the exporter has but one.
                while let Some(export) = Box::pin(read(&mut socket)).await {
                    let status = if refused < refuse { "503 Service Unavailable" } else { "200 OK" };
                    refused += 1;
                    if status.starts_with("200") {
                        kept.lock().unwrap().push(export);
                    }
                    let answer =
                        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                    tell.send_modify(|count| *count += 1);
                }
            }
        });
        Self { url, got, changed }
    }

    /// Waits until the spans that it has satisfy, and gives them.
    pub async fn wait_for(&mut self, what: &str, satisfied: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let waiting = async {
            loop {
                let spans: Vec<Value> = self.exports().iter().flat_map(Export::spans).collect();
                if satisfied(&spans) {
                    return spans;
                }
                self.changed.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("the collector did not get {what}: {:?}", self.exports()))
    }

    pub fn exports(&self) -> Vec<Export> {
        self.got.lock().unwrap().clone()
    }
}

async fn read(socket: &mut TcpStream) -> Option<Export> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
            if bytes.len() >= at + 4 + length {
                let body = serde_json::from_slice(&bytes[at + 4..]).expect("an export is JSON");
                return Some(Export { head, body });
            }
        }
        let mut more = [0; 16 * 1024];
        match socket.read(&mut more).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&more[..read]),
            _ => return None,
        }
    }
}
