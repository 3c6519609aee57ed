//! Adapters to model APIs: one file a kind.

mod calls;
mod chat;
mod json;
mod upstream;

pub mod anthropic;
pub mod gemini;
#[cfg(feature = "local")]
pub mod local;
pub mod openai;
pub mod scripted;
pub mod sse;
pub mod wordllama;

pub use upstream::{BadSettings, Settings};
