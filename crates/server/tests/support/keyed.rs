//! A server that needs keys, and who asks it.

use super::{PATIENCE, Server, ask, scripted};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

/// The first key of every test's server.
pub const ADMIN: &str = "0123456789abcdef0123456789abcdef-the-first-key";

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Starts a server with the first key, and further configuration.
pub fn start(further: &str) -> (Server, tempfile::TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("admin.key");
    std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
    let config = format!("{}[identity]\nadmin_key_file = \"{}\"\n{further}", scripted(8), file.display());
    (Server::start(&config), secrets)
}

/// Asks with a key.
pub async fn with_key(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = format!("authorization: Bearer {key}\r\n");
    let (status, _, answer) = ask(server, method, path, &headers, &body).await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

/// Makes a tenant.
pub async fn make_tenant(server: &Server, name: &str) {
    let (status, tenant) = with_key(server, ADMIN, "POST", "/v1/admin/tenants", &json!({ "name": name })).await;
    assert_eq!(status, 201, "{tenant}");
}

/// Makes a key: its id, and the key itself.
#[allow(clippy::needless_pass_by_value)] // Reads better at the call: `make_key(&server, json!(...))`.
pub async fn make_key(server: &Server, new: Value) -> (String, String) {
    let (status, made) = with_key(server, ADMIN, "POST", "/v1/admin/keys", &new).await;
    assert_eq!(status, 201, "{made}");
    (made["key"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// Revokes a key.
pub async fn revoke(server: &Server, id: &str) {
    let (status, key) = with_key(server, ADMIN, "POST", &format!("/v1/admin/keys/{id}/revoke"), &Value::Null).await;
    assert_eq!(status, 200, "{key}");
}

/// A WebSocket; the path says how it is opened, the key is sent as a header where there is one.
pub async fn try_connect(server: &Server, path: &str, key: Option<&str>) -> Result<Socket, tokio_websockets::Error> {
    let uri = format!("ws://{}{path}", server.address());
    let mut builder = ClientBuilder::new().uri(&uri).unwrap();
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().unwrap();
        builder = builder.add_header(http::header::AUTHORIZATION, value).unwrap();
    }
    Ok(builder.connect().await?.0)
}

/// One that must open.
pub async fn connect(server: &Server, key: &str) -> Socket {
    try_connect(server, "/v1/ws", Some(key)).await.unwrap()
}

/// The next frame; or the code and the reason that the server closed with.
pub async fn next(socket: &mut Socket) -> Result<Value, (u16, String)> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame or a close in time");
        let message = message.expect("a close before the end").expect("a frame that can be read");
        if let Some((code, reason)) = message.as_close() {
            return Err((code.into(), reason.to_owned()));
        }
        if let Some(text) = message.as_text() {
            return Ok(serde_json::from_str(text).unwrap());
        }
    }
}

/// Says something, and hears the answer to it.
pub async fn say(socket: &mut Socket, mut frame: Value) -> Value {
    frame["ref"] = json!("mine");
    socket.send(Message::text(frame.to_string())).await.unwrap();
    loop {
        let heard = next(socket).await.expect("the connection stays open");
        if heard["ref"] == "mine" {
            return heard;
        }
    }
}

/// A task that runs until it is stopped, for all that a test can tell.
pub fn endless() -> Value {
    json!({ "input": { "messages": [{ "role": "user", "content": "go" }], "script": { "tokens": 100_000, "delay_ms": 20 } } })
}

/// A task that ends at once.
pub fn short() -> Value {
    json!({ "input": { "messages": [{ "role": "user", "content": "go" }], "script": { "tokens": 2, "delay_ms": 0 } } })
}
