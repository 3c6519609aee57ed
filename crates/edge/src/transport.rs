//! The faces: thin skins over submit, follow and stop.

mod admin;
mod ag_ui;
mod ai_sdk;
mod answer;
mod anthropic;
mod app;
mod batches;
mod body;
mod centrifuge;
mod dead_letters;
mod durable_streams;
mod endpoint;
mod events;
mod explore;
mod feedback;
mod files;
mod follow;
mod guard;
mod lanes;
mod measures;
mod openai;
mod page;
mod parts;
mod public;
mod request_id;
mod session;
mod tag;
mod tasks;
mod trace;
mod usage;
mod view;
mod websocket;
mod whose;

pub use durable_streams::{Streams, sweep as sweep_streams};
pub use endpoint::{Endpoint, Needs};

use crate::Edge;
use crate::identity::Scope;
use crate::refusal::Refusal;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};
use http::Method;
use openai::{batches as openai_batches, responses};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidewire_proto::Code;
use tidewire_proto::admin::EndpointList;

/// Takes up OpenAI's batches of an earlier run of the server, and from then on forgets those that ended longer ago than
/// `age`, until the server ends.
pub async fn keep_openai_batches(edge: Arc<Edge>, age: Duration) {
    openai_batches::keep(edge, age).await;
}

/// All faces as one router, with `operations` behind the same guards.
pub fn router(edge: Arc<Edge>, operations: Vec<Endpoint>) -> Router {
    let list = Arc::new(OnceLock::new());
    let endpoints: Vec<Endpoint> = faces(&edge, &list).into_iter().chain(operations).collect();
    list.get_or_init(|| EndpointList { endpoints: endpoints.iter().map(Endpoint::view).collect() });
    let mut router = Router::new();
    for endpoint in endpoints {
        router = endpoint.guarded(router, &edge);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(edge, guard::check))
}

/// Every face's endpoints, each with what a caller needs for it. A new one belongs here, and in the table of
/// `server/tests/tenants.rs`, which asks each for what is another tenant's.
#[allow(clippy::too_many_lines)] // A list.
fn faces(edge: &Arc<Edge>, list: &Arc<OnceLock<EndpointList>>) -> Vec<Endpoint> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    const READ: Needs = Needs::Scope(Scope::TasksRead);
    const WRITE: Needs = Needs::Scope(Scope::TasksWrite);
    const STOP: Needs = Needs::Scope(Scope::TasksStop);
    const ADMIN_READ: Needs = Needs::Scope(Scope::AdminRead);
    const OPERATE: Needs = Needs::Scope(Scope::AdminOperate);
    const ADMIN_WRITE: Needs = Needs::Scope(Scope::AdminWrite);
    const FILES: Needs = Needs::Scope(Scope::Files);
    let native = |method, path, needs, handler: MethodRouter<Arc<Edge>>| {
        Endpoint::new(method, path, needs, handler.with_state(edge.clone()))
    };
    let openai = |method, path, needs, handler: MethodRouter<Arc<Edge>>| {
        Endpoint::openai(method, path, needs, handler.with_state(edge.clone()))
    };
    let anthropic = |path, handler: MethodRouter<Arc<Edge>>| {
        Endpoint::anthropic(POST, path, WRITE, handler.with_state(edge.clone()))
    };
    let page = |path, handler| native(GET, path, Needs::Nothing, handler);
    let stream = |method: Method| {
        let handler = durable_streams::method(&method);
        // A caller at least: what is below `tasks/` needs another scope than a stream.
        native(method, "/v1/stream/{*path}", Needs::Caller, handler)
    };
    vec![
        page("/", if app::is_built() { get(app::file) } else { get(page::index) }),
        page("/assets/{file}", get(app::file)),
        page("/theme.js", get(app::file)),
        page("/icon.svg", get(app::file)),
        page("/page.css", get(page::css)),
        page("/page.js", get(page::script)),
        page("/prose.js", get(page::script)),
        page("/wire.js", get(page::script)),
        native(POST, "/v1/tasks", WRITE, post(tasks::submit)),
        native(GET, "/v1/tasks", READ, get(explore::list)),
        native(GET, "/v1/lanes", READ, get(lanes::list)),
        native(POST, "/v1/tasks/batch", WRITE, post(batches::submit)),
        native(GET, "/v1/tasks/batch", READ, get(batches::list)),
        native(GET, "/v1/tasks/batch/{id}", READ, get(batches::get)),
        native(GET, "/v1/tasks/batch/{id}/events", READ, get(batches::events)),
        native(POST, "/v1/tasks/batch/{id}/stop", STOP, post(batches::stop)),
        native(POST, "/v1/tasks/batch/{id}/retry", STOP, post(batches::retry)),
        native(GET, "/v1/tasks/{id}", READ, get(tasks::get)),
        native(GET, "/v1/tasks/{id}/events", READ, get(events::events)),
        native(GET, "/v1/tasks/{id}/text", READ, get(tasks::text)),
        native(GET, "/v1/tasks/{id}/trace", READ, get(trace::trace)),
        native(POST, "/v1/tasks/{id}/publish", WRITE, post(public::publish)),
        native(POST, "/v1/tasks/{id}/unpublish", WRITE, post(public::unpublish)),
        native(GET, "/v1/public/{id}", Needs::Nothing, get(public::get)),
        native(POST, "/v1/tasks/{id}/stop", STOP, post(tasks::stop)),
        native(POST, "/v1/tasks/{id}/retry", STOP, post(tasks::retry)),
        native(POST, "/v1/tasks/{id}/feedback", WRITE, post(feedback::give)),
        native(GET, "/v1/tasks/{id}/feedback", READ, get(feedback::list)),
        native(GET, "/v1/tasks/{id}/shadows", ADMIN_READ, get(tasks::shadows)),
        native(POST, "/v1/follow", READ, post(follow::follow)),
        native(POST, "/v1/measures", READ, post(measures::take)),
        native(GET, "/v1/dead-letters", READ, get(explore::dead_letters)),
        native(POST, "/v1/dead-letters/retry", STOP, post(dead_letters::retry)),
        native(GET, "/v1/usage", READ, get(usage::usage)),
        stream(GET),
        stream(Method::HEAD),
        stream(Method::PUT),
        stream(POST),
        stream(DELETE),
        native(GET, "/v1/ws", Needs::Caller, get(websocket::upgrade)),
        openai(POST, "/v1/chat/completions", WRITE, post(openai::chat)),
        openai(POST, "/v1/embeddings", WRITE, post(openai::embeddings)),
        openai(POST, "/v1/responses", WRITE, post(responses::create)),
        openai(GET, "/v1/responses/{id}", READ, get(responses::get)),
        openai(DELETE, "/v1/responses/{id}", WRITE, delete(responses::remove)),
        openai(POST, "/v1/responses/{id}/cancel", STOP, post(responses::cancel)),
        openai(GET, "/v1/responses/{id}/input_items", READ, get(responses::input_items)),
        openai(POST, "/v1/batches", WRITE, post(openai_batches::create)),
        openai(GET, "/v1/batches", READ, get(openai_batches::list)),
        openai(GET, "/v1/batches/{id}", READ, get(openai_batches::get)),
        openai(POST, "/v1/batches/{id}/cancel", STOP, post(openai_batches::cancel)),
        anthropic("/v1/messages", post(anthropic::messages)),
        anthropic("/v1/messages/count_tokens", post(anthropic::count_tokens)),
        openai(POST, "/v1/ag-ui", WRITE, post(ag_ui::run)),
        openai(POST, "/v1/ai-sdk/chat", WRITE, post(ai_sdk::chat)),
        openai(GET, "/v1/ai-sdk/chat/{chat}/stream", READ, get(ai_sdk::resume)),
        openai(POST, "/v1/ai-sdk/chat/{chat}/stop", STOP, post(ai_sdk::stop)),
        native(GET, "/v1/centrifuge", Needs::Caller, get(centrifuge::upgrade)),
        native(GET, "/v1/ai-sdk/ws", Needs::Caller, get(ai_sdk::upgrade)),
        openai(GET, "/v1/models", Needs::Caller, get(openai::models)),
        openai(GET, "/v1/models/{*name}", Needs::Caller, get(openai::model)),
        openai(POST, "/v1/files", FILES, post(files::upload)),
        openai(GET, "/v1/files", FILES, get(files::list)),
        openai(GET, "/v1/files/{id}", FILES, get(files::get)),
        openai(DELETE, "/v1/files/{id}", FILES, delete(files::remove)),
        openai(GET, "/v1/files/{id}/content", FILES, get(files::content)),
        openai(GET, "/v1/files/{id}/text", FILES, get(files::text)),
        native(POST, "/v1/tickets", Needs::Caller, post(admin::ticket)),
        native(POST, "/v1/session", Needs::Nothing, post(session::sign_in)),
        native(GET, "/v1/session", Needs::Caller, get(session::session)),
        native(DELETE, "/v1/session", Needs::Nothing, delete(session::sign_out)),
        native(GET, "/v1/session/ways", Needs::Nothing, get(session::ways)),
        native(GET, "/v1/session/oidc", Needs::Nothing, get(session::away)),
        native(GET, crate::identity::CALLBACK, Needs::Nothing, get(session::back)),
        native(GET, "/v1/admin/tenants", ADMIN_READ, get(admin::tenants)),
        native(POST, "/v1/admin/tenants", ADMIN_WRITE, post(admin::create_tenant)),
        native(GET, "/v1/admin/tenants/{name}", ADMIN_READ, get(admin::tenant)),
        native(POST, "/v1/admin/tenants/{name}", ADMIN_WRITE, post(admin::change_tenant)),
        native(GET, "/v1/admin/keys", ADMIN_READ, get(admin::keys)),
        native(POST, "/v1/admin/keys", ADMIN_WRITE, post(admin::create_key)),
        native(GET, "/v1/admin/keys/{id}", ADMIN_READ, get(admin::key)),
        native(POST, "/v1/admin/keys/{id}", ADMIN_WRITE, post(admin::change_key)),
        native(POST, "/v1/admin/keys/{id}/revoke", ADMIN_WRITE, post(admin::revoke_key)),
        native(POST, "/v1/admin/public/purge", OPERATE, post(public::purge)),
        native(POST, "/v1/admin/cache/purge", OPERATE, post(admin::purge_cache)),
        native(GET, "/v1/admin/audit", ADMIN_READ, get(admin::audit)),
        native(GET, "/v1/admin/endpoints", ADMIN_READ, get(admin::endpoints).layer(Extension(list.clone()))),
    ]
}

async fn not_found(uri: http::Uri) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is nothing at {}; PROTOCOL.md lists the paths", uri.path()))
}

async fn method_not_allowed(method: Method, uri: http::Uri) -> Refusal {
    Refusal::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
