//! The OpenAI backend against transcripts of real upstreams: what it sends, what it makes of the answers, how it
//! tells of failures, and how it treats connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "openai/answers.rs"]
mod answers;
#[path = "openai/connections.rs"]
mod connections;
#[path = "openai/embeddings.rs"]
mod embeddings;
#[path = "openai/failures.rs"]
mod failures;
#[path = "openai/limits.rs"]
mod limits;
#[path = "support/runs.rs"]
mod runs;
#[path = "support/upstream.rs"]
mod upstream;

use tidewire_backends::openai::OpenAi;
use upstream::Upstream;

const KEY: &str = "sk-test-1234";

fn backend(upstream: &Upstream) -> OpenAi {
    OpenAi::new(&upstream.base, Some(KEY)).unwrap()
}
