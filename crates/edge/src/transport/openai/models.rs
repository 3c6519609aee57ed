//! OpenAI's list of models: the public names that this server answers for.

use super::fault::Fault;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Path, State};
use std::sync::Arc;
use tidewire_proto::Code;

pub(crate) async fn models(State(edge): State<Arc<Edge>>, caller: Caller) -> Json<serde_json::Value> {
    let models: Vec<_> =
        edge.catalog.names().iter().filter(|name| caller.may_use(name)).map(|name| object(name)).collect();
    Json(serde_json::json!({ "object": "list", "data": models }))
}

pub(crate) async fn model(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<serde_json::Value>, Fault> {
    if caller.may_use(&name) && edge.catalog.names().contains(&name) {
        return Ok(Json(object(&name)));
    }
    let message = format!("there is no model `{name}`; GET /v1/models lists those there are");
    Err(Refusal::new(Code::UnknownModel, message).into())
}

fn object(name: &str) -> serde_json::Value {
    serde_json::json!({ "id": name, "object": "model", "created": 0, "owned_by": "tidewire" })
}
