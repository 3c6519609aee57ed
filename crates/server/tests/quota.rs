//! Limits and budgets under parallel clients, and what cut answers cost: over HTTP, against a model server that counts for
//! itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]
#![allow(clippy::float_cmp, reason = "the figures are whole numbers")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, ask, try_ask};
use tidewire_testkit::upstream::{Break, Call, Fault, Script, State, Upstream};
use tokio::task::JoinSet;

/// Clients at once, and for how many of them there is room.
const CLIENTS: usize = 64;
const ROOM: usize = 20;

/// Tokens of an answer, and what they cost at $1000 for a million: a cent.
const TOKENS: u32 = 10;

/// A server with one route to this model server, on which this limits all of it.
fn server(engine: &str, upstream: &Upstream, limit: &str) -> Server {
    Server::start(&format!(
        "engine = \"{engine}\"\n[[deployment]]\nname = \"up\"\nbackend = \"openai\"\nurl = \"{}\"\nprice_input = 0.0\n\
         price_output = 1000.0\n[[route]]\nname = \"r\"\ndeployments = [\"up\"]\n{limit}\n",
        upstream.url()
    ))
}

fn chat(stream: bool) -> String {
    let messages = [json!({ "role": "user", "content": "go" })];
    json!({ "model": "r", "messages": messages, "max_tokens": TOKENS, "stream": stream }).to_string()
}

/// What one client heard: status, head, body. Nothing where the server was killed.
type Heard = (u16, String, String);

fn crowd(server: &Server, stream: bool) -> JoinSet<Option<Heard>> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let address = server.address().to_owned();
        let body = chat(stream);
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        clients.spawn(async move { support::exchange(&address, &request).await.ok() });
    }
    clients
}

/// Waits for so many clients, and gives back what they heard.
async fn hear(clients: &mut JoinSet<Option<Heard>>, count: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let next = tokio::time::timeout(PATIENCE, clients.join_next()).await.expect("a client is answered");
        heard.extend(next.expect("enough clients").unwrap());
    }
    heard
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, _, body) = ask(server, "GET", path, "", "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// A figure of `/metrics`, summed over its labels.
async fn figure(server: &Server, name: &str) -> f64 {
    let (_, _, text) = ask(server, "GET", "/metrics", "", "").await;
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap().abs())
        .collect();
    assert!(!values.is_empty(), "there is no {name}");
    values.into_iter().sum()
}

/// Nothing is held any more, and the book adds up.
async fn is_settled(server: &Server) {
    let settled = async {
        while figure(server, "tidewire_reservations").await != 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("all that was reserved is settled");
    assert_eq!(figure(server, "tidewire_reserved_amount").await, 0.0);
    assert_eq!(figure(server, "tidewire_ledger_imbalance").await, 0.0);
}

fn refused(heard: &[Heard], code: &str) {
    for (status, head, body) in heard {
        assert_eq!(*status, 429, "{body}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(head.contains("retry-after: "), "{head}");
    }
}

/// Waits until all who were admitted stand still at the model server. One that has only arrived would miss the word to go on.
async fn all_stalled(upstream: &Upstream) {
    let stalled = |calls: &[Call]| calls.iter().filter(|call| call.state == State::Stalled).count();
    upstream.wait_for("all who were admitted", |calls| (stalled(calls) == ROOM).then_some(())).await;
}

/// All answers stand still until the crowd has been told who is admitted, so that nothing is settled and free again.
async fn twenty_of_64_are_admitted_by_their_money(engine: &str, stream: bool) {
    let upstream = Upstream::start(Script { fault: Some(Fault::Silent), ..Script::tokens(TOKENS) });
    let server = server(engine, &upstream, "usd_per_day = 0.2");
    let mut clients = crowd(&server, stream);
    // A stream's head comes with its first word: whoever is answered by now was refused.
    refused(&hear(&mut clients, CLIENTS - ROOM).await, "budget_exceeded");
    all_stalled(&upstream).await;
    upstream.play(Script::tokens(TOKENS));
    upstream.resume();
    for (status, head, body) in hear(&mut clients, ROOM).await {
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("tidewire-limit-usd: 0.200000"), "{head}");
    }
    is_settled(&server).await;
    let used = get(&server, "/v1/usage?group_by=route,deployment").await;
    assert_eq!(used["total"]["tasks"], ROOM, "{used}");
    assert_eq!(used["total"]["output_tokens"], ROOM * TOKENS as usize, "{used}");
    assert_eq!(used["total"]["cost_usd"], 0.2, "{used}");
    assert_eq!((&used["rows"][0]["route"], &used["rows"][0]["deployment"]), (&json!("r"), &json!("up")), "{used}");
    assert_eq!(upstream.counts().calls, ROOM as u64);
    let (status, _, _) = try_ask(&server, "POST", "/v1/chat/completions", "", &chat(false)).await.unwrap();
    assert_eq!(status, 429, "the day's money is spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_of_64_parallel_clients_get_the_money_that_there_is_for_twenty() {
    for (engine, stream) in [("memory", false), ("embedded", true)] {
        twenty_of_64_are_admitted_by_their_money(engine, stream).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_of_64_parallel_clients_get_a_minutes_requests() {
    for (engine, stream) in [("memory", true), ("embedded", false)] {
        let upstream = Upstream::start(Script::tokens(TOKENS));
        let server = server(engine, &upstream, "requests_per_minute = 20");
        let began = Instant::now();
        let mut clients = crowd(&server, stream);
        let (admitted, others): (Vec<_>, Vec<_>) =
            hear(&mut clients, CLIENTS).await.into_iter().partition(|(status, ..)| *status == 200);
        // The bucket fills while the crowd comes: one more every three seconds.
        let most = ROOM + 1 + usize::try_from(began.elapsed().as_secs()).unwrap() / 3;
        assert!((ROOM..=most).contains(&admitted.len()), "{} of at most {most}", admitted.len());
        refused(&others, "rate_limited");
        for (_, head, _) in admitted.iter().chain(&others) {
            assert!(head.contains("x-ratelimit-limit-requests: 20"), "{head}");
        }
        is_settled(&server).await;
        assert_eq!(upstream.counts().calls, admitted.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reserved_is_spent_after_a_kill_and_no_more_is_let_through() {
    let upstream = Upstream::start(Script { fault: Some(Fault::Silent), ..Script::tokens(TOKENS) });
    let mut server = server("embedded", &upstream, "usd_per_day = 0.2");
    let mut clients = crowd(&server, true);
    refused(&hear(&mut clients, CLIENTS - ROOM).await, "budget_exceeded");
    all_stalled(&upstream).await;
    server.kill();
    server.restart();
    upstream.play(Script::tokens(TOKENS));
    is_settled(&server).await;
    let used = get(&server, "/v1/usage").await;
    assert_eq!((&used["total"]["cost_usd"], &used["total"]["estimated"]), (&json!(0.2), &json!(true)), "{used}");
    let (status, _, body) = ask(&server, "POST", "/v1/chat/completions", "", &chat(false)).await;
    assert_eq!(status, 429, "{body}");
    assert_eq!(upstream.counts().calls, ROOM as u64, "a transient task is not tried again");
}

/// Submits a task without a bound for its answer, and gives back its id.
async fn submit(server: &Server, more: Value) -> String {
    let mut task = json!({ "prompt": "go", "model": "r", "max_attempts": 1 });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, _, body) = ask(server, "POST", "/v1/tasks", "", &task.to_string()).await;
    assert_eq!(status, 202, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, id: &str) -> Value {
    let (status, _, body) = ask(server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    assert_eq!(status, 200, "{body}");
    get(server, &format!("/v1/tasks/{id}")).await["end"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_a_left_and_a_failed_answer_cost_what_the_model_server_sent() {
    let upstream = Upstream::start(Script::tokens(1000).with(Fault::after(30, Break::Stall)));
    let server = server("memory", &upstream, "");
    let stopped = submit(&server, json!({})).await;
    let call = upstream.wait_for_stall().await;
    has_read(&server, &stopped, call.tokens).await;
    ask(&server, "POST", &format!("/v1/tasks/{stopped}/stop"), "", "").await;
    assert_eq!(upstream.wait_for_cancel().await.tokens, call.tokens);
    let end = ended(&server, &stopped).await;
    assert_eq!((&end["state"], &end["usage"]["output_tokens"]), (&json!("stopped"), &json!(call.tokens)), "{end}");
    assert_eq!(end["usage"]["estimated"], true, "{end}");
    assert!(end["usage"]["cost_nanousd"].as_u64().unwrap() >= call.tokens * 1_000_000, "{end}");

    let left = leave_in_mid_answer(&server, &upstream).await;
    let end = ended(&server, &left).await;
    assert_eq!((&end["state"], &end["usage"]["output_tokens"]), (&json!("stopped"), &json!(30)), "{end}");

    upstream.play(Script::tokens(1000).with(Fault::after(40, Break::Cut)));
    let failed = submit(&server, json!({})).await;
    let end = ended(&server, &failed).await;
    let call = upstream.calls().pop().unwrap();
    assert_eq!((&end["state"], &end["usage"]["output_tokens"]), (&json!("failed"), &json!(call.tokens)), "{end}");
    is_settled(&server).await;
}

/// A client of the OpenAI face that goes away in the middle of its stream. The task that it had.
async fn leave_in_mid_answer(server: &Server, upstream: &Upstream) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = json!({ "model": "r", "messages": [{ "role": "user", "content": "go" }], "stream": true }).to_string();
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (host, length) = (server.address(), body.len());
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&heard).contains("w29 ") {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "{}", String::from_utf8_lossy(&heard));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the stream comes as far as the model server lets it");
    drop(stream);
    assert_eq!(upstream.wait_for_cancel().await.tokens, 30);
    let heard = String::from_utf8(heard).unwrap().to_lowercase();
    heard.split("tidewire-task: ").nth(1).unwrap().lines().next().unwrap().to_owned()
}

/// Waits until so many tokens are in the task's log.
async fn has_read(server: &Server, id: &str, tokens: u64) {
    let read = async {
        loop {
            let page = get(server, &format!("/v1/tasks/{id}/events?format=json")).await;
            let events = page["events"].as_array().unwrap();
            let text = events.iter().filter(|event| event["type"] == "text");
            if text.map(|event| event["count"].as_u64().unwrap_or(1)).sum::<u64>() >= tokens {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("what was sent is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_outgrows_its_reservation_ends_where_the_money_does() {
    let upstream = Upstream::start(Script::tokens(5000).paced(Duration::ZERO, Duration::from_micros(100)));
    // Money for 1,280 tokens: what is reserved for a route's first answers, 1,024, and a quarter more.
    let server = server("memory", &upstream, "usd_per_day = 1.28");
    let task = submit(&server, json!({})).await;
    let end = ended(&server, &task).await;
    assert_eq!((&end["state"], &end["error"]["code"]), (&json!("failed"), &json!("budget_exceeded")), "{end}");
    let written = end["usage"]["output_tokens"].as_u64().unwrap();
    assert!((1280..=1281).contains(&written), "{end}");
    upstream.wait_for_cancel().await;
    is_settled(&server).await;
    assert_eq!(get(&server, "/v1/usage?group_by=").await["total"]["output_tokens"], written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_key_is_answered_however_little_is_left_and_reserves_nothing() {
    let upstream = Upstream::start(Script::tokens(1).with(Fault::Silent));
    let server = server("embedded", &upstream, "requests_per_minute = 1");
    let first = submit(&server, json!({ "idempotency_key": "k" })).await;
    let body = json!({ "prompt": "go", "model": "r", "max_attempts": 1 });
    let (status, head, _) = ask(&server, "POST", "/v1/tasks", "", &body.to_string()).await;
    assert_eq!(status, 429, "{head}");
    let known = json!({ "prompt": "go", "model": "r", "max_attempts": 1, "idempotency_key": "k" });
    let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", &known.to_string()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["id"], json!(first));
    assert_eq!(figure(&server, "tidewire_reservations").await, 1.0);
    upstream.wait_for_stall().await;
    upstream.resume();
    assert_eq!(ended(&server, &first).await["state"], "done");
    is_settled(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cached_part_of_a_prompt_costs_its_own_price_from_the_headers_to_the_budget() {
    let upstream = Upstream::start(Script { input_tokens: 1000, cached_tokens: 600, ..Script::tokens(TOKENS) });
    // For a million tokens $2, of cached ones $0.5, of written ones $8; and a budget that many such answers fit.
    let server = Server::start(&format!(
        "[[deployment]]\nname = \"up\"\nbackend = \"openai\"\nurl = \"{}\"\nprice_input = 2.0\n\
         price_cached_input = 0.5\nprice_output = 8.0\n[[route]]\nname = \"r\"\ndeployments = [\"up\"]\n\
         usd_per_day = 1.0\n",
        upstream.url()
    ));
    // 400 at $2, 600 at $0.5, 10 at $8.
    let cost = 0.001_18;
    for (stream, asked) in [(false, 1), (true, 2)] {
        let (status, head, body) = ask(&server, "POST", "/v1/chat/completions", "", &chat(stream)).await;
        assert_eq!(status, 200, "{body}");
        if !stream {
            assert!(head.contains("tidewire-cost-usd: 0.001180"), "{head}");
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 600, "{body}");
        }
        is_settled(&server).await;
        let used = get(&server, "/v1/usage").await;
        assert_eq!(used["total"]["cost_usd"], cost * f64::from(asked), "{used}");
        assert_eq!(used["total"]["cached_tokens"], 600 * asked, "{used}");
    }
}
