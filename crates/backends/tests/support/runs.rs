//! Running requests on a backend and reading their chunks to the end.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;
use tidewire_core::Usage;
use tidewire_core::port::{Backend, BackendError, Chunk, Chunks, Request, Run, Timeouts};

/// A request with this JSON, and timeouts that no test that passes reaches.
pub(crate) fn request(input: &str) -> Request {
    Request {
        model: "m".into(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        committed: String::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(20),
            first_token: Duration::from_secs(20),
            between_tokens: Duration::from_secs(20),
        },
        trace: None,
    }
}

/// The smallest request.
pub(crate) fn hello() -> Request {
    request(r#"{"messages":[{"role":"user","content":"Say hello"}]}"#)
}

/// All chunks of a run, and the error that ended it, if one did.
pub(crate) async fn read(mut run: Run) -> (Vec<Chunk>, Option<BackendError>) {
    let mut chunks = Vec::new();
    while let Some(item) = run.chunks.next().await {
        match item {
            Ok(chunk) => chunks.push(chunk),
            Err(error) => {
                assert!(run.chunks.next().await.is_none(), "an error is the last item");
                return (chunks, Some(error));
            }
        }
    }
    (chunks, None)
}

/// All chunks of a request that goes well.
pub(crate) async fn answer(backend: &dyn Backend, request: Request) -> Vec<Chunk> {
    let (chunks, error) = read(begin(backend, request).await).await;
    assert_eq!(error, None);
    chunks
}

/// The run of a request that is accepted.
pub(crate) async fn begin(backend: &dyn Backend, request: Request) -> Run {
    backend.run(request).await.expect("the request is accepted")
}

/// How a request fails: at once, or in its answer.
pub(crate) async fn failure(backend: &dyn Backend, request: Request) -> BackendError {
    match backend.run(request).await {
        Ok(run) => read(run).await.1.expect("the run fails"),
        Err(error) => error,
    }
}

/// The next chunk.
pub(crate) async fn next(chunks: &mut Chunks) -> Chunk {
    chunks.next().await.expect("the answer goes on").expect("the answer goes well")
}

/// The text of an answer.
pub(crate) fn text(chunks: &[Chunk]) -> String {
    let texts = chunks.iter().filter_map(|chunk| match chunk {
        Chunk::Text(text) => Some(std::str::from_utf8(text).unwrap()),
        _ => None,
    });
    texts.collect()
}

/// The last usage.
pub(crate) fn usage(chunks: &[Chunk]) -> Option<Usage> {
    chunks.iter().rev().find_map(|chunk| match chunk {
        Chunk::Usage(usage) => Some(*usage),
        _ => None,
    })
}

/// Whether the answer ended, once and last, for this reason.
pub(crate) fn finished(chunks: &[Chunk], reason: &str) -> bool {
    let finishes = chunks.iter().filter(|chunk| matches!(chunk, Chunk::Finish(_))).count();
    finishes == 1 && chunks.last() == Some(&Chunk::Finish(reason.into()))
}
