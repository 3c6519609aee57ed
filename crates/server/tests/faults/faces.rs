//! The faces, each read as a client reads it that knows nothing of the others.

use super::cases::Case;
use super::support::{Server, exchange};
use serde_json::{Value, json};
use tidewire_client::Answer;
use tidewire_client::proto::WireEvent;
use tidewire_proto::Submission;

/// Where a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Face {
    ChatStream,
    ChatWhole,
    ResponsesStream,
    ResponsesWhole,
    MessagesStream,
    MessagesWhole,
    WebSocket,
    Sse,
    LongPoll,
    Text,
}

impl Face {
    pub(crate) const ALL: [Self; 10] = [
        Self::ChatStream,
        Self::ChatWhole,
        Self::ResponsesStream,
        Self::ResponsesWhole,
        Self::MessagesStream,
        Self::MessagesWhole,
        Self::WebSocket,
        Self::Sse,
        Self::LongPoll,
        Self::Text,
    ];

    /// Whether it tells words before the answer is whole, and can't take them back.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::ChatStream | Self::ResponsesStream | Self::MessagesStream)
    }

    /// Whether its errors have room for when to come again.
    pub(crate) fn tells_when(self) -> bool {
        self != Self::Text
    }
}

/// What a client made of it.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    /// What it takes for the whole answer.
    Answer(String),
    /// An error that it can see.
    Error { code: String, retry_after: bool },
    /// Neither.
    Open(String),
}

impl Got {
    fn ended(end: &Value, text: &str) -> Self {
        match end["state"].as_str() {
            Some("done") => Self::Answer(text.to_owned()),
            Some("failed") => Self::Error {
                code: end["error"]["code"].as_str().unwrap_or_default().to_owned(),
                retry_after: end["error"]["retry_after_ms"].is_u64(),
            },
            _ => Self::Open(end.to_string()),
        }
    }

    fn of(answer: &Answer) -> Self {
        match answer.end() {
            Some(end) => Self::ended(end, answer.text()),
            None => Self::Open(format!("no end after {:?}", answer.text())),
        }
    }

    fn refused(status: u16, head: &str, body: &str) -> Self {
        let error: Value = serde_json::from_str(body).unwrap_or_default();
        let code = error["error"]["code"].as_str().unwrap_or_default().to_owned();
        if status < 400 {
            Self::Open(body.to_owned())
        } else {
            Self::Error { code, retry_after: head.contains("retry-after: ") }
        }
    }
}

fn messages() -> Value {
    json!([{ "role": "user", "content": "go" }])
}

/// HTTP/1.0: the body comes as it is, without the lengths of chunks in it.
async fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let (host, length) = (server.address(), body.len());
    let request =
        format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    exchange(host, &request).await.expect("the server answers")
}

async fn chat(server: &Server, model: &str, stream: bool) -> (u16, String, String) {
    let body = json!({ "model": model, "stream": stream, "messages": messages() }).to_string();
    ask(server, "POST", "/v1/chat/completions", "content-type: application/json\r\n", &body).await
}

/// `POST /v1/chat/completions` with `stream`, as OpenAI's own clients read it: an error object raises, and an answer is whole
/// that told why it ends.
pub(crate) async fn chat_stream(server: &Server, case: &Case) -> Got {
    let (status, head, body) = chat(server, &case.route("stream"), true).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let (mut text, mut reason, mut done) = (String::new(), None, false);
    for data in body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        assert!(!done, "something came after the end: {data}");
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).expect("each chunk is JSON");
        if let Some(code) = chunk["error"]["code"].as_str() {
            // In the middle of a body nothing but the message can say when.
            return Got::Error { code: code.to_owned(), retry_after: true };
        }
        text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        reason = chunk["choices"][0]["finish_reason"].as_str().map(str::to_owned).or(reason);
    }
    match (reason, done) {
        (Some(reason), _) if reason == "stop" => Got::Answer(text),
        (None, true) => Got::Answer(text),
        (reason, _) => Got::Open(format!("it broke off after {text:?}, {reason:?}")),
    }
}

/// The same without.
pub(crate) async fn chat_whole(server: &Server, case: &Case) -> Got {
    let (status, head, body) = chat(server, &case.route("whole"), false).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let answer: Value = serde_json::from_str(&body).expect("the answer is JSON");
    match answer["choices"][0]["message"]["content"].as_str() {
        Some(text) => Got::Answer(text.to_owned()),
        None => Got::Open(body),
    }
}

async fn respond(server: &Server, model: &str, stream: bool) -> (u16, String, String) {
    let body = json!({ "model": model, "stream": stream, "input": "go" }).to_string();
    ask(server, "POST", "/v1/responses", "content-type: application/json\r\n", &body).await
}

/// The text of a response's messages.
fn output(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten().filter(|item| item["type"] == "message");
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// `POST /v1/responses` with `stream`: whole where it says `response.completed`, in what is said and in what was.
pub(crate) async fn responses_stream(server: &Server, case: &Case) -> Got {
    let (status, head, body) = respond(server, &case.route("rstream"), true).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let mut text = String::new();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).expect("each event is JSON");
        let code = |error: &Value| error["code"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap_or_default() {
            "response.output_text.delta" => text += event["delta"].as_str().unwrap_or_default(),
            // In the middle of a body nothing but the message can say when.
            "error" => return Got::Error { code: code(&event), retry_after: true },
            "response.failed" => return Got::Error { code: code(&event["response"]["error"]), retry_after: true },
            "response.completed" if output(&event["response"]) == text => return Got::Answer(text),
            "response.completed" => return Got::Answer(format!("{text:?} became {}", event["response"]["output"])),
            _ => {}
        }
    }
    Got::Open(format!("it broke off after {text:?}"))
}

/// The same without.
pub(crate) async fn responses_whole(server: &Server, case: &Case) -> Got {
    let (status, head, body) = respond(server, &case.route("rwhole"), false).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let response: Value = serde_json::from_str(&body).expect("the answer is JSON");
    if response["status"] == "completed" { Got::Answer(output(&response)) } else { Got::Open(body) }
}

async fn message(server: &Server, model: &str, stream: bool) -> (u16, String, String) {
    let body = json!({ "model": model, "stream": stream, "max_tokens": 1000, "messages": messages() }).to_string();
    let headers = "content-type: application/json\r\nanthropic-version: 2023-06-01\r\n";
    ask(server, "POST", "/v1/messages", headers, &body).await
}

/// `POST /v1/messages` with `stream`, as Anthropic's clients read it: whole where it stops with a reason.
pub(crate) async fn messages_stream(server: &Server, case: &Case) -> Got {
    let (status, head, body) = message(server, &case.route("mstream"), true).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let (mut text, mut reason) = (String::new(), None);
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).expect("each event is JSON");
        match event["type"].as_str().unwrap_or_default() {
            "content_block_delta" => text += event["delta"]["text"].as_str().unwrap_or_default(),
            "message_delta" => reason = event["delta"]["stop_reason"].as_str().map(str::to_owned),
            "message_stop" if reason.as_deref() == Some("end_turn") => return Got::Answer(text),
            // In the middle of a body nothing but the message can say when.
            "error" => {
                let code = event["error"]["code"].as_str().unwrap_or_default().to_owned();
                return Got::Error { code, retry_after: true };
            }
            _ => {}
        }
    }
    Got::Open(format!("it broke off after {text:?}, {reason:?}"))
}

/// The same without.
pub(crate) async fn messages_whole(server: &Server, case: &Case) -> Got {
    let (status, head, body) = message(server, &case.route("mwhole"), false).await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let answer: Value = serde_json::from_str(&body).expect("the answer is JSON");
    match (answer["stop_reason"].as_str(), answer["content"][0]["text"].as_str()) {
        (Some("end_turn"), Some(text)) => Got::Answer(text.to_owned()),
        _ => Got::Open(body),
    }
}

/// A task, read over every native face while it runs.
pub(crate) async fn native(server: &Server, case: &Case) -> Vec<(Face, Got)> {
    let session = server.session().await;
    let input = json!({ "messages": messages() });
    let submission = Submission {
        model: Some(case.route("native")),
        input: Some(serde_json::value::to_raw_value(&input).unwrap()),
        // A stall that was none, on a machine that is very busy, should not fail a task that has a twin to go to.
        max_attempts: Some(if case.twin { 3 } else { 1 }),
        ..Submission::default()
    };
    let submitted = session.submit(submission).await.unwrap();
    let id = submitted.ack.task.clone();
    let (socket, sse, poll, text) =
        tokio::join!(websocket(submitted.log), sse(server, &id), long_poll(server, &id), text(server, &id));
    vec![(Face::WebSocket, socket), (Face::Sse, sse), (Face::LongPoll, poll), (Face::Text, text)]
}

async fn websocket(mut log: tidewire_client::Follow) -> Got {
    let mut answer = Answer::default();
    while let Some(batch) = log.next().await {
        for event in batch.expect("the session stays").events().unwrap() {
            answer.apply(&event);
        }
    }
    Got::of(&answer)
}

async fn sse(server: &Server, id: &str) -> Got {
    let path = format!("/v1/tasks/{id}/events?window_ms=0");
    let (status, head, body) = ask(server, "GET", &path, "accept: text/event-stream\r\n", "").await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    let mut answer = Answer::default();
    for block in body.split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        // What has no id tells of the wait.
        if let (Some(_), Some(data)) = (field("id: "), field("data: ")) {
            answer.apply(&serde_json::from_str::<WireEvent<'_>>(data).unwrap());
        }
    }
    Got::of(&answer)
}

async fn long_poll(server: &Server, id: &str) -> Got {
    let (mut answer, mut after) = (Answer::default(), String::new());
    loop {
        let path = format!("/v1/tasks/{id}/events?format=json&wait_ms=10000{after}");
        let (status, head, body) = ask(server, "GET", &path, "", "").await;
        if status != 200 {
            return Got::refused(status, &head, &body);
        }
        let page: Value = serde_json::from_str(&body).unwrap();
        for event in page["events"].as_array().unwrap() {
            answer.apply(&serde_json::from_str::<WireEvent<'_>>(&event.to_string()).unwrap());
        }
        if page["ended"] == true && page["to"] == page["tail"] {
            return Got::of(&answer);
        }
        if let Some(to) = page["to"].as_u64().filter(|to| *to > 0) {
            after = format!("&after={}", to - 1);
        }
    }
}

/// The text alone: the head says whether it is an answer.
async fn text(server: &Server, id: &str) -> Got {
    let (status, head, body) = ask(server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    if status != 200 {
        return Got::refused(status, &head, &body);
    }
    match head.lines().find_map(|line| line.strip_prefix("tidewire-state: ")) {
        Some("done") => Got::Answer(body),
        Some("failed") => Got::Error { code: "failed".to_owned(), retry_after: false },
        other => Got::Open(format!("{other:?}")),
    }
}
