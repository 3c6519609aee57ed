//! What operators see at a glance, and who may: over HTTP, with the scripted backend.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use support::keyed::{ADMIN, endless, make_key, make_tenant, revoke, short, with_key};
use support::looking::Looker;
use support::{PATIENCE, Server, ask, scripted};

/// A server with the first key, and a model that has two slots and costs $1000 for a million tokens that it writes.
fn start() -> (Server, tempfile::TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("admin.key");
    std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
    let priced = format!("{}price_input = 0.0\nprice_output = 1000.0\n", scripted(2));
    (Server::start(&format!("{priced}[identity]\nadmin_key_file = \"{}\"\n", file.display())), secrets)
}

async fn get(server: &Server, key: &str, path: &str) -> Value {
    let (status, answer) = with_key(server, key, "GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Submits a task: its id.
async fn submit(server: &Server, key: &str, task: &Value) -> String {
    let (status, answer) = with_key(server, key, "POST", "/v1/tasks", task).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// Looks until what is seen is as it should be.
async fn until(server: &Server, as_it_should_be: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    let wait = async {
        loop {
            seen = get(server, ADMIN, "/v1/operations").await;
            if as_it_should_be(&seen) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, wait).await.is_ok();
    assert!(in_time, "it never came to that: {seen:#}");
    seen
}

fn running(seen: &Value) -> Vec<&str> {
    seen["leases"].as_array().unwrap().iter().map(|lease| lease["task"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_was_done_what_runs_and_what_waits() {
    let (server, _secrets) = start();
    make_tenant(&server, "acme").await;
    let (_, acme) = make_key(&server, json!({ "tenant": "acme", "scopes": ["tasks:write", "tasks:read"] })).await;
    for _ in 0..3 {
        let id = submit(&server, &acme, &short()).await;
        // Followed from before its end, as a screen does.
        let headers = format!("authorization: Bearer {acme}\r\naccept: text/event-stream\r\n");
        assert!(ask(&server, "GET", &format!("/v1/tasks/{id}/events"), &headers, "").await.2.contains("event: end"));
    }
    let measures = json!({ "measures": [{ "name": "ttar", "ms": 250 }] });
    assert_eq!(with_key(&server, &acme, "POST", "/v1/measures", &measures).await.0, 204);
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(submit(&server, &acme, &endless()).await);
    }
    let mut pressing = endless();
    pressing["priority"] = json!("interactive");
    submit(&server, &acme, &pressing).await;
    let asked = |seen: &Value| seen["leases"].as_array().unwrap().iter().all(|lease| lease["deployment"] == "scripted");
    let seen =
        until(&server, |seen| running(seen).len() == 2 && asked(seen) && seen["tenants"][0]["tasks_today"] == 3).await;

    let first = &seen["leases"][0];
    assert_eq!((&first["tenant"], &first["model"], &first["attempt"]), (&json!("acme"), &json!("scripted"), &json!(1)));
    assert!(first["since"].as_u64() <= seen["leases"][1]["since"].as_u64(), "the oldest first: {seen:#}");
    assert!(running(&seen).contains(&tasks[0].as_str()), "{seen:#}");
    let queue = &seen["queue"];
    assert_eq!((&queue["waiting"], &queue["running"]), (&json!(1), &json!(2)), "{queue}");
    assert!(queue["oldest_ms"].is_u64(), "{queue}");
    assert_eq!(
        (&queue["by_priority"][0]["priority"], queue["by_priority"].as_array().unwrap().len()),
        (&json!("interactive"), 1)
    );
    let line = &queue["by_tenant"][0];
    assert_eq!(
        (&line["tenant"], &line["waiting"], &line["running"]),
        (&json!("acme"), &json!(1), &json!(2)),
        "{queue}"
    );
    assert_eq!(queue["by_route"], json!([{ "route": "scripted", "waiting": 1 }]));
    assert_eq!((&seen["workers"][0]["running"], &seen["workers"][0]["slots"]), (&json!(2), &json!(2)));

    let latencies = &seen["latencies"];
    assert_eq!((&latencies["ack"]["count"], &latencies["total"]["count"]), (&json!(6), &json!(3)), "{latencies}");
    let ttar = latencies["ttar"]["p50_ms"].as_f64().unwrap();
    assert!((ttar - 250.0).abs() < 2.5, "to one per cent: {latencies}");
    for name in ["ttft", "tpot", "delivery_lag"] {
        assert!(latencies[name]["p99_ms"].is_number(), "`{name}`: {latencies}");
    }
    let acme = &seen["tenants"][0];
    // Two tokens each, at a tenth of a cent.
    assert_eq!((&acme["name"], &acme["tasks_today"]), (&json!("acme"), &json!(3)), "{acme}");
    let money = |name: &str| acme[name].as_f64().unwrap();
    assert!((money("today_usd") - 0.006).abs() < 1e-9 && (money("month_usd") - 0.006).abs() < 1e-9, "{acme}");
    assert!(money("reserved_usd") > 0.0, "what runs and waits holds something: {acme}");
    assert_eq!(seen["deployments"][0]["strip"][0]["ok"], 3, "{seen:#}");
    assert_eq!((&seen["refusals"]["queue_full"], &seen["server"]["takes_changes"]), (&json!(0), &json!(true)));
    assert_eq!(seen["routes"], get(&server, ADMIN, "/v1/routes").await["routes"]);

    assert_eq!(
        with_key(&server, &acme_key(&server).await, "POST", &format!("/v1/tasks/{}/stop", tasks[0]), &Value::Null)
            .await
            .0,
        200
    );
    // Its slot goes to the one that waited.
    let seen = until(&server, |seen| !running(seen).contains(&tasks[0].as_str()) && running(seen).len() == 2).await;
    assert_eq!(seen["queue"]["waiting"], 0, "{seen:#}");
}

/// One more key of the tenant.
async fn acme_key(server: &Server) -> String {
    make_key(server, json!({ "tenant": "acme", "scopes": ["tasks:stop"] })).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_the_sections_that_changed_and_ends_up_with_what_there_is() {
    let (server, _secrets) = start();
    let mut looker = Looker::open(&server, Some(ADMIN)).await.unwrap();
    assert_eq!(looker.next().await.unwrap().0, "snapshot");
    let id = submit(&server, ADMIN, &endless()).await;
    looker.until(|known| running(known) == [id.as_str()]).await;
    // Each update was news: the looker checks it. What nobody has touched was never told again.
    assert_eq!(with_key(&server, ADMIN, "POST", &format!("/v1/tasks/{id}/stop"), &Value::Null).await.0, 200);
    looker.until(|known| running(known).is_empty() && known["latencies"]["total"]["count"] == 1).await;
    let now = until(&server, |seen| seen["tenants"][0]["tasks_today"] == 1).await;
    looker.until(|known| known["tenants"] == now["tenants"] && known["queue"] == now["queue"]).await;
    for section in ["latencies", "leases", "refusals", "cache", "workers"] {
        assert_eq!(looker.known[section], now[section], "{section}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_changes_a_stream_tells_nothing_but_the_next_point() {
    let server = Server::start(&format!("engine = \"memory\"\n{}", scripted(2)));
    let mut looker = Looker::open(&server, None).await.unwrap();
    assert_eq!(looker.next().await.unwrap().0, "snapshot");
    assert_eq!(looker.known["history"], json!({ "step_ms": 10_000, "end": 0, "series": {} }));
    let mut updates = Vec::new();
    let point = loop {
        match looker.next().await.unwrap() {
            (name, data) if name == "update" => updates.push(data),
            (name, data) => {
                assert_eq!(name, "point");
                break data;
            }
        }
    };
    // The rates of the first ten seconds, which come with their end.
    assert_eq!(updates.len(), 1, "{updates:?}");
    let sections: Vec<&String> = updates[0].as_object().unwrap().keys().collect();
    assert_eq!(sections, ["server"]);
    assert_eq!(updates[0]["server"]["tokens_per_second"], 0.0);
    let values = &point["values"];
    assert_eq!(
        (&values["waiting"], &values["ack_p50"], &values["connections"]),
        (&json!(0.0), &Value::Null, &json!(1.0))
    );
    let history = get(&server, "", "/v1/operations").await["history"].clone();
    assert_eq!((&history["end"], &history["series"]["connections"]), (&point["at"], &json!([1.0])));
    assert_eq!(history["series"].as_object().unwrap().len(), values.as_object().unwrap().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_look_and_their_streams_end_with_their_keys() {
    let (server, _secrets) = start();
    let (_, plain) = make_key(&server, json!({ "scopes": ["tasks:write", "tasks:read"] })).await;
    let (id, reader) = make_key(&server, json!({ "role": "read-only" })).await;
    assert_eq!(with_key(&server, &plain, "GET", "/v1/operations", &Value::Null).await.0, 403);
    assert_eq!(Looker::open(&server, Some(&plain)).await.err(), Some(403));
    assert_eq!(Looker::open(&server, None).await.err(), Some(401));
    get(&server, &reader, "/v1/operations").await;
    let mut looker = Looker::open(&server, Some(&reader)).await.unwrap();
    assert_eq!(looker.next().await.unwrap().0, "snapshot");
    revoke(&server, &id).await;
    let mut last = None;
    while let Some(next) = looker.next().await {
        last = Some(next);
    }
    let (name, error) = last.expect("a last word");
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!("key_revoked")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_than_64_streams_and_a_place_comes_free() {
    let server = Server::start(&format!("engine = \"memory\"\n{}", scripted(1)));
    let mut lookers = Vec::new();
    for _ in 0..64 {
        lookers.push(Looker::open(&server, None).await.unwrap());
    }
    assert_eq!(Looker::open(&server, None).await.err(), Some(429));
    lookers.pop();
    let again = async {
        while Looker::open(&server, None).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place comes free");
}
