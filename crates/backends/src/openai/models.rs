//! The upstream's list of models.

use serde::Deserialize;
use tidewire_core::port::{BackendError, Fault, Model};

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    /// vLLM's name for the context.
    #[serde(default)]
    max_model_len: Option<u32>,
    /// `OpenRouter`'s name for it.
    #[serde(default)]
    context_length: Option<u32>,
    #[serde(default)]
    meta: Option<Meta>,
}

/// What llama.cpp tells of a model.
#[derive(Deserialize)]
struct Meta {
    /// The context that a request may fill; absent in older versions.
    #[serde(default)]
    n_ctx: Option<u32>,
    /// The context that the model was trained with.
    #[serde(default)]
    n_ctx_train: Option<u32>,
}

pub(super) fn parse(body: &[u8]) -> Result<Vec<Model>, BackendError> {
    let list: List = serde_json::from_slice(body).map_err(|error| {
        BackendError::new(Fault::Broken, format!("the upstream's list of models can't be read: {error}"))
    })?;
    Ok(list.data.into_iter().map(Entry::into_model).collect())
}

impl Entry {
    fn into_model(self) -> Model {
        let meta = self.meta.and_then(|meta| meta.n_ctx.or(meta.n_ctx_train));
        Model { name: self.id, context_tokens: self.max_model_len.or(self.context_length).or(meta) }
    }
}
