//! A real server process for a test: a free port, a data directory of its own, and an end by its own handle.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

pub mod collector;
pub mod keyed;
pub mod looking;
pub mod provider;
pub mod seen;
pub mod sharing;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidewire_client::{Endpoint, Http, Options, Session};
use tidewire_proto::Submission;

/// Tells stuck from slow on a busy machine; no test waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A number that a longer run sets, such as `TIDEWIRE_TEST_KILLS`.
pub fn number_from_env(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The scripted backend with so many slots.
pub fn scripted(slots: usize) -> String {
    format!("[[deployment]]\nname = \"scripted\"\nbackend = \"scripted\"\nslots = {slots}\n")
}

/// A running server.
pub struct Server {
    child: Child,
    pub url: String,
    pub dir: tempfile::TempDir,
    listen: String,
}

impl Server {
    /// Starts one with this configuration.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[], &[])
    }

    /// Starts one with further arguments.
    pub fn start_with_arguments(config: &str, arguments: &[&str]) -> Self {
        Self::start_with(config, arguments, &[])
    }

    /// Starts one that a wrapper command runs, such as strace.
    pub fn start_under(config: &str, wrapper: &[&str]) -> Self {
        Self::start_with(config, &[], wrapper)
    }

    fn start_with(config: &str, arguments: &[&str], wrapper: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tidewire.toml"), config).unwrap();
        let (child, url) = launch(dir.path(), &own_address(), arguments, wrapper);
        let listen = url.trim_start_matches("http://").to_owned();
        Self { child, url, dir, listen }
    }

    /// Waits until it has ended by itself. The signal that ended it, if one did.
    pub fn wait(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.child.wait().unwrap().signal()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, at the same address, with the same data.
    pub fn restart(&mut self) {
        self.restart_under(&[]);
    }

    /// The same, run by a wrapper command.
    pub fn restart_under(&mut self, wrapper: &[&str]) {
        let (child, url) = launch(self.dir.path(), &self.listen, &[], wrapper);
        self.child = child;
        self.url = url;
    }

    /// SIGTERM, and waits for the end. The exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let killed = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> &str {
        &self.listen
    }

    pub fn endpoint(&self) -> Endpoint {
        self.url.parse().unwrap()
    }

    pub fn http(&self) -> Http {
        Http::new(&self.endpoint()).unwrap()
    }

    /// A session whose driver runs until it is dropped. Call within a runtime.
    pub async fn session(&self) -> Session {
        let options = Options { backoff: patient(), window_ms: Some(0) };
        let (session, driver) = Session::open(&self.endpoint(), options).await.unwrap();
        tokio::spawn(driver.run());
        session
    }
}

/// Comes back quickly, and for as long as a restart may take on a busy machine.
fn patient() -> tidewire_client::Backoff {
    tidewire_client::Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(200), attempts: 1000 }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address that no other server has, nor any client: while this one is down, nobody else is given its port.
fn own_address() -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let (process, server) = (std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{}:0", 1 + (process >> 8) % 254, process % 256, 1 + server % 254)
}

fn launch(dir: &Path, listen: &str, arguments: &[&str], wrapper: &[&str]) -> (Child, String) {
    let binary = env!("CARGO_BIN_EXE_tidewire");
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command
        .args(["serve", "--listen", listen, "--data"])
        .arg(dir.join("data"))
        .arg("--config")
        .arg(dir.join("tidewire.toml"));
    command.args(arguments);
    command.env("TIDEWIRE_BUILT_IN__ENABLED", "false");
    command.env("TIDEWIRE_LOG__FILTER", "warn");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the server (or its wrapper) can be started");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let url = first.split_whitespace().last().filter(|word| word.starts_with("http://"));
    let url = url.unwrap_or_else(|| panic!("the server did not say where it is: {first:?}")).to_owned();
    // The rest is read away, so that the server never waits for its stdout.
    std::thread::spawn(move || lines.for_each(drop));
    (child, url)
}

/// A task for the scripted backend.
#[allow(clippy::needless_pass_by_value)] // Reads better at the call: `task(json!(...))`.
pub fn task(script: serde_json::Value) -> Submission {
    let input = serde_json::json!({ "messages": [{ "role": "user", "content": "go" }], "script": script });
    Submission { input: Some(serde_json::value::to_raw_value(&input).unwrap()), ..Submission::default() }
}

/// What a script of so many tokens says, recomputed from the rule in its documentation.
pub fn script_text(seed: &str, tokens: usize) -> String {
    let word = |k: usize| [seed, &k.to_string(), if k % 8 == 7 { "-é漢🙂… " } else { " " }].concat();
    (0..tokens).map(word).collect()
}

/// A plain HTTP request: status, headers, body.
pub async fn http(server: &Server, request: &str) -> (u16, String, String) {
    try_http(server, request).await.expect("the server answers")
}

/// The same of a server that may be gone; the status is 0 where it ended the connection without an answer.
pub async fn try_http(server: &Server, request: &str) -> std::io::Result<(u16, String, String)> {
    exchange(server.address(), request).await
}

/// The same of whatever listens at an address.
pub async fn exchange(address: &str, request: &str) -> std::io::Result<(u16, String, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server answers or is gone")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, head.to_lowercase(), body.to_owned()))
}

/// `http` for a method, a path and a body.
pub async fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    http(server, &request(server, method, path, headers, body)).await
}

/// `try_http` for a method, a path and a body.
pub async fn try_ask(
    server: &Server,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<(u16, String, String)> {
    try_http(server, &request(server, method, path, headers, body)).await
}

fn request(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> String {
    let (host, length) = (server.address(), body.len());
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}
