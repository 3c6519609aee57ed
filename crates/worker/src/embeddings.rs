//! An embedder as a backend, so that a request for embeddings takes the way of every task: queue, route, failover, settlement.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use memchr::memmem;
use std::sync::Arc;
use tidewire_core::embeddings::{Vector, wanted};
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, EmbedRequest, Embedded, Embedder, Fault, Model, Request, Run,
};

/// A deployment that embeds: what has `messages` goes to its chat, all else is a request for embeddings.
pub struct Embeds {
    chat: Arc<dyn Backend>,
    embedder: Arc<dyn Embedder>,
}

impl Embeds {
    /// Of a backend, and an embedder at the same upstream.
    pub fn new(chat: Arc<dyn Backend>, embedder: Arc<dyn Embedder>) -> Self {
        Self { chat, embedder }
    }
}

#[async_trait]
impl Backend for Embeds {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        if is_chat(&request.input) {
            return self.chat.run(request).await;
        }
        let wanted = wanted(&request.input).map_err(|message| BackendError::new(Fault::InvalidRequest, message))?;
        let asked = EmbedRequest {
            model: request.model,
            inputs: wanted.inputs,
            dimensions: wanted.dimensions,
            timeouts: request.timeouts,
        };
        let Embedded { vectors, usage, limits } = self.embedder.embed(asked).await?;
        let chunks = vectors.into_iter().enumerate().map(|(index, vector)| Chunk::Embedding(json(index, &vector)));
        let last = [Chunk::Usage(usage), Chunk::Finish("stop".into())];
        Ok(Run { begins: Begins::Afresh, chunks: Box::pin(stream::iter(chunks.chain(last).map(Ok))), limits })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        self.chat.models().await
    }
}

fn json(index: usize, vector: &[f32]) -> Bytes {
    // A number and a string: serialising them can't fail.
    serde_json::to_vec(&Vector::of(index, vector)).unwrap_or_default().into()
}

/// Whether a request has messages. Read without what they say, and only where it could be one for embeddings: this is on the
/// way of every chat.
fn is_chat(input: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Chat {
        messages: Option<serde::de::IgnoredAny>,
    }
    if memmem::find(input, br#""input""#).is_none() && memmem::find(input, b"\\u").is_none() {
        return true;
    }
    serde_json::from_slice::<Chat>(input).is_ok_and(|chat| chat.messages.is_some())
}
