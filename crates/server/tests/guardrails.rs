//! Guardrails through the server's own faces: patterns, bounds, tools, loops, and a checker that answers, hangs or talks nonsense.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use support::keyed::{self, make_key, with_key};
use support::{Server, ask, scripted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: &str = "AKIAABCDEFGHIJKLMNOP";
const PATTERNS: &str = "[[guard]]\nname = \"keys\"\nbuilt_in = \"aws_access_key\"\n\
                        [[guard]]\nname = \"bird\"\npattern = \"(?i)bluebird\"\naction = \"block\"\n";

#[allow(clippy::needless_pass_by_value)] // Reads better at the call: `chat(&server, "", json!(...))`.
async fn chat(server: &Server, more: Value) -> (u16, Value) {
    let mut body = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, _, answer) = ask(server, "POST", "/v1/chat/completions", "", &body.to_string()).await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

fn says(text: &str) -> Value {
    json!({ "script": { "text": text, "delay_ms": 0 } })
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

async fn reload(server: &Server, config: &str) {
    std::fs::write(server.dir.path().join("tidewire.toml"), config).unwrap();
    let (status, _, body) = ask(server, "POST", "/v1/admin/reload", "", "").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn what_is_masked_is_not_stored_and_what_is_blocked_is_refused_by_the_rules_name_also_after_a_reload() {
    let server = Server::start(&[scripted(4), PATTERNS.to_owned()].concat());
    let prompt = json!({ "prompt": format!("keep {KEY} to yourself") });
    let (status, _, ack) = ask(&server, "POST", "/v1/tasks", "", &prompt.to_string()).await;
    assert_eq!(status, 202, "{ack}");
    let id = serde_json::from_str::<Value>(&ack).unwrap()["id"].as_str().unwrap().to_owned();
    let (_, _, view) = ask(&server, "GET", &format!("/v1/tasks/{id}?input=true"), "", "").await;
    assert!(!view.contains(KEY), "{view}");
    let stored = std::process::Command::new("grep").args(["-rqa", KEY]).arg(server.dir.path().join("data")).status();
    assert_eq!(stored.unwrap().code(), Some(1), "the key lies in no file of the store");

    let (status, refused) =
        chat(&server, json!({ "messages": [{ "role": "user", "content": "about BlueBird" }] })).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("guard_blocked")), "{refused}");
    assert!(!refused.to_string().to_lowercase().contains("bluebird"), "{refused}");

    let (status, answer) = chat(&server, says(&format!("it is {KEY}, of course"))).await;
    assert_eq!((status, content(&answer)), (200, "it is [keys], of course"));
    let (status, blocked) = chat(&server, says("the bluebird sings")).await;
    assert_eq!((status, &blocked["error"]["code"]), (400, &json!("guard_blocked")), "{blocked}");

    let (_, _, metrics) = ask(&server, "GET", "/metrics", "", "").await;
    for line in ["rule=\"keys\",action=\"mask\"} 2", "rule=\"bird\",action=\"block\"} 2"] {
        assert!(metrics.contains(&format!("tidewire_guard_actions_total{{{line}")), "{line}: {metrics}");
    }
    let (_, _, routes) = ask(&server, "GET", "/v1/routes", "", "").await;
    assert!(routes.contains("\"closed\"") && !routes.contains("\"open\""), "no breaker has heard of it: {routes}");

    reload(&server, &scripted(4)).await;
    let (status, answer) = chat(&server, says(&format!("the bluebird has {KEY}"))).await;
    assert_eq!((status, content(&answer)), (200, &*format!("the bluebird has {KEY}")));
}

#[tokio::test]
async fn large_requests_and_long_answers_are_bounded_by_route_and_by_key() {
    let bounds = "[[bounds]]\ninput_bytes = 600\noutput_tokens = 20\n";
    let (server, _secrets) = keyed::start(bounds);
    let (id, key) =
        make_key(&server, json!({ "bounds": { "output_tokens": 5, "over": "refuse", "input_tokens": 50 } })).await;
    let (_, free) = make_key(&server, json!({})).await;
    let post = async |key: &str, body: Value| with_key(&server, key, "POST", "/v1/tasks", &body).await;
    let of = |length: usize, more: Value| {
        let mut input = json!({ "messages": [{ "role": "user", "content": "so ".repeat(length) }] });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "input": input })
    };
    let code = |answer: &(u16, Value)| (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default().to_owned());
    assert_eq!(code(&post(&free, of(300, json!({}))).await), (400, "input_too_large".to_owned()));
    assert_eq!(post(&free, of(100, json!({ "max_tokens": 1000 }))).await.0, 202, "capped");
    assert_eq!(code(&post(&key, of(100, json!({}))).await), (400, "input_too_large".to_owned()));
    assert_eq!(code(&post(&key, of(1, json!({ "max_tokens": 6 }))).await), (400, "output_too_large".to_owned()));
    assert_eq!(post(&key, of(1, json!({ "max_tokens": 5 }))).await.0, 202);
    let path = format!("/v1/admin/keys/{id}");
    let (status, view) = with_key(&server, keyed::ADMIN, "POST", &path, &json!({ "bounds": {} })).await;
    assert_eq!((status, view.get("bounds")), (200, None), "{view}");
    assert_eq!(post(&key, of(1, json!({ "max_tokens": 6 }))).await.0, 202);
}

#[tokio::test]
async fn a_key_names_only_the_tools_that_it_may() {
    let (server, _secrets) = keyed::start("");
    let (_, key) = make_key(&server, json!({ "tools": ["look", "read"] })).await;
    let post = async |tools: Value| {
        let mut input =
            json!({ "messages": [{ "role": "user", "content": "go" }], "script": { "tokens": 1, "delay_ms": 0 } });
        input.as_object_mut().unwrap().extend(tools.as_object().unwrap().clone());
        with_key(&server, &key, "POST", "/v1/tasks", &json!({ "input": input })).await
    };
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
    assert_eq!(post(json!({})).await.0, 202);
    assert_eq!(post(json!({ "tools": [tool("look"), tool("read")] })).await.0, 202);
    for refused in [
        json!({ "tools": [tool("look"), tool("shell")] }),
        json!({ "functions": [{ "name": "shell" }] }),
        json!({ "tools": [{ "type": "shell" }] }),
        json!({ "tools": [{ "name": "shell", "input_schema": {} }] }),
    ] {
        let (status, answer) = post(refused).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("tool_not_allowed")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("`shell`"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_and_again_is_put_off_and_then_refused_and_a_batch_of_titles_is_not() {
    let runaway = "[runaway]\nwindow_s = 3600\nslow_after = 4\nstop_after = 6\ndelay_ms = 3600000\n";
    let server = Server::start(&[scripted(4), runaway.to_owned()].concat());
    let mut seen = Vec::new();
    for _ in 0..7 {
        let (status, _, answer) =
            ask(&server, "POST", "/v1/tasks", "", &json!({ "prompt": "go on" }).to_string()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let path = format!("/v1/tasks/{}", answer["id"].as_str().unwrap_or_default());
        let (_, _, view) = ask(&server, "GET", &path, "", "").await;
        let put_off = serde_json::from_str::<Value>(&view).unwrap()["start_at"].is_u64();
        seen.push((status, put_off, answer["error"]["code"].as_str().map(str::to_owned)));
    }
    assert_eq!(seen[..3], vec![(202, false, None); 3]);
    assert_eq!(seen[3..5], vec![(202, true, None); 2]);
    assert_eq!(seen[5..], vec![(422, false, Some("runaway_loop".to_owned())); 2]);
    let titles: Vec<Value> = (0..50).map(|number| json!({ "prompt": format!("title {number}") })).collect();
    let (status, _, answer) =
        ask(&server, "POST", "/v1/tasks/batch", "", &json!({ "tasks": titles }).to_string()).await;
    assert_eq!(status, 202, "{answer}");
    // Several answers of one request are no repetition.
    let (status, answer) = chat(&server, json!({ "n": 8, "script": { "tokens": 1, "delay_ms": 0 } })).await;
    assert_eq!((status, answer["choices"].as_array().map(Vec::len)), (200, Some(8)), "{answer}");
}

/// What a checker does with what it is asked.
type Does = fn(&Value) -> Option<String>;

/// A checker on a real socket: what it was asked, and where it is.
struct Outside {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outside {
    /// `does`: gives the whole answer; none where it hangs.
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/check", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let told = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let told = told.clone();
                tokio::spawn(async move {
                    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
                    let body = loop {
                        let read = stream.read(&mut buffer).await.unwrap();
                        heard.extend_from_slice(&buffer[..read]);
                        let text = String::from_utf8_lossy(&heard).into_owned();
                        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
                        if let Ok(body) = serde_json::from_str::<Value>(body) {
                            break body;
                        }
                    };
                    let answer = does(&body);
                    told.lock().unwrap().push(body);
                    match answer {
                        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, asked, task }
    }

    fn config(&self, more: &str) -> String {
        [scripted(4), format!("[checker]\nurl = \"{}\"\nevery_chars = 10\n{more}\n", self.url)].concat()
    }

    fn texts(&self, stage: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked["stage"] == stage)
            .map(|asked| asked["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[allow(clippy::needless_pass_by_value)]
fn opinion(opinion: Value) -> String {
    let body = opinion.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_checker_allows_forbids_and_replaces_before_and_while_a_model_answers() {
    let outside = Outside::start(|asked| {
        let text = asked["text"].as_str().unwrap();
        let says = |word: &str| text.contains(word);
        Some(opinion(match () {
            () if says("war") => json!({ "allow": false, "reason": "no war" }),
            () if says("poem") => json!({ "allow": false, "replacement": "No poems." }),
            () if says("rude") => json!({ "allow": true, "replacement": "polite" }),
            () => json!({ "allow": true }),
        }))
    })
    .await;
    let server = Server::start(&outside.config(""));
    let asking = |text: &str, answer: &str| {
        let mut all = says(answer);
        all["messages"] = json!([{ "role": "user", "content": text }]);
        all
    };
    let (status, answer) = chat(&server, asking("hello", "all is well, and more of it follows")).await;
    assert_eq!((status, content(&answer)), (200, "all is well, and more of it follows"));
    assert_eq!(outside.texts("prompt"), ["hello"]);
    let so_far = outside.texts("answer");
    assert_eq!(so_far.last().unwrap(), "all is well, and more of it follows");
    assert!(so_far.len() > 1 && so_far.windows(2).all(|two| two[1].starts_with(&two[0])), "{so_far:?}");
    let first = outside.asked.lock().unwrap()[0].clone();
    assert_eq!((&first["tenant"], &first["route"]), (&json!("default"), &json!("scripted")), "{first}");
    assert!(first["task"].as_str().is_some_and(|task| task.starts_with("task_")), "{first}");

    for asked in [asking("of war", "x"), asking("hello", "there is a war outside")] {
        let (status, refused) = chat(&server, asked).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("guard_blocked")), "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().ends_with("no war"), "{refused}");
    }
    for asked in [asking("a poem", "x"), asking("hello", "a poem")] {
        let (status, answer) = chat(&server, asked).await;
        assert_eq!((status, content(&answer)), (200, "No poems."));
        assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    }
    let (status, answer) = chat(&server, asking("hello", "rude")).await;
    assert_eq!((status, content(&answer)), (200, "polite"));
}

#[tokio::test]
async fn a_checker_that_hangs_fails_talks_nonsense_or_hangs_up_obeys_its_policy() {
    let hangs: Does = |_| None;
    let fails: Does = |_| Some("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned());
    let nonsense: Does = |_| Some(opinion(json!({ "allowed": "perhaps" })));
    let moved: Does =
        |_| Some("HTTP/1.1 307 Go\r\nlocation: /check\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned());
    let hangs_up: Does = |_| Some(String::new());
    for (name, does) in
        [("hangs", hangs), ("fails", fails), ("nonsense", nonsense), ("moved", moved), ("hangs up", hangs_up)]
    {
        let outside = Outside::start(does).await;
        let of = |policy: &str, prompts: bool| {
            outside.config(&format!("timeout_ms = 100\non_failure = \"{policy}\"\nprompts = {prompts}"))
        };
        let server = Server::start(&of("open", true));
        let (status, answer) = chat(&server, says("all is well here")).await;
        assert_eq!((status, content(&answer)), (200, "all is well here"), "{name}, open");
        for prompts in [true, false] {
            reload(&server, &of("closed", prompts)).await;
            let (status, refused) = chat(&server, says("all is well here")).await;
            assert_eq!((status, &refused["error"]["code"]), (503, &json!("guard_unavailable")), "{name}: {refused}");
            assert!(!refused.to_string().contains("well"), "{name}: nothing passed: {refused}");
        }
        let (_, _, metrics) = ask(&server, "GET", "/metrics", "", "").await;
        for action in ["failed_open", "failed_closed"] {
            assert!(metrics.contains(&format!("rule=\"checker\",action=\"{action}\"")), "{metrics}");
        }
    }
}
