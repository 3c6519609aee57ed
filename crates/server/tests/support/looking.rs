//! One who looks at the operations: events as they come, and what is known by them.

use super::{PATIENCE, Server};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A stream of `GET /v1/operations`.
pub struct Looker {
    lines: BufReader<TcpStream>,
    /// What it has been told, put together.
    pub known: Value,
}

impl Looker {
    /// Opens one; its status where that is refused.
    pub async fn open(server: &Server, key: Option<&str>) -> Result<Self, u16> {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        // Of version 1.0: the body comes as it is, without chunks around it.
        let request = format!(
            "GET /v1/operations HTTP/1.0\r\nhost: {}\r\naccept: text/event-stream\r\n{key}\r\n",
            server.address()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut looker = Self { lines: BufReader::new(stream), known: Value::Null };
        let first = looker.line().await.expect("a status line");
        let status: u16 = first.split_whitespace().nth(1).unwrap().parse().unwrap();
        if status != 200 {
            return Err(status);
        }
        while !looker.line().await.expect("headers").is_empty() {}
        Ok(looker)
    }

    /// A line; none at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await.expect("the stream goes on");
        (read.unwrap_or(0) > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event and its data; none at the end. What it tells is put together with what is known.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let line = self.line().await?;
            let Some(name) = line.strip_prefix("event: ") else { continue };
            let data = self.line().await?;
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            match name {
                "snapshot" => self.known = data.clone(),
                "update" => {
                    for (section, value) in data.as_object().unwrap() {
                        assert_ne!(&self.known[section], value, "`{section}` was told though nothing has changed");
                        self.known[section] = value.clone();
                    }
                }
                _ => {}
            }
            return Some((name.to_owned(), data));
        }
    }

    /// Goes on until what is known is as it should be.
    pub async fn until(&mut self, as_it_should_be: impl Fn(&Value) -> bool) {
        let wait = async {
            while !as_it_should_be(&self.known) {
                self.next().await.expect("the stream goes on");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it comes to that");
    }
}
