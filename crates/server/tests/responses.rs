//! Responses and OpenAI's batches, as the official clients can't see them: the numbers of events over repeated reads, rewinds
//! and a crash, and a batch over a crash.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use support::{PATIENCE, Server, ask, scripted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A background response that the scripted backend plays.
fn background(script: &Value) -> Value {
    json!({ "model": "scripted", "input": "go", "background": true, "script": script })
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, answer) = ask(server, "POST", path, "", &body.to_string()).await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let (status, _, answer) = ask(server, "GET", path, "", "").await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

/// The events of a stream, chunk sizes and comments passed over.
fn events(body: &str) -> Vec<Value> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect()
}

/// The events after this number, to the end of the response.
async fn after(server: &Server, id: &str, after: Option<u64>) -> Vec<Value> {
    let after = after.map(|number| format!("&starting_after={number}")).unwrap_or_default();
    let (status, _, body) = ask(server, "GET", &format!("/v1/responses/{id}?stream=true{after}"), "", "").await;
    assert_eq!(status, 200, "{body}");
    events(&body)
}

/// Reads a response's events until there are so many, and cuts the connection.
async fn first(server: &Server, id: &str, count: usize) -> Vec<Value> {
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let request = format!(
        "GET /v1/responses/{id}?stream=true HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        server.address()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut body, mut buffer) = (Vec::new(), vec![0; 65536]);
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("events in time").unwrap();
        assert!(read > 0, "the stream ended before its {count}th event");
        body.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&body);
        // Only whole frames.
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        let found = events(whole);
        if found.len() >= count {
            return found[..count].to_vec();
        }
    }
}

fn number(event: &Value) -> u64 {
    event["sequence_number"].as_u64().unwrap()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn deltas(events: &[Value]) -> String {
    events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect()
}

async fn start(server: &Server, script: &Value) -> String {
    let (status, first) = post(server, "/v1/responses", &background(script)).await;
    assert_eq!((status, &first["status"], &first["output"]), (200, &json!("queued"), &json!([])), "{first}");
    first["id"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, id: &str) -> Value {
    let task = id.replacen("resp_", "task_", 1);
    get(server, &format!("/v1/tasks/{task}/text?wait_ms=60000")).await;
    get(server, &format!("/v1/responses/{id}")).await.1
}

#[tokio::test]
async fn an_event_has_one_number_however_often_and_from_wherever_it_is_read() {
    let server = Server::start(&scripted(4));
    let call =
        json!([{ "index": 0, "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }]);
    let script =
        json!({ "tokens": 6, "delay_ms": 5, "reasoning": "hm", "tool_calls": call, "finish_reason": "tool_calls" });
    let id = start(&server, &script).await;
    // Read while it is written, and again when it is done: not only the numbers are the same.
    let live = after(&server, &id, None).await;
    let text = ["response.output_item.added", "response.content_part.added"];
    let expected: Vec<&str> = ["response.created", "response.queued", "response.in_progress"]
        .into_iter()
        .chain(text)
        .chain(["response.reasoning_text.delta", "response.reasoning_text.done"])
        .chain(["response.content_part.done", "response.output_item.done"])
        .chain(text)
        .chain(["response.output_text.delta"; 6])
        .chain(["response.output_text.done", "response.content_part.done", "response.output_item.done"])
        .chain(["response.output_item.added", "response.function_call_arguments.delta"])
        .chain(["response.function_call_arguments.done", "response.output_item.done", "response.completed"])
        .collect();
    assert_eq!(kinds(&live), expected);
    assert_eq!(live.iter().map(number).collect::<Vec<_>>(), (0..live.len() as u64).collect::<Vec<_>>());
    assert_eq!(after(&server, &id, None).await, live);
    for event in &live {
        let place = usize::try_from(number(event)).unwrap() + 1;
        assert_eq!(after(&server, &id, Some(number(event))).await, live[place..], "after {place}");
    }
    let (status, refused) = get(&server, &format!("/v1/responses/{id}?stream=true&starting_after=999")).await;
    assert_eq!((status, &refused["error"]["code"]), (416, &json!("offset_in_future")), "{refused}");
    let whole = ended(&server, &id).await;
    assert_eq!(whole, live.last().unwrap()["response"], "what is looked at is what the last event said");
    assert_eq!(whole["output"][1]["content"][0]["text"], deltas(&live));
    assert_eq!(whole["output"][2]["arguments"], "{\"a\":1}");
}

#[tokio::test]
async fn a_background_response_goes_on_after_kill_9_with_the_same_numbers() {
    let mut server = Server::start(&scripted(4));
    let id = start(&server, &json!({ "tokens": 60, "delay_ms": 20 })).await;
    let seen = first(&server, &id, 20).await;
    server.kill();
    server.restart();
    let rest = after(&server, &id, seen.last().map(number)).await;
    let whole = [seen, rest].concat();
    assert_eq!(whole.iter().map(number).collect::<Vec<_>>(), (0..whole.len() as u64).collect::<Vec<_>>());
    assert_eq!(whole.last().unwrap()["type"], "response.completed", "{:?}", whole.last());
    assert_eq!(deltas(&whole), support::script_text("w", 60));
    assert_eq!(after(&server, &id, None).await, whole, "read again, after the crash");
}

#[tokio::test]
async fn text_that_was_taken_back_is_told_as_an_error_to_whoever_has_it_and_to_nobody_else() {
    let server = Server::start(&format!("{}[worker]\nbackoff_ms = 10\n", scripted(4)));
    // The first run breaks in the middle and can't be gone on with.
    let script =
        json!({ "tokens": 8, "delay_ms": 0, "continues": false, "fail_at": 4, "fail_attempts": 1, "key": "rewind" });
    let id = start(&server, &script).await;
    let whole = ended(&server, &id).await;
    assert_eq!(
        (&whole["status"], &whole["output"][0]["content"][0]["text"]),
        (&json!("completed"), &json!(support::script_text("w", 8)))
    );
    assert_eq!(whole["output"].as_array().unwrap().len(), 1);
    let clean = after(&server, &id, None).await;
    assert_eq!(deltas(&clean), support::script_text("w", 8), "a replay leaves out what was taken back");
    assert_eq!(clean.last().unwrap()["type"], "response.completed");
    let numbers: Vec<u64> = clean.iter().map(number).collect();
    // created, queued, in_progress; then two of the item, four deltas and the error, which nobody gets who did not see them.
    assert_eq!(numbers[..4], [0, 1, 2, 10], "{numbers:?}");
    for has in 3..9 {
        let rest = after(&server, &id, Some(has)).await;
        assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), (has + 1..=9).collect::<Vec<_>>());
        assert_eq!(
            (&rest.last().unwrap()["type"], &rest.last().unwrap()["code"]),
            (&json!("error"), &json!("rewound"))
        );
    }
    let (status, refused) = get(&server, &format!("/v1/responses/{id}?stream=true&starting_after=9")).await;
    assert_eq!((status, &refused["error"]["code"]), (502, &json!("rewound")), "{refused}");
    for has in [2, 10, 13] {
        let expected: Vec<Value> = clean.iter().filter(|event| number(event) > has).cloned().collect();
        assert_eq!(after(&server, &id, Some(has)).await, expected, "after {has}");
    }
}

#[tokio::test]
async fn a_batch_of_a_file_is_answered_over_kill_9() {
    let mut server = Server::start(&scripted(2));
    let line = |n: usize| {
        let body = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }],
            "script": { "tokens": 20, "delay_ms": 10, "seed": format!("s{n}-") } });
        json!({ "custom_id": format!("line-{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body })
            .to_string()
    };
    let lines: Vec<String> = (0..6).map(line).collect();
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\ncontent-disposition: \
         form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--x--\r\n",
        lines.join("\n")
    );
    let (_, _, file) =
        ask(&server, "POST", "/v1/files", "content-type: multipart/form-data; boundary=x\r\n", &form).await;
    let file: Value = serde_json::from_str(&file).unwrap();
    let asked = json!({ "input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let (status, batch) = post(&server, "/v1/batches", &asked).await;
    assert_eq!((status, &batch["status"]), (200, &json!("in_progress")), "{batch}");
    server.kill();
    server.restart();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let over = async {
        loop {
            let (_, batch) = get(&server, &path).await;
            if batch["status"] == "completed" {
                return batch;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let batch = tokio::time::timeout(PATIENCE, over).await.expect("the batch ends");
    assert_eq!(batch["request_counts"], json!({ "total": 6, "completed": 6, "failed": 0 }), "{batch}");
    let content = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    let (_, _, output) = ask(&server, "GET", &content, "", "").await;
    let answers: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["custom_id"], format!("line-{n}"), "in the order of the lines");
        let text = &answer["response"]["body"]["choices"][0]["message"]["content"];
        assert_eq!(text, &json!(support::script_text(&format!("s{n}-"), 20)));
    }
    assert_eq!((answers.len(), &batch["error_file_id"]), (6, &Value::Null));
}

#[tokio::test]
async fn a_failed_or_deleted_response_says_so() {
    let server = Server::start(&scripted(4));
    let id = start(&server, &json!({ "tokens": 5, "delay_ms": 0, "fail_at": 0, "fault": "invalid" })).await;
    let failed = ended(&server, &id).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("invalid_input")), "{failed}");
    assert_eq!(after(&server, &id, None).await.last().unwrap()["type"], "response.failed");
    // A caller that waits gets a status instead, streamed or not.
    for stream in [false, true] {
        let asked = json!({ "model": "scripted", "input": "go", "stream": stream, "script": { "fail_at": 0, "fault": "invalid" } });
        let (status, refused) = post(&server, "/v1/responses", &asked).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("invalid_input")), "{refused}");
    }
    let secret = json!({ "model": "scripted", "input": "the secret", "instructions": "a secret", "metadata": { "a": "b" },
        "script": { "tokens": 2, "delay_ms": 0 } });
    let (_, kept) = post(&server, "/v1/responses", &secret).await;
    let id = kept["id"].as_str().unwrap();
    assert_eq!((&kept["instructions"], &kept["metadata"]), (&json!("a secret"), &json!({ "a": "b" })), "{kept}");
    let (status, _, gone) = ask(&server, "DELETE", &format!("/v1/responses/{id}"), "", "").await;
    assert_eq!(status, 200, "{gone}");
    for path in [format!("/v1/responses/{id}"), format!("/v1/responses/{id}/input_items")] {
        let (status, refused) = get(&server, &path).await;
        assert_eq!((status, &refused["error"]["code"]), (404, &json!("unknown_response")), "{path}: {refused}");
    }
    let (_, task) = get(&server, &format!("/v1/tasks/{}?input=true", id.replacen("resp_", "task_", 1))).await;
    assert!(!task.to_string().contains("secret"), "{task}");
    let (status, unstored) =
        post(&server, "/v1/responses", &json!({ "input": "go", "store": false, "script": { "tokens": 1 } })).await;
    assert_eq!((status, &unstored["store"]), (200, &json!(false)), "{unstored}");
    assert_eq!(get(&server, &format!("/v1/responses/{}", unstored["id"].as_str().unwrap())).await.0, 404);
}
