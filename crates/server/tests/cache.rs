//! Answers that are kept and shared, over HTTP, against a model server that counts for itself: a crowd that asks the same is one
//! call and one charge; an old answer is better than an error; and nobody gets what is not theirs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "the figures are whole numbers")]

mod support;

use serde_json::{Value, json};
use std::time::Instant;
use support::keyed::{ADMIN, make_key, make_tenant, with_key};
use support::sharing::{
    CENT, TOKENS, asks, chat, config, dollars, heard, joined, send, settled, source, standing, stands,
};
use support::{PATIENCE, Server, ask, number_from_env};
use tidewire_testkit::upstream::{Fault, Script, State, Upstream};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_asks_the_same_is_one_call_and_one_charge() {
    let crowd = number_from_env("TIDEWIRE_TEST_JOINERS", 200);
    let upstream = Upstream::start(standing());
    let server = Server::start(&config(&upstream, "ttl_s = 60"));
    let mut clients = JoinSet::new();
    for _ in 0..crowd {
        let address = server.address().to_owned();
        clients.spawn(async move { heard(send(&address, "", &chat("go", &json!({}))).await).await });
    }
    stands(&upstream).await;
    // Far more of them than the route has slots, and all are on the one call before it goes on.
    joined(&server, crowd - 1).await;
    upstream.resume();
    let text = Script::tokens(TOKENS).text();
    while let Some(heard) = clients.join_next().await {
        let heard = heard.unwrap();
        assert_eq!((heard.status, heard.whole), (200, true), "{}", heard.head);
        assert_eq!(heard.text, text);
    }
    assert_eq!(upstream.calls().len(), 1);
    let total = settled(&server, crowd as u64).await;
    assert_eq!((total["output_tokens"].as_u64(), total["input_tokens"].as_u64()), (Some(10), Some(7)));
    assert_eq!(dollars(&total, "cost_usd"), CENT);
    assert_eq!(dollars(&total, "saved_usd"), (CENT * (crowd - 1) as f64 * 1e6).round() / 1e6);
    assert_eq!(source(&server, &chat("go", &json!({}))).await, "hit");
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_takes_nothing_from_the_others_and_the_last_one_closes_the_upstream() {
    let upstream = Upstream::start(standing());
    let server = Server::start(&config(&upstream, ""));
    let body = chat("go", &json!({}));
    let first = send(server.address(), "", &body).await;
    stands(&upstream).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(send(server.address(), "", &body).await);
    }
    joined(&server, 3).await;
    drop(first);
    // The one that pays now is the first of those who stayed.
    settled_tasks(&server, 1).await;
    upstream.resume();
    for other in others {
        let heard = heard(other).await;
        assert_eq!((heard.whole, &heard.text), (true, &Script::tokens(TOKENS).text()));
        assert_eq!(heard.header("tidewire-cache"), Some("joined"), "{}", heard.head);
    }
    let total = settled(&server, 4).await;
    assert_eq!(dollars(&total, "cost_usd"), CENT);
    assert_eq!(upstream.calls().len(), 1);

    // And where all leave: nobody goes on reading, and the last one pays for what there was.
    let body = chat("another", &json!({}));
    let all = [send(server.address(), "", &body).await, send(server.address(), "", &body).await];
    joined(&server, 4).await;
    upstream
        .wait_for("the second call stands", |calls| {
            calls.get(1).is_some_and(|call| call.state == State::Stalled).then_some(())
        })
        .await;
    let left = Instant::now();
    drop(all);
    upstream
        .wait_for("the second call is closed", |calls| {
            calls.get(1).is_some_and(|call| call.state == State::Cancelled).then_some(())
        })
        .await;
    let closed = upstream.calls()[1].ended.unwrap().saturating_duration_since(left);
    assert!(closed < PATIENCE / 2, "it took {closed:?}");
    let total = settled(&server, 6).await;
    let used = total["output_tokens"].as_u64().unwrap() - 10;
    assert!((1..=6).contains(&used), "an estimate of three tokens that were sent: {used}");
}

async fn settled_tasks(server: &Server, tasks: u64) {
    let all = async {
        loop {
            let (_, _, body) = ask(server, "GET", "/v1/usage", "", "").await;
            let report: Value = serde_json::from_str(&body).unwrap();
            if report["total"]["tasks"].as_u64() >= Some(tasks) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the tasks are settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_the_same_is_shared_and_what_samples_or_acts_is_not() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 60"));
    let calls = || upstream.calls().len();
    assert_eq!((source(&server, &chat("a", &json!({}))).await.as_str(), calls()), ("miss", 1));
    // The same in another order, with what says nothing about the answer.
    let same = "{ \"user\":\"u\", \"stream\" : true,\"messages\":[{\"content\":\"\\u0061\",\"role\":\"user\"}],\n\"temperature\":0,\"model\":\"r\"}";
    assert_eq!((source(&server, same).await.as_str(), calls()), ("hit", 1));
    for (number, extra) in [json!({"max_tokens": 10}), json!({"seed": 5}), json!({"top_p": 0.5})].iter().enumerate() {
        assert_eq!((source(&server, &chat("a", extra)).await.as_str(), calls()), ("miss", number + 2), "{extra}");
    }
    let before = calls();
    for extra in [json!({"temperature": 0.7}), json!({"tools": [{"type": "function", "function": {"name": "f"}}]})] {
        for _ in 0..2 {
            assert_eq!(source(&server, &chat("a", &extra)).await, "none", "{extra}");
        }
    }
    assert_eq!(calls(), before + 4);
    // What a client says of it.
    let says = async |word: &str| {
        let heard = asks(&server, &format!("cache-control: {word}\r\n"), &chat("a", &json!({}))).await;
        (heard.status, heard.header("tidewire-cache").map(str::to_owned), heard.header("age").map(str::to_owned))
    };
    let before = calls();
    let hit = says("only-if-cached").await;
    assert_eq!((hit.0, hit.1.as_deref(), hit.2.is_some()), (200, Some("hit"), true));
    assert_eq!(calls(), before);
    assert_eq!(says("no-cache").await.1.as_deref(), Some("miss"));
    assert_eq!(calls(), before + 1);
    let none = asks(&server, "cache-control: only-if-cached\r\n", &chat("never asked", &json!({}))).await;
    assert_eq!(none.status, 504, "{}", none.head);
    let (status, _, purged) = ask(&server, "POST", "/v1/admin/cache/purge", "", "{\"route\":\"r\"}").await;
    assert_eq!((status, purged.contains("\"purged\":4")), (200, true), "{purged}");
    assert_eq!(source(&server, &chat("a", &json!({}))).await, "miss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_share_nothing_unless_a_route_says_so() {
    let upstream = Upstream::start(standing());
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("admin.key");
    std::fs::write(&file, ADMIN).unwrap();
    let identity = format!("[identity]\nadmin_key_file = \"{}\"\n", file.display());
    let server = Server::start(&[identity, config(&upstream, "ttl_s = 60")].concat());
    let mut keys = Vec::new();
    for tenant in ["acme", "umbrella"] {
        make_tenant(&server, tenant).await;
        let role = json!({ "tenant": tenant, "scopes": ["tasks:read", "tasks:write", "tasks:stop"] });
        keys.push(make_key(&server, role).await.1);
    }
    let body = chat("go", &json!({}));
    let mut streams = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        streams.push(send(server.address(), &format!("authorization: Bearer {key}\r\n"), &body).await);
        let stand = |call: &&tidewire_testkit::upstream::Call| call.state == State::Stalled;
        upstream
            .wait_for("a call of its own", |calls| (calls.iter().filter(stand).count() > number).then_some(()))
            .await;
    }
    upstream.resume();
    for stream in streams {
        let heard = heard(stream).await;
        assert_eq!((heard.header("tidewire-cache"), heard.whole), (Some("miss"), true), "{}", heard.head);
    }
    assert_eq!(upstream.calls().len(), 2);
    let (status, _) = with_key(&server, &keys[0], "POST", "/v1/admin/cache/purge", &json!({})).await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_provider_is_down_the_last_good_answer_is_given_with_its_age_and_the_reason() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 0\nstale_if_error_s = 3600"));
    let body = chat("go", &json!({}));
    assert_eq!(source(&server, &body).await, "miss");
    upstream.play(Script::failing(Fault::status(503)));
    let stale = asks(&server, "", &body).await;
    assert_eq!((stale.status, stale.whole), (200, true), "{}", stale.head);
    assert_eq!(stale.text, Script::tokens(TOKENS).text());
    assert_eq!(stale.header("tidewire-cache"), Some("stale"));
    assert_eq!(stale.header("tidewire-cache-reason"), Some("upstream_overloaded"));
    assert!(stale.header("age").unwrap().parse::<u64>().unwrap() < 60);
    let other = asks(&server, "", &chat("never answered", &json!({}))).await;
    assert!(other.status >= 500, "no answer is made up: {}", other.head);
    upstream.play(Script::tokens(TOKENS));
    // Its breaker may have opened: then the old answer is given until a probe finds it well.
    let fresh = async { while source(&server, &body).await != "miss" {} };
    tokio::time::timeout(PATIENCE, fresh).await.expect("a new answer once the provider is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_readers_of_an_old_answer_have_it_made_anew_once() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 0\nstale_while_revalidate_s = 3600"));
    let body = chat("go", &json!({}));
    assert_eq!(source(&server, &body).await, "miss");
    // The refresh stands still until all readers have what they came for.
    upstream.play(standing());
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let (address, body) = (server.address().to_owned(), body.clone());
        readers.spawn(async move { heard(send(&address, "", &body).await).await });
    }
    while let Some(heard) = readers.join_next().await {
        let heard = heard.unwrap();
        assert_eq!((heard.header("tidewire-cache"), heard.whole), (Some("stale"), true), "{}", heard.head);
    }
    upstream
        .wait_for("the refresh", |calls| calls.get(1).is_some_and(|call| call.state == State::Stalled).then_some(()))
        .await;
    upstream.resume();
    // It is a task like any other: listed, and charged.
    let total = settled(&server, 102).await;
    assert_eq!(upstream.calls().len(), 2);
    assert_eq!(dollars(&total, "cost_usd"), 2.0 * CENT);
    let (_, _, list) = ask(&server, "GET", "/v1/tasks?limit=100&model=r", "", "").await;
    assert!(list.contains("\"tidewire\":\"refresh\""), "the refresh is listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_kept_over_a_restart_and_a_paced_one_comes_as_it_came() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let mut server = Server::start(&config(&upstream, "ttl_s = 3600\nreplay = \"paced\""));
    let body = chat("go", &json!({}));
    assert_eq!(source(&server, &body).await, "miss");
    settled(&server, 1).await;
    server.kill();
    server.restart();
    let hit = asks(&server, "", &body).await;
    assert_eq!(
        (hit.header("tidewire-cache"), hit.text.as_str()),
        (Some("hit"), Script::tokens(TOKENS).text().as_str())
    );
    assert_eq!(upstream.calls().len(), 1);
    // Told in its log too.
    let (_, _, list) = ask(&server, "GET", "/v1/tasks?limit=1", "", "").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list["tasks"][0]["id"].as_str().unwrap();
    let (_, _, page) = ask(&server, "GET", &format!("/v1/tasks/{id}/events?format=json"), "", "").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    let started = page["events"].as_array().unwrap().iter().find(|event| event["type"] == "started").unwrap();
    assert_eq!(started["data"]["cache"]["state"], "hit", "{started}");
    assert!(started["data"]["cache"]["task"].is_string() && started["data"]["cache"]["age_ms"].is_u64());
    assert_eq!(settled(&server, 2).await["saved_usd"], CENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_kept_under_other_guardrails_is_not_given_after_a_reload() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream, "ttl_s = 3600"));
    let reload = async |guard: &str| {
        let config = [config(&upstream, "ttl_s = 3600"), guard.to_owned()].concat();
        std::fs::write(server.dir.path().join("tidewire.toml"), config).unwrap();
        let (status, _, body) = ask(&server, "POST", "/v1/admin/reload", "", "").await;
        assert_eq!(status, 200, "{body}");
    };
    let guard = |pattern: &str| format!("[[guard]]\nname = \"g\"\npattern = \"{pattern}\"\nplace = \"answer\"\n");
    let body = chat("go", &json!({}));
    assert_eq!(source(&server, &body).await, "miss");
    assert_eq!(source(&server, &body).await, "hit");
    for (number, pattern) in ["w3", "w4"].into_iter().enumerate() {
        reload(&guard(pattern)).await;
        let masked = asks(&server, "", &body).await;
        assert_eq!((masked.header("tidewire-cache"), upstream.calls().len()), (Some("miss"), number + 2), "{pattern}");
        assert_eq!(masked.text, Script::tokens(TOKENS).text().replace(pattern, "[g]"));
        let again = asks(&server, "", &body).await;
        assert_eq!((again.header("tidewire-cache"), &again.text), (Some("hit"), &masked.text));
    }
    // A rule that is not for this route changes nothing of it; and what was kept without rules is good without them.
    reload(&[guard("w5"), "routes = [\"other\"]\n".to_owned()].concat()).await;
    let unmasked = asks(&server, "", &body).await;
    assert_eq!((unmasked.header("tidewire-cache"), &*unmasked.text), (Some("hit"), &*Script::tokens(TOKENS).text()));
}
