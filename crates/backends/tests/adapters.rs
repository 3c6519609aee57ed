//! The adapters that translate, against transcripts: what they send, what they make of the answers, and how they tell
//! of failures. What all adapters share (connections, time limits) is tested in `openai`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "adapters/anthropic.rs"]
mod anthropic;
#[path = "adapters/azure.rs"]
mod azure;
#[path = "adapters/borders.rs"]
mod borders;
#[path = "adapters/gemini.rs"]
mod gemini;
#[path = "adapters/noise.rs"]
mod noise;
#[path = "adapters/requests.rs"]
mod requests;
#[path = "support/runs.rs"]
mod runs;
#[path = "support/upstream.rs"]
mod upstream;

use runs::{answer, hello};
use tidewire_backends::Settings;
use tidewire_core::port::{Backend, Chunk};
use upstream::{Upstream, events};

const KEY: &str = "key-test-1234";

fn settings(upstream: &Upstream) -> Settings {
    Settings { url: upstream.base.clone(), key: Some(KEY.to_owned()), headers: Vec::new() }
}

/// The chunks of a transcript, by way of HTTP.
async fn played<B: Backend>(backend: impl Fn(&Upstream) -> B, transcript: &str) -> Vec<Chunk> {
    let upstream = Upstream::start([events(transcript, 7)]).await;
    answer(&backend(&upstream), hello()).await
}

/// The calls of tools among chunks, as JSON.
fn calls(chunks: &[Chunk]) -> Vec<&str> {
    let calls = chunks.iter().filter_map(|chunk| match chunk {
        Chunk::ToolCall(json) => Some(std::str::from_utf8(json).unwrap()),
        _ => None,
    });
    calls.collect()
}

/// What the model thought.
fn thoughts(chunks: &[Chunk]) -> String {
    let thoughts = chunks.iter().filter_map(|chunk| match chunk {
        Chunk::Reasoning(text) => Some(std::str::from_utf8(text).unwrap()),
        _ => None,
    });
    thoughts.collect()
}
