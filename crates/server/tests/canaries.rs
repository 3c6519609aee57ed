//! Secrets with unmistakable values go through a server that logs all that it can, and through the commands: none of
//! them may come out anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use support::PATIENCE;
use support::provider::{self, Provider};
use tidewire_testkit::upstream::{Break, Fault, Refusal, Script, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An upstream's key, in a variable.
const PROVIDER: &str = "sk-canary-provider-7Qm2x9";
/// Another one's, in a file.
const IN_A_FILE: &str = "sk-canary-in-a-file-3Kd6v0";
/// The first key of the server, in a variable.
const ADMIN: &str = "canary-admin-8Vh1c7-0123456789abcdef";
/// What tokens are signed with, in a variable.
const JWT: &str = "canary-jwt-2Rn5y3-0123456789abcdef012";
/// What this server shows the sign-in provider, in a variable.
const OIDC: &str = "canary-oidc-6Wd9p2-0123456789abcdef";
/// What somebody tries who has no key, in the header and in the URL.
const STRANGER: &str = "canary-stranger-4Tz8w1-0123456789abcdef";
const VARIABLE: &str = "TIDEWIRE_TEST_CANARY_KEY";
/// The part that all of them have, and nothing else.
const CANARY: &str = "canary-";

/// A server whose output goes into files.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path, format: &str) -> Self {
        let mut child = command(dir)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.join("data"))
            .env("TIDEWIRE_LOG__FILTER", "trace")
            .env("TIDEWIRE_LOG__FORMAT", format)
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.rsplit("http://").next().unwrap().to_owned();
        let mut said = first;
        let copy = dir.join("stdout");
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                said.push_str(&line);
                let _ = std::fs::write(&copy, &said);
            }
        });
        Self { child, address }
    }

    async fn ask(&self, key: &str, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn end(mut self) {
        assert!(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with its configuration and the key in its variable.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    command.env("TIDEWIRE_CONFIG", dir.join("tidewire.toml")).env("TIDEWIRE_BUILT_IN__ENABLED", "false");
    command.env(VARIABLE, PROVIDER).env("TIDEWIRE_ADMIN_KEY", ADMIN).env("TIDEWIRE_JWT_SECRET", JWT);
    command.env("TIDEWIRE_OIDC_SECRET", OIDC);
    command.current_dir(dir);
    command
}

/// Two deployments of an upstream; the file with the second one's key lies apart from all that is looked through.
fn config(upstream: &str, issuer: &str, secrets: &Path) -> String {
    let file = secrets.join("key");
    std::fs::write(&file, format!("{IN_A_FILE}\n")).unwrap();
    let deployment = |name: &str, key: String| {
        format!("[[deployment]]\nname = \"{name}\"\nbackend = \"openai\"\nurl = \"{upstream}\"\n{key}\n")
    };
    let identity = "[identity]\nrequired = true\n[jwt]\nalgorithm = \"HS256\"\nissuer = \"us\"\naudience = \"here\"\n";
    let secret = "client_secret_env = \"TIDEWIRE_OIDC_SECRET\"";
    identity.to_owned()
        + &provider::section(issuer, secret)
        + &deployment("m", format!("key_env = \"{VARIABLE}\""))
        + &deployment("f", format!("key_file = \"{}\"", file.display()))
}

fn is_clean(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        let found = text.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} in {what}: {found:?}");
    }
}

/// Every file below a directory.
fn files_are_clean(dir: &Path, secrets: &[&str]) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += files_are_clean(&path, secrets);
        } else {
            // What is no text in between is replaced, and the secrets are plain text.
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {}", path.display());
            }
            files += 1;
        }
    }
    files
}

/// An upstream that repeats the key that it was sent, in its refusals and in the middle of a stream's life.
fn indiscreet(upstream: &Upstream) {
    let telling = |status, code: &str| {
        let message = format!("Incorrect API key provided: {PROVIDER}. You sent Bearer {PROVIDER}.");
        Script::failing(Fault::Refused(Refusal::new(status, code, &message)))
    };
    upstream.play_once(telling(401, "invalid_api_key"));
    upstream.play_once(telling(400, "invalid_request"));
    upstream.play_once(Script::tokens(3).with(Fault::after(1, Break::Error)));
    upstream.play_once(Script::failing(Fault::too_many_requests(Some(Duration::from_millis(1)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_of_a_server_that_logs_all_that_it_can() {
    for format in ["text", "json"] {
        let (dir, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (upstream, issuer) = (Upstream::start(Script::tokens(3)), Provider::start(OIDC).await);
        std::fs::write(dir.path().join("tidewire.toml"), config(&upstream.url(), &issuer.issuer, secrets.path()))
            .unwrap();
        indiscreet(&upstream);
        issuer.act(|acts| acts.tells_the_secret = true);
        let server = Server::start(dir.path(), format);
        let made = server.ask(ADMIN, "POST", "/v1/admin/keys", r#"{"name":"app"}"#).await;
        let caller = made.split(r#""secret":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a key");
        let secrets = [CANARY, caller];
        for (key, method, path, body) in asked(caller) {
            let answer = server.ask(&key, method, &path, body).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{method} {path}: {answer}");
            is_clean(&format!("the answer to {method} {path}"), &answer, &secrets);
        }
        let (location, cookie) = begun(&server.ask(ADMIN, "GET", "/v1/session/oidc", "").await);
        let back = issuer.sign_in(&location).await;
        let answer = server.ask(&format!("{STRANGER}\r\ncookie: {cookie}"), "GET", &back, "").await;
        assert!(answer.contains("sign_in_refused"), "{answer}");
        assert_eq!(issuer.asked(), 1, "the secret was shown to the provider");
        is_clean("the answer to the callback", &answer, &secrets);
        upstream.wait_for_calls(6).await;
        server.end();
        // The secrets were really used, and the log really tells all.
        let calls = upstream.calls();
        for key in [PROVIDER, IN_A_FILE] {
            let bearer = format!("Bearer {key}");
            assert!(calls.iter().any(|call| call.header("authorization") == Some(&bearer)), "{key} was not used");
        }
        let log = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "no trace in {log:.500}");
        assert!(files_are_clean(dir.path(), &secrets) > 3, "a log, a configuration and data");
    }
}

/// Where a sign-in leads, and the cookie that goes with it.
fn begun(answer: &str) -> (String, String) {
    let header = |name: &str| {
        let line = answer.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name} in {answer}"))[name.len() + 2..].to_owned()
    };
    (header("location"), header("set-cookie").split(';').next().unwrap().to_owned())
}

/// What is asked, and with which key: by the caller, by strangers, and by the operator.
fn asked(caller: &str) -> Vec<(String, &'static str, String, &'static str)> {
    const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
    const STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    const BY_FILE: &str = r#"{"model":"f","messages":[{"role":"user","content":"Hi"}]}"#;
    const TASK: &str = r#"{"model":"m","input":{"messages":[{"role":"user","content":"Hi"}]}}"#;
    const COMPLETIONS: &str = "/v1/chat/completions";
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnktIn0.canary-signature";
    let in_url = format!("/v1/ws?ticket={STRANGER}&token={STRANGER}&key={caller}");
    let asked = [
        (caller, "POST", COMPLETIONS, CHAT),
        (caller, "POST", COMPLETIONS, STREAM),
        (caller, "POST", COMPLETIONS, STREAM),
        (caller, "POST", COMPLETIONS, CHAT),
        (caller, "POST", COMPLETIONS, BY_FILE),
        (caller, "POST", "/v1/tasks", TASK),
        (caller, "POST", COMPLETIONS, "{"),
        (caller, "POST", COMPLETIONS, r#"{"model":"nobody"}"#),
        (caller, "GET", "/v1/tasks", ""),
        (caller, "GET", "/v1/models", ""),
        (STRANGER, "POST", COMPLETIONS, CHAT),
        (token, "POST", COMPLETIONS, CHAT),
        (STRANGER, "GET", in_url.as_str(), ""),
        (ADMIN, "GET", "/v1/admin/keys", ""),
        (ADMIN, "GET", "/v1/admin/audit", ""),
        (ADMIN, "GET", "/v1/routes", ""),
        (ADMIN, "POST", "/v1/admin/reload", ""),
        (ADMIN, "GET", "/readyz", ""),
        (ADMIN, "GET", "/metrics", ""),
    ];
    asked.map(|(key, method, path, body)| (key.to_owned(), method, path.to_owned(), body)).into()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].concat().iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn no_secret_comes_out_of_a_command_or_of_a_start_that_fails() {
    let (dir, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(
        dir.path().join("tidewire.toml"),
        config("http://127.0.0.1:9/v1", "http://127.0.0.1:9", secrets.path()),
    )
    .unwrap();
    for arguments in
        [&["config", "check"][..], &["config", "reference"], &["doctor"], &["--help"], &["bench", "--help"]]
    {
        let output = command(dir.path()).args(arguments).output().unwrap();
        is_clean(&format!("{arguments:?}"), &said(&output), &[CANARY]);
    }
    // A key that no header can carry, and a port that is taken: the start fails, and says why.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    let torn = format!("{PROVIDER}\n{PROVIDER}");
    for (key, listen) in [(torn.as_str(), "127.0.0.1:0"), (PROVIDER, address.as_str())] {
        let mut serve = command(dir.path());
        serve.args(["serve", "--listen", listen, "--data"]).arg(&data).env(VARIABLE, key);
        serve.env("TIDEWIRE_LOG__FILTER", "trace").env("RUST_BACKTRACE", "full");
        let output = serve.output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        is_clean("a start that fails", &said(&output), &[CANARY]);
    }
    // A load generator is given a key as an argument.
    let bench = ["bench", "--openai", "http://127.0.0.1:9/v1", "--key", STRANGER, "--requests", "1"];
    is_clean("the bench", &said(&command(dir.path()).args(bench).output().unwrap()), &[CANARY]);
}
