//! `/v1/admin`: tenants, keys, what operators did. `/v1/tickets`: a way for a browser to ask.

use super::body;
use super::tasks::query;
use crate::Edge;
use crate::identity::{Audit, Caller, Note, TICKET_LIFE};
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};
use tidewire_core::port::CacheKey;
use tidewire_proto::Code;
use tidewire_proto::admin::{
    AuditPage, EndpointList, KeyList, KeyView, NewTenant, PurgeBody, Purged, TenantChange, TenantList, TenantView,
    Ticket,
};

/// Entries of the audit log on a page.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

pub(super) async fn tenants(State(edge): State<Arc<Edge>>) -> Json<TenantList> {
    Json(TenantList { tenants: edge.identity.list_tenants() })
}

pub(super) async fn tenant(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
) -> Result<Json<TenantView>, Refusal> {
    edge.identity.show_tenant(&name).map(Json)
}

pub(super) async fn create_tenant(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Refusal> {
    let new: NewTenant = body::json(&body::read(&edge, request.into_body()).await?)?;
    let tenant = edge.identity.create_tenant(new).await?;
    let note = Note(format!("made the tenant `{}`", tenant.name));
    Ok((StatusCode::CREATED, Extension(note), Json(tenant)).into_response())
}

pub(super) async fn change_tenant(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let change: TenantChange = body::json(&body::read(&edge, request.into_body()).await?)?;
    let note = Note(format!("set {}", serde_json::to_string(&change).unwrap_or_default()));
    let tenant = edge.identity.change_tenant(&name, change).await?;
    Ok((Extension(note), Json(tenant)).into_response())
}

#[derive(Deserialize)]
struct KeysQuery {
    tenant: Option<String>,
}

pub(super) async fn keys(State(edge): State<Arc<Edge>>, raw: RawQuery) -> Result<Json<KeyList>, Refusal> {
    let asked: KeysQuery = query(raw)?;
    Ok(Json(KeyList { keys: edge.identity.list_keys(asked.tenant.as_deref())? }))
}

pub(super) async fn key(State(edge): State<Arc<Edge>>, Path(id): Path<String>) -> Result<Json<KeyView>, Refusal> {
    edge.identity.show_key(&id).map(Json)
}

pub(super) async fn create_key(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Refusal> {
    let new = body::json(&body::read(&edge, request.into_body()).await?)?;
    let created = edge.identity.create_key(new).await?;
    let key = &created.key;
    let role = key.role.as_ref().map(|role| format!(", role {role}")).unwrap_or_default();
    let note = Note(format!("made {} `{}` of the tenant `{}`{role}", key.id, key.name, key.tenant));
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Extension(note), Json(created)).into_response())
}

pub(super) async fn change_key(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let change: tidewire_proto::admin::KeyChange = body::json(&body::read(&edge, request.into_body()).await?)?;
    let note = Note(format!("set {}", serde_json::to_string(&change).unwrap_or_default()));
    let key = edge.identity.change_key(&id, change).await?;
    Ok((Extension(note), Json(key)).into_response())
}

pub(super) async fn revoke_key(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, Refusal> {
    edge.identity.revoke_key(&id).await.map(Json)
}

#[derive(Deserialize)]
struct AuditQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn audit(State(edge): State<Arc<Edge>>, raw: RawQuery) -> Result<Json<AuditPage>, Refusal> {
    let asked: AuditQuery = query(raw)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::new(Code::InvalidRequest, format!("`limit` is 1 to {MAX_PAGE}")));
    }
    Audit(&edge).read(asked.after, limit).await.map(Json)
}

/// Forgets kept answers: the next one who asks gets a new one.
pub(super) async fn purge_cache(State(edge): State<Arc<Edge>>, request: Request) -> Result<Json<Purged>, Refusal> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let PurgeBody { route, key } = if bytes.is_empty() { PurgeBody::default() } else { body::json(&bytes)? };
    let kept = &edge.answers.kept;
    let purged = match (route, key) {
        (route, None) => kept.purge(route.as_deref()).await?,
        (None, Some(key)) => {
            let message = "`key` has 64 hexadecimal digits, as `GET /v1/tasks/{id}` shows them";
            let key = CacheKey::parse(&key).ok_or_else(|| Refusal::new(Code::InvalidRequest, message))?;
            u64::from(kept.remove(key).await?)
        }
        (Some(_), Some(_)) => return Err(Refusal::new(Code::InvalidRequest, "give either `route` or `key`, not both")),
    };
    Ok(Json(Purged { purged }))
}

pub(super) async fn endpoints(Extension(list): Extension<Arc<OnceLock<EndpointList>>>) -> Json<EndpointList> {
    Json(list.get().cloned().unwrap_or_default())
}

pub(super) async fn ticket(State(edge): State<Arc<Edge>>, caller: Caller) -> Result<Response, Refusal> {
    let ticket = edge.identity.ticket(&caller)?;
    let expires_in_ms = u64::try_from(TICKET_LIFE.as_millis()).unwrap_or_default();
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(Ticket { ticket, expires_in_ms })).into_response())
}
