//! OpenAI's faces, on transient tasks that stop when their caller leaves.

pub(super) mod batches;
mod chat;
mod choices;
mod chunks;
pub(super) mod collect;
mod embeddings;
pub(super) mod fault;
pub(super) mod head;
pub(super) mod leave;
mod models;
pub(super) mod raw;
pub(super) mod responses;
pub(super) mod stream;
mod usage;

pub(super) use chat::chat;
pub(super) use embeddings::embeddings;
pub(super) use fault::Fault;
pub(super) use models::{model, models};
