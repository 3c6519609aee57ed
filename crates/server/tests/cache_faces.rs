//! Kept and shared answers as each face tells of them: what a client may say, where its answer came from, and what it is told
//! was used. And among whom, at which pace, and over which failures an answer is shared.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "the figures are whole numbers")]

mod support;

use serde_json::{Value, json};
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;
use support::sharing::{
    CENT, Heard, TOKENS, asks, chat, config, dollars, heard, joined, send, settled, source, standing, stands,
};
use support::{PATIENCE, Server, ask, script_text};
use tidewire_testkit::upstream::{Call, Script, State, Upstream};

/// Tokens of the prompt, as the model server counts them.
const PROMPT: u64 = 7;

/// The faces that give chats.
const FACES: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];

/// A request of a face, streamed or not.
fn request(face: &str, content: &str, stream: bool) -> String {
    let messages = json!([{ "role": "user", "content": content }]);
    let mut body = json!({ "model": "r", "temperature": 0, "stream": stream });
    match face {
        "/v1/responses" => (body["input"], body["store"]) = (json!(content), json!(false)),
        "/v1/messages" => (body["messages"], body["max_tokens"]) = (messages, json!(100)),
        _ => (body["messages"], body["stream_options"]) = (messages, json!({ "include_usage": true })),
    }
    if !stream {
        body.as_object_mut().unwrap().remove("stream_options");
    }
    body.to_string()
}

/// What a face answered.
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Said {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    }

    /// The whole answer's JSON; of a stream that of the event that tells what was used.
    fn usage(&self) -> Value {
        let of_stream = || {
            let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
            data.filter_map(|data| serde_json::from_str(data).ok()).collect::<Vec<Value>>()
        };
        let events = serde_json::from_str(&self.body).map_or_else(|_| of_stream(), |whole| vec![whole]);
        let told =
            |event: &Value| [&event["usage"], &event["response"]["usage"]].into_iter().find(|u| u.is_object()).cloned();
        events.iter().rev().find_map(told).unwrap_or_else(|| panic!("no usage: {}", self.body))
    }

    /// Tokens of the prompt, those of them that were cached, and tokens of the answer, in whatever words.
    fn tokens(&self) -> (u64, u64, u64) {
        let usage = self.usage();
        let of = |path: &str| usage.pointer(path).and_then(Value::as_u64);
        let cached = of("/prompt_tokens_details/cached_tokens").or(of("/input_tokens_details/cached_tokens"));
        let output = of("/completion_tokens").or(of("/output_tokens")).unwrap();
        match (cached, of("/cache_read_input_tokens")) {
            (Some(cached), _) => (of("/prompt_tokens").or(of("/input_tokens")).unwrap(), cached, output),
            // Anthropic counts what was cached apart.
            (None, Some(read)) => (of("/input_tokens").unwrap() + read, read, output),
            (None, None) => panic!("{usage}"),
        }
    }
}

async fn says(server: &Server, face: &str, headers: &str, body: &str) -> Said {
    let (status, head, body) = ask(server, "POST", face, headers, body).await;
    Said { status, head, body }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_face_heeds_what_a_client_says_of_kept_answers_and_tells_the_tokens_of_the_answer() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 600"));
    let calls = || upstream.calls().len();
    let mut tasks = 0;
    for face in FACES {
        // What is said, whether it is streamed, of what, whether the upstream is asked, and what the head tells.
        let ways = [
            ("", false, "", true, Some("miss")),
            ("", false, "", false, Some("hit")),
            ("", true, "", false, Some("hit")),
            ("only-if-cached", true, "", false, Some("hit")),
            ("no-cache", true, "", true, Some("miss")),
            ("max-age=0", false, "", true, Some("miss")),
            ("no-store", false, "other", true, Some("miss")),
            ("", true, "other", true, Some("miss")),
            ("no-cache, no-store", false, "other", true, None),
        ];
        for (word, stream, content, asks_upstream, from) in ways {
            let before = calls();
            let header = if word.is_empty() { String::new() } else { format!("cache-control: {word}\r\n") };
            let said = says(&server, face, &header, &request(face, &format!("{face}{content}"), stream)).await;
            let what = format!("{face} {word:?} {stream}: {} {}", said.head, said.body);
            assert_eq!((said.status, said.header("tidewire-cache")), (200, from), "{what}");
            assert_eq!(calls() - before, usize::from(asks_upstream), "{what}");
            assert_eq!(said.header("age").is_some(), from == Some("hit"), "{what}");
            let cached = if from == Some("hit") { PROMPT } else { 0 };
            assert_eq!(said.tokens(), (PROMPT, cached, u64::from(TOKENS)), "{what}");
            assert_eq!(said.usage()["cost"].is_null(), from == Some("hit") || face == "/v1/messages", "{what}");
            tasks += 1;
        }
        for stream in [false, true] {
            let body = request(face, &format!("{face} never asked"), stream);
            let none = says(&server, face, "cache-control: only-if-cached\r\n", &body).await;
            assert_eq!((none.status, none.body.contains("\"not_cached\"")), (504, true), "{face}: {}", none.body);
            tasks += 1;
        }
    }
    // The book knows only what was asked for.
    let total = settled(&server, tasks).await;
    let made = calls() as u64;
    assert_eq!(
        (total["input_tokens"].as_u64(), total["output_tokens"].as_u64()),
        (Some(made * PROMPT), Some(made * 10))
    );
    assert_eq!(dollars(&total, "cost_usd"), dollars(&json!({ "a": CENT * made as f64 }), "a"));
    assert_eq!(dollars(&total, "saved_usd"), dollars(&json!({ "a": CENT * 9.0 }), "a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_vectors_are_told_with_their_tokens_too() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let priced = config(&upstream, "ttl_s = 600").replace("price_input = 0.0", "price_input = 1000.0");
    let server = Server::start(&priced);
    let body = json!({ "model": "r", "input": ["tide", "wire"] }).to_string();
    let mut seen = Vec::new();
    for from in ["miss", "hit"] {
        let said = says(&server, "/v1/embeddings", "", &body).await;
        assert_eq!((said.status, said.header("tidewire-cache")), (200, Some(from)), "{} {}", said.head, said.body);
        assert_eq!(said.usage()["cost"].is_null(), from == "hit", "{}", said.body);
        seen.push(said.usage()["prompt_tokens"].as_u64());
    }
    assert!(seen[0] > Some(0) && seen[0] == seen[1], "{seen:?}");
    assert_eq!(settled(&server, 2).await["input_tokens"].as_u64(), seen[0]);
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn riders_of_one_answer_are_told_its_tokens_on_every_face_and_one_of_them_pays() {
    for face in FACES {
        let upstream = Upstream::start(standing());
        let server = Server::start(&config(&upstream, "ttl_s = 600"));
        let one = |stream| says(&server, face, "", Box::leak(request(face, "go", stream).into_boxed_str()));
        let goes_on = async {
            stands(&upstream).await;
            joined(&server, 2).await;
            upstream.resume();
        };
        let (first, second, third, ()) = tokio::join!(one(true), one(false), one(true), goes_on);
        let mut cached = Vec::new();
        for said in [first, second, third] {
            let (prompt, read, answer) = said.tokens();
            assert_eq!((prompt, answer), (PROMPT, u64::from(TOKENS)), "{face}: {} {}", said.head, said.body);
            cached.push(read);
        }
        cached.sort_unstable();
        assert_eq!(cached, [0, PROMPT, PROMPT], "{face}");
        let total = settled(&server, 3).await;
        assert_eq!((total["input_tokens"].as_u64(), dollars(&total, "cost_usd")), (Some(PROMPT), CENT), "{face}");
        assert_eq!(upstream.calls().len(), 1);
    }
}

/// Makes a batch of these chats, and waits for its end: its counts and the lines of its two files.
async fn batch(server: &Server, headers: &str, contents: &[&str]) -> (Value, [Vec<Value>; 2]) {
    let line = |content: &&str| {
        let mut body: Value = serde_json::from_str(&request(FACES[0], content, false)).unwrap();
        body.as_object_mut().unwrap().remove("stream");
        json!({ "custom_id": content, "method": "POST", "url": FACES[0], "body": body }).to_string()
    };
    let lines: Vec<String> = contents.iter().map(line).collect();
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\ncontent-disposition: \
         form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--x--\r\n",
        lines.join("\n")
    );
    let multipart = "content-type: multipart/form-data; boundary=x\r\n";
    let (_, _, file) = ask(server, "POST", "/v1/files", multipart, &form).await;
    let file: Value = serde_json::from_str(&file).unwrap();
    let asked = json!({ "input_file_id": file["id"], "endpoint": FACES[0], "completion_window": "24h" });
    let (status, _, batch) = ask(server, "POST", "/v1/batches", headers, &asked.to_string()).await;
    assert_eq!(status, 200, "{batch}");
    let batch: Value = serde_json::from_str(&batch).unwrap();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let over = async {
        loop {
            let batch: Value = serde_json::from_str(&ask(server, "GET", &path, "", "").await.2).unwrap();
            if batch["status"] == "completed" {
                return batch;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let batch = tokio::time::timeout(PATIENCE, over).await.expect("the batch ends");
    let mut files = [Vec::new(), Vec::new()];
    for (lines, name) in files.iter_mut().zip(["output_file_id", "error_file_id"]) {
        if let Some(id) = batch[name].as_str() {
            let (_, _, content) = ask(server, "GET", &format!("/v1/files/{id}/content"), "", "").await;
            *lines = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
    }
    (batch["request_counts"].clone(), files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_says_of_kept_answers_holds_for_each_of_its_lines() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 600"));
    let calls = || upstream.calls().len();
    assert_eq!(source(&server, &chat("a", &json!({}))).await, "miss");
    let (counts, [answers, errors]) = batch(&server, "cache-control: only-if-cached\r\n", &["a", "b"]).await;
    assert_eq!((calls(), &counts["completed"], &counts["failed"]), (1, &json!(1), &json!(1)));
    assert_eq!((&answers[0]["custom_id"], &errors[0]["error"]["code"]), (&json!("a"), &json!("not_cached")));
    let used = &answers[0]["response"]["body"]["usage"];
    assert_eq!((&used["completion_tokens"], &used["prompt_tokens_details"]["cached_tokens"]), (&json!(10), &json!(7)));
    let (_, [answers, _]) = batch(&server, "cache-control: no-cache\r\n", &["a"]).await;
    assert_eq!((answers.len(), calls()), (1, 2), "asked anew");
    let (_, [answers, _]) = batch(&server, "", &["a", "c"]).await;
    assert_eq!((answers.len(), calls()), (2, 3), "one was kept");
}

/// A route that asks `a` first, and `b` where that fails: one that goes on after the text that stands, or one that begins anew.
fn two_deployments(first: &Upstream, second: Option<&Upstream>) -> String {
    let openai = |upstream: &Upstream| format!("backend = \"openai\"\nurl = \"{}\"", upstream.url());
    let second = second.map_or_else(|| "backend = \"scripted\"".to_owned(), openai);
    let mut config = String::from("[worker]\nbackoff_ms = 1\n");
    for (name, backend) in [("a", openai(first)), ("b", second)] {
        let _ =
            write!(config, "[[deployment]]\nname = \"{name}\"\n{backend}\nprice_input = 0.0\nprice_output = 1000.0\n");
    }
    let members = "[{ name = \"a\", weight = 1 }, { name = \"b\", weight = 0 }]";
    config + &format!("[[route]]\nname = \"r\"\ndeployments = {members}\n[route.cache]\nttl_s = 600\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_shared_answer_fails_in_the_middle_all_riders_go_on_together_and_one_pays() {
    for continues in [true, false] {
        let first = Upstream::start(standing());
        let second = Upstream::start(Script::tokens(TOKENS));
        let server = Server::start(&two_deployments(&first, (!continues).then_some(&second)));
        // Only the scripted backend reads it.
        let script = json!({ "script": { "tokens": TOKENS, "delay_ms": 0 } });
        let body = chat("go", &script);
        let mut streams = vec![send(server.address(), "", &body).await];
        stands(&first).await;
        for _ in 0..3 {
            streams.push(send(server.address(), "", &body).await);
        }
        let whole = chat("go", &json!({ "script": script["script"], "stream": false }));
        let whole = says(&server, FACES[0], "", &whole);
        let breaks = async {
            joined(&server, 4).await;
            first.down();
        };
        let (whole, ()) = tokio::join!(whole, breaks);
        let text = if continues { script_text("w", TOKENS as usize) } else { Script::tokens(TOKENS).text() };
        let answer: Value = serde_json::from_str(&whole.body).unwrap();
        assert_eq!((whole.status, &answer["choices"][0]["message"]["content"]), (200, &json!(text)), "{answer}");
        for stream in streams {
            let Heard { status, text: got, whole, head } = heard(stream).await;
            // Whoever has text that can't be gone on with, and can't give it back, is told so.
            let honest = !continues && !whole;
            assert!(status == 200 && ((whole && got == text) || honest), "{continues} {head}: {whole} {got:?}");
        }
        let total = settled(&server, 5).await;
        assert_eq!((first.calls().len(), second.calls().len()), (1, usize::from(!continues)));
        let (_, _, list) = ask(&server, "GET", "/v1/tasks?limit=10", "", "").await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let cost = |task: &&Value| task["end"]["usage"]["cost_nanousd"].as_u64().unwrap_or_default() > 0;
        let tasks = list["tasks"].as_array().unwrap();
        let payers = tasks.iter().filter(cost).count();
        // What each deployment did is charged once. Whoever was told `rewound` has left, so the second is another one's.
        assert!(tasks.len() == 5 && (payers == 1 || (payers == 2 && !continues)), "{list}");
        // Three tokens of the first deployment, by an estimate, and what the second one counts.
        let output = total["output_tokens"].as_u64().unwrap();
        let made = if continues { 7 } else { 10 };
        assert!((made + 1..=made + 4).contains(&output), "{total}");
        let again = asks(&server, "", &body).await;
        assert_eq!(
            (again.header("tidewire-cache"), &again.text),
            (Some("hit"), &text),
            "what was said in the end is kept"
        );
    }
}

/// Where the answer to a task came from.
async fn task_source(server: &Server, who: &Value) -> String {
    let mut body =
        json!({ "model": "r", "input": { "messages": [{ "role": "user", "content": "go" }], "temperature": 0 } });
    body.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
    let (status, _, ack) = ask(server, "POST", "/v1/tasks", "", &body.to_string()).await;
    assert_eq!(status, 202, "{ack}");
    let id = serde_json::from_str::<Value>(&ack).unwrap()["id"].as_str().unwrap().to_owned();
    let (_, _, text) = ask(server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    let (_, _, task) = ask(server, "GET", &format!("/v1/tasks/{id}"), "", "").await;
    let task: Value = serde_json::from_str(&task).unwrap();
    assert_eq!(text, Script::tokens(TOKENS).text(), "{task}");
    task["end"]["cache"]["state"].as_str().unwrap_or("miss").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_says_among_whom_an_answer_is_shared() {
    let of = |user: &str, lane: &str| json!({ "user": user, "lane": lane });
    let nobody = json!({});
    let all = [of("ada", "x"), of("bob", "x"), of("ada", "y"), of("ada", "x"), nobody.clone(), nobody];
    let expected = [
        ("tenant", ["miss", "hit", "hit", "hit", "hit", "hit"]),
        // Whoever is nobody, or talks to nobody, shares with nobody.
        ("user", ["miss", "miss", "hit", "hit", "miss", "miss"]),
        ("conversation", ["miss", "hit", "miss", "hit", "miss", "miss"]),
    ];
    for (scope, expected) in expected {
        let upstream = Upstream::start(Script::tokens(TOKENS));
        let server = Server::start(&config(&upstream, &format!("ttl_s = 600\nscope = \"{scope}\"")));
        let mut got = Vec::new();
        for who in &all {
            got.push(task_source(&server, who).await);
        }
        assert_eq!(got, expected, "{scope}");
        assert_eq!(upstream.calls().len(), expected.iter().filter(|from| **from == "miss").count(), "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_replay_comes_piece_by_piece_and_is_the_log() {
    let paced = Script::tokens(TOKENS).paced(Duration::ZERO, Duration::from_millis(20));
    let upstream = Upstream::start(paced);
    let server = Server::start(&config(&upstream, "ttl_s = 600\nreplay = \"paced\""));
    let body = chat("go", &json!({}));
    assert_eq!(source(&server, &body).await, "miss");
    let said = says(&server, FACES[0], "", &body).await;
    assert_eq!(said.header("tidewire-cache"), Some("hit"));
    let data = said.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
    let pieces: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(pieces.len() > 1, "{pieces:?}");
    let task = said.header("tidewire-task").unwrap();
    let (_, _, log) = ask(&server, "GET", &format!("/v1/tasks/{task}/text"), "", "").await;
    assert_eq!((pieces.concat(), &log), (log.clone(), &Script::tokens(TOKENS).text()));
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_has_kept_answers_forgotten_by_route_or_all_of_them() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 600"));
    let purge = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
        let ran = command.args(["cache", "purge"]).args(arguments).env("TIDEWIRE_URL", &server.url).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    for content in ["a", "b"] {
        assert_eq!(source(&server, &chat(content, &json!({}))).await, "miss");
    }
    assert_eq!(purge(&["--route", "another"]), "forgot 0 kept answers\n");
    assert_eq!(source(&server, &chat("a", &json!({}))).await, "hit");
    assert_eq!(purge(&["--route", "r"]), "forgot 2 kept answers\n");
    assert_eq!(source(&server, &chat("a", &json!({}))).await, "miss");
    assert_eq!(purge(&[]), "forgot 1 kept answers\n");
    assert_eq!(source(&server, &chat("a", &json!({}))).await, "miss");
    let whole = |call: &&Call| call.state == State::Done;
    assert_eq!(upstream.calls().iter().filter(whole).count(), 4);
}
