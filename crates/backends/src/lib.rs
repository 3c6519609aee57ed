//! Adapters to model APIs: one file a kind.

#[cfg(feature = "local")]
pub mod local;
pub mod openai;
pub mod scripted;
pub mod sse;
