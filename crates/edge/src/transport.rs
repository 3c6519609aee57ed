//! The faces: thin skins over submit, follow and stop.

mod batches;
mod body;
mod dead_letters;
mod durable_streams;
mod events;
mod files;
mod guard;
mod openai;
mod page;
mod tasks;
mod view;
mod websocket;

pub use durable_streams::{Streams, sweep as sweep_streams};

use crate::Edge;
use crate::refusal::Refusal;
use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use http::Method;
use std::sync::Arc;
use tidewire_proto::Code;

/// All faces as one router, with `operations` behind the same guard.
pub fn router(edge: Arc<Edge>, operations: Router) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .route("/prose.js", get(page::script))
        .route("/wire.js", get(page::script))
        .route("/v1/tasks", post(tasks::submit).get(tasks::list))
        .route("/v1/tasks/batch", post(batches::submit).get(batches::list))
        .route("/v1/tasks/batch/{id}", get(batches::get))
        .route("/v1/tasks/batch/{id}/events", get(batches::events))
        .route("/v1/tasks/batch/{id}/stop", post(batches::stop))
        .route("/v1/tasks/batch/{id}/retry", post(batches::retry))
        .route("/v1/tasks/{id}", get(tasks::get))
        .route("/v1/tasks/{id}/events", get(events::events))
        .route("/v1/tasks/{id}/text", get(tasks::text))
        .route("/v1/tasks/{id}/stop", post(tasks::stop))
        .route("/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/v1/dead-letters", get(tasks::dead_letters))
        .route("/v1/dead-letters/retry", post(dead_letters::retry))
        .route("/v1/stream/{*path}", durable_streams::methods())
        .route("/v1/ws", get(websocket::upgrade))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*name}", get(openai::model))
        .route("/v1/files", post(files::upload).get(files::list))
        .route("/v1/files/{id}", get(files::get).delete(files::remove))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/files/{id}/text", get(files::text))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(edge.clone())
        .merge(operations)
        .layer(middleware::from_fn_with_state(edge, guard::check))
}

async fn not_found(uri: http::Uri) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is nothing at {}; PROTOCOL.md lists the paths", uri.path()))
}

async fn method_not_allowed(method: Method, uri: http::Uri) -> Refusal {
    Refusal::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
