//! OpenAI's faces, on transient tasks that stop when their caller leaves.

mod chat;
mod choices;
mod chunks;
mod collect;
mod embeddings;
mod fault;
mod head;
mod leave;
mod models;
pub(super) mod raw;
pub(super) mod responses;
pub(super) mod stream;
mod usage;

pub(super) use chat::chat;
pub(super) use embeddings::embeddings;
pub(super) use fault::Fault;
pub(super) use models::{model, models};
