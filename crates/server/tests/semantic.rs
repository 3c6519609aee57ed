//! Answers to questions that mean the same, over HTTP: a paraphrase is answered from what is kept and says why; what only looks
//! alike, or is another tenant's, never is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::float_cmp, reason = "the figures are whole numbers")]

mod support;

use serde_json::{Value, json};
use support::keyed::{ADMIN, make_key, make_tenant};
use support::{PATIENCE, Server, ask};
use tidewire_testkit::upstream::{Fault, Script, Upstream};

const TOKENS: u32 = 10;

/// A model, and a model of vectors that sees how many words two texts have in common.
struct World {
    model: Upstream,
    vectors: Upstream,
}

impl World {
    fn start() -> Self {
        let by_words = Script { by_words: true, dimensions: 512, ..Script::default() };
        Self { model: Upstream::start(Script::tokens(TOKENS)), vectors: Upstream::start(by_words) }
    }

    /// A route `r` that keeps answers as told, and nothing else.
    fn config(&self, cache: &str) -> String {
        let deployment = |name: &str, upstream: &Upstream, price: &str| {
            let url = upstream.url();
            format!("[[deployment]]\nname = \"{name}\"\nbackend = \"openai\"\nurl = \"{url}\"\n{price}\n")
        };
        let up = deployment("up", &self.model, "price_input = 0.0\nprice_output = 1000.0");
        let vectors = deployment("vectors", &self.vectors, "");
        format!("{up}{vectors}[[route]]\nname = \"r\"\ndeployments = [\"up\"]\n[route.cache]\nttl_s = 3600\n{cache}\n")
    }

    fn calls(&self) -> usize {
        self.model.calls().len()
    }
}

fn semantic(threshold: f64) -> String {
    format!("semantic = {{ threshold = {threshold}, deployment = \"vectors\" }}")
}

struct Answer {
    state: String,
    similarity: Option<f64>,
    task: String,
    text: String,
}

/// Asks with a request that has all this, as a client with these headers.
async fn asks(server: &Server, headers: &str, question: &str, extra: &Value) -> Answer {
    let messages = [json!({ "role": "user", "content": question })];
    let mut body = json!({ "model": "r", "messages": messages, "temperature": 0 });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let (status, head, answer) = ask(server, "POST", "/v1/chat/completions", headers, &body.to_string()).await;
    assert_eq!(status, 200, "{question}: {answer}");
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    Answer {
        state: header("tidewire-cache").unwrap_or("none").to_owned(),
        similarity: header("tidewire-cache-similarity").map(|text| text.parse().unwrap()),
        task: header("tidewire-task").unwrap().to_owned(),
        text: answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
    }
}

async fn state(server: &Server, question: &str) -> String {
    asks(server, "", question, &json!({})).await.state
}

/// How often that has come of looking for a question that means the same.
async fn outcome(server: &Server, outcome: &str) -> u32 {
    let (_, _, text) = ask(server, "GET", "/metrics", "", "").await;
    let name = format!("tidewire_cache_semantic_total{{route=\"r\",outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

/// Waits until so many questions were remembered (or forgotten): that is done beside the answer.
async fn until(server: &Server, what: &str, count: u32) {
    let all = async {
        while outcome(server, what).await < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{count} {what}"));
}

/// Asks what was never asked, and waits until that is known.
async fn learns(server: &Server, question: &str, known: u32) -> Answer {
    let answer = asks(server, "", question, &json!({})).await;
    assert_eq!(answer.state, "miss", "{question}");
    until(server, "kept", known).await;
    answer
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, _, body) = ask(server, "GET", path, "", "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_in_other_words_gets_the_kept_answer_and_is_told_why() {
    let world = World::start();
    let server = Server::start(&world.config(&semantic(0.8)));
    let first = learns(&server, "How do I reset my password?", 1).await;
    // Five of six words.
    let second = asks(&server, "", "how can I reset my password", &json!({})).await;
    assert_eq!((second.state.as_str(), second.similarity), ("hit", Some(0.8333)));
    assert_eq!((second.text, world.calls()), (first.text, 1));

    let page = get(&server, &format!("/v1/tasks/{}/events?format=json", second.task)).await;
    let started = page["events"].as_array().unwrap().iter().find(|event| event["type"] == "started").unwrap();
    let told = &started["data"]["cache"];
    assert_eq!((&told["state"], &told["task"]), (&json!("hit"), &json!(first.task)), "{told}");
    let why = &told["semantic"];
    assert_eq!((&why["question"], &why["similarity"]), (&json!("How do I reset my password?"), &json!(0.833_333)));
    let story = get(&server, &format!("/v1/tasks/{}/trace", second.task)).await;
    let attempt = story["spans"].as_array().unwrap().iter().find(|span| span["part"] == "attempt").unwrap();
    let attributes = &attempt["attributes"];
    assert_eq!(
        (&attributes["tidewire.cache"], &attributes["tidewire.cache.similarity"], &attributes["tidewire.cache.task"]),
        (&json!("hit"), &json!(0.833_333), &json!(first.task)),
    );
    assert!(!story.to_string().contains("password"), "a trace leaves the house: {story}");
    let usage = &get(&server, &format!("/v1/tasks/{}", second.task)).await["end"]["usage"];
    assert_eq!((&usage["saved_nanousd"], &usage["output_tokens"]), (&json!(10_000_000), &json!(0)), "a cent");
    assert_eq!((outcome(&server, "hit").await, outcome(&server, "miss").await), (1, 1));

    // The same words are the same request, or close enough; no vector is asked for where the answer is at hand.
    let before = world.vectors.calls().len();
    let again = asks(&server, "", "How do I reset my password?", &json!({})).await;
    assert_eq!((again.state.as_str(), again.similarity, world.vectors.calls().len()), ("hit", None, before));
    // What is kept no more is given no more, and is forgotten.
    let (_, _, purged) =
        ask(&server, "POST", "/v1/admin/cache/purge", "", &json!({ "key": why["key"] }).to_string()).await;
    assert!(purged.contains("\"purged\":1"), "{purged}");
    assert_eq!((state(&server, "how can I reset my password").await.as_str(), world.calls()), ("miss", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_alike_and_means_something_else_is_asked_anew() {
    let world = World::start();
    let server = Server::start(&world.config(&semantic(0.6)));
    learns(&server, "Turn the kitchen lights on", 1).await;
    learns(&server, "How far is it in 10 days?", 2).await;
    learns(&server, "is the dog older than this cat", 3).await;
    let apart = ["Turn the kitchen lights off", "How far is it in 12 days?", "is the cat older than this dog"];
    for (number, other) in apart.into_iter().enumerate() {
        assert_eq!(state(&server, other).await, "miss", "{other}");
        assert_eq!(outcome(&server, "told_apart").await as usize, number + 1, "{other}");
    }
    // Close, and not close enough.
    assert_eq!(state(&server, "turn it over in the kitchen").await, "miss");
    // The same words where something else stands before them, or another length is asked for; and what acts, or samples.
    let said = json!({ "messages": [{ "role": "system", "content": "Be brief." },
        { "role": "user", "content": "turn on the kitchen lights" }] });
    let before = world.vectors.calls().len();
    for (other, expected) in [
        (said, "miss"),
        (json!({ "max_tokens": 5 }), "miss"),
        (json!({ "temperature": 1 }), "none"),
        (json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }), "none"),
    ] {
        let answer = asks(&server, "", "please turn the kitchen lights on", &other).await;
        assert_eq!(answer.state, expected, "{other}");
    }
    assert_eq!(world.vectors.calls().len(), before + 2, "none for what is never kept");
    assert_eq!(outcome(&server, "hit").await, 0);
    assert_eq!(state(&server, "please turn the kitchen lights on").await, "hit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_never_gets_it_also_where_the_route_shares_answers() {
    let world = World::start();
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("admin.key");
    std::fs::write(&file, ADMIN).unwrap();
    let identity = format!("[identity]\nadmin_key_file = \"{}\"\n", file.display());
    let shared = format!("scope = \"shared\"\n{}", semantic(0.8));
    let server = Server::start(&[identity, world.config(&shared)].concat());
    let mut clients = Vec::new();
    for tenant in ["acme", "umbrella"] {
        make_tenant(&server, tenant).await;
        let role = json!({ "tenant": tenant, "scopes": ["tasks:read", "tasks:write"] });
        clients.push(format!("authorization: Bearer {}\r\n", make_key(&server, role).await.1));
    }
    let asks = async |client: usize, question: &str| asks(&server, &clients[client], question, &json!({})).await;
    let kept = async |count: u32| {
        let admin = format!("authorization: Bearer {ADMIN}\r\n");
        let all = async {
            loop {
                let (_, _, text) = ask(&server, "GET", "/metrics", &admin, "").await;
                let line = format!("tidewire_cache_semantic_total{{route=\"r\",outcome=\"kept\"}} {count}");
                if text.lines().any(|found| found == line) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the question is known");
    };
    assert_eq!(asks(0, "How do I reset my password?").await.state, "miss");
    kept(1).await;
    let other = asks(1, "how can I reset my password").await;
    assert_eq!((other.state.as_str(), other.similarity), ("miss", None), "not the other tenant's");
    kept(2).await;
    assert_eq!(
        asks(1, "How do I reset my password?").await.similarity,
        None,
        "shared on purpose: the very same request"
    );
    let own = asks(0, "how should I reset my password").await;
    assert_eq!((own.state.as_str(), own.similarity), ("hit", Some(0.8333)), "its own");
    assert_eq!(world.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_unless_asked_for_and_what_can_not_be_meant_is_refused_with_what_to_do() {
    let world = World::start();
    let server = Server::start(&world.config(""));
    for question in ["How do I reset my password?", "how can I reset my password"] {
        assert_eq!(state(&server, question).await, "miss", "{question}");
    }
    assert_eq!((world.calls(), world.vectors.calls().len()), (2, 0));
    let file = server.dir.path().join("tidewire.toml");
    let reload = async |cache: &str| {
        let speaks = "[[deployment]]\nname = \"speaks\"\nbackend = \"anthropic\"\nurl = \"http://127.0.0.1:9\"\n";
        std::fs::write(&file, [speaks, &world.config(cache)].concat()).unwrap();
        ask(&server, "POST", "/v1/admin/reload", "", "").await
    };
    for (cache, wrong) in [
        ("semantic = { threshold = 0.9, deployment = \"nobody\" }", "`nobody`, which is none: name a [[deployment]]"),
        ("semantic = { threshold = 0.9, deployment = \"speaks\" }", "makes no vectors: name a [[deployment]]"),
        ("semantic = { threshold = 0.9, deployment = \"speaks\" }", "there are `up`, `vectors`"),
        ("semantic = { threshold = 1.5, deployment = \"vectors\" }", "`threshold`"),
        ("semantic = { deployment = \"vectors\" }", "threshold"),
    ] {
        let (status, _, told) = reload(cache).await;
        assert!(status == 400 && told.contains(wrong), "{cache}: {status} {told}");
    }
    // And on, without a restart.
    let (status, _, told) = reload(&semantic(0.8)).await;
    assert_eq!(status, 200, "{told}");
    learns(&server, "Where do I find my invoice?", 1).await;
    assert_eq!(state(&server, "where can I find my invoice").await, "hit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_judged_badly_is_given_neither_to_its_question_nor_to_others() {
    let world = World::start();
    let server = Server::start(&world.config(&semantic(0.8)));
    let judge = async |task: &str, score: i32| {
        let body = json!({ "score": score }).to_string();
        let (status, _, told) = ask(&server, "POST", &format!("/v1/tasks/{task}/feedback"), "", &body).await;
        assert!((200..300).contains(&status), "{status} {told}");
    };
    let (question, other) = ("How do I reset my password?", "how can I reset my password");
    // By whoever it was made for.
    let made = learns(&server, question, 1).await;
    judge(&made.task, 1).await;
    assert_eq!(state(&server, other).await, "hit", "a good word changes nothing");
    judge(&made.task, -1).await;
    until(&server, "judged", 1).await;
    let remade = learns(&server, other, 2).await;
    // By whoever it was given to, in other words.
    let given = asks(&server, "", question, &json!({})).await;
    assert_eq!((given.state.as_str(), given.similarity), ("hit", Some(0.8333)));
    judge(&given.task, -1).await;
    until(&server, "judged", 2).await;
    // Each is asked anew: the one that was judged, and those that were answered by it.
    let before = world.calls();
    assert_eq!(state(&server, other).await, "miss");
    assert_eq!(world.calls(), before + 1);
    // An old word about an answer that is gone takes nothing from the new one.
    until(&server, "kept", 3).await;
    judge(&remade.task, -1).await;
    judge(&made.task, -1).await;
    assert_eq!(state(&server, other).await, "hit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_vectors_the_model_answers_as_ever() {
    let world = World::start();
    let config = |route: &str, deployment: &str| {
        format!(
            "[[route]]\nname = \"{route}\"\ndeployments = [\"up\"]\n[route.cache]\n\
             semantic = {{ threshold = 0.8, deployment = \"{deployment}\" }}\n"
        )
    };
    // One that refuses, one that says nothing, and one that is not there.
    let (refuses, silent) =
        (Upstream::start(Script::failing(Fault::status(503))), Upstream::start(Script::failing(Fault::Silent)));
    let gone = { Upstream::start(Script::default()).url() };
    let mut all = world.config("");
    for (name, url) in [("refuses", refuses.url()), ("silent", silent.url()), ("gone", gone)] {
        let deployment = format!("[[deployment]]\nname = \"{name}\"\nbackend = \"openai\"\nurl = \"{url}\"\n");
        all.push_str(&deployment);
        all.push_str(&config(&format!("by-{name}"), name));
    }
    let server = Server::start(&all);
    for (number, route) in ["by-refuses", "by-silent", "by-gone"].into_iter().enumerate() {
        let of = json!({ "model": route });
        for question in ["How do I reset my password?", "how can I reset my password"] {
            let answer = asks(&server, "", question, &of).await;
            assert_eq!((answer.state.as_str(), answer.text), ("miss", Script::tokens(TOKENS).text()), "{route}");
        }
        assert_eq!(world.calls(), 2 * (number + 1));
        // What is asked for word by word is found without a vector.
        assert_eq!(asks(&server, "", "How do I reset my password?", &of).await.state, "hit");
    }
    let (_, _, metrics) = ask(&server, "GET", "/metrics", "", "").await;
    assert!(metrics.contains("tidewire_cache_semantic_total{route=\"by-silent\",outcome=\"failed\"} 2"), "{metrics}");
    assert_eq!((refuses.calls().len(), silent.calls().len()), (1, 1), "it is left alone for a while");
}
