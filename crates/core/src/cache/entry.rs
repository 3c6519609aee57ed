//! A kept answer, as bytes and back.

use crate::ending::Usage;
use crate::id::{TaskId, TenantId};
use crate::port::{Chunk, Reason};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A whole answer, and what is known of how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the model said, in order, the finish reason aside.
    pub pieces: Vec<Piece>,
    /// Why it ended.
    pub finish: Reason,
    /// What making it used, and cost.
    pub usage: Usage,
    /// Which deployment made it.
    pub deployment: Arc<str>,
    /// The model's name there.
    pub model: Arc<str>,
    /// The task that it was made for.
    pub task: TaskId,
    /// Whose that is.
    pub tenant: TenantId,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How long after the one before it came.
    pub gap: Duration,
    /// What it is.
    pub chunk: Chunk,
}

/// What stands before the pieces.
#[derive(Serialize, Deserialize)]
struct Head {
    finish: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<Arc<str>>,
    usage: Usage,
    deployment: Arc<str>,
    model: Arc<str>,
    task: TaskId,
    tenant: TenantId,
}

/// The layout of the bytes. A kept answer of another one is as good as none.
const LAYOUT: u8 = 1;

impl Answer {
    /// As bytes: layout, length of the head, head as JSON, then for each piece its kind, its gap in milliseconds, its length
    /// and its data. Numbers are little-endian.
    pub fn to_bytes(&self) -> Bytes {
        let Self { finish, usage, deployment, model, task, tenant, pieces } = self.clone();
        let Reason { word: finish, sequence } = finish;
        let head = Head { finish, sequence, usage, deployment, model, task, tenant };
        // Strings and numbers: serialising can't fail; and what can't be read is as good as not kept.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let size: usize = pieces.iter().filter_map(|piece| data(&piece.chunk)).map(|(_, data)| data.len() + 9).sum();
        let mut out = BytesMut::with_capacity(5 + head.len() + size);
        out.put_u8(LAYOUT);
        out.put_u32_le(length(head.len()));
        out.put_slice(&head);
        for (piece, (kind, data)) in pieces.iter().filter_map(|piece| Some((piece, data(&piece.chunk)?))) {
            out.put_u8(kind);
            out.put_u32_le(u32::try_from(piece.gap.as_millis()).unwrap_or(u32::MAX));
            out.put_u32_le(length(data.len()));
            out.put_slice(data);
        }
        out.freeze()
    }

    /// Back from bytes; none where they are something else.
    pub fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != LAYOUT {
            return None;
        }
        let head: Head = serde_json::from_slice(&take(&mut bytes)?).ok()?;
        let mut pieces = Vec::new();
        while bytes.has_remaining() {
            let kind = bytes.try_get_u8().ok()?;
            let gap = Duration::from_millis(bytes.try_get_u32_le().ok()?.into());
            pieces.push(Piece { gap, chunk: chunk(kind, take(&mut bytes)?)? });
        }
        let Head { finish, sequence, usage, deployment, model, task, tenant } = head;
        let finish = Reason { word: finish, sequence };
        Some(Self { pieces, finish, usage, deployment, model, task, tenant })
    }
}

fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn take(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(from.try_get_u32_le().ok()?).ok()?;
    (length <= from.len()).then(|| from.split_to(length))
}

/// What is kept of a chunk. A count of tokens is not: the whole answer's stands in the head.
fn data(chunk: &Chunk) -> Option<(u8, &Bytes)> {
    match chunk {
        Chunk::Text(data) => Some((1, data)),
        Chunk::Reasoning(data) => Some((2, data)),
        Chunk::ToolCall(data) => Some((3, data)),
        Chunk::Logprobs(data) => Some((4, data)),
        Chunk::Embedding(data) => Some((5, data)),
        Chunk::Usage(_) | Chunk::Finish(_) => None,
    }
}

fn chunk(kind: u8, data: Bytes) -> Option<Chunk> {
    match kind {
        1 => Some(Chunk::Text(data)),
        2 => Some(Chunk::Reasoning(data)),
        3 => Some(Chunk::ToolCall(data)),
        4 => Some(Chunk::Logprobs(data)),
        5 => Some(Chunk::Embedding(data)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Durability;
    use crate::money::Money;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_kept(
            pieces in prop::collection::vec((1u8..6, 0u32..100_000, any::<Vec<u8>>()), 0..20), finish: String,
            sequence: Option<String>, cost: u64, cut: usize,
        ) {
            let piece = |(kind, gap, data): (u8, u32, Vec<u8>)| Piece {
                gap: Duration::from_millis(gap.into()),
                chunk: chunk(kind, data.into()).unwrap(),
            };
            let answer = Answer {
                pieces: pieces.into_iter().map(piece).collect(),
                finish: Reason { word: finish.into(), sequence: sequence.map(Into::into) },
                usage: Usage { input_tokens: 3, output_tokens: cost, cost: Money(cost), ..Usage::default() },
                deployment: "d".into(),
                model: "m".into(),
                task: TaskId::new(Timestamp::from_millis(5), 7, Durability::Durable),
                tenant: TenantId(9),
            };
            let bytes = answer.to_bytes();
            prop_assert_eq!(Answer::from_bytes(bytes.clone()), Some(answer));
            // Cut anywhere it is another answer, or none; never a panic.
            let _ = Answer::from_bytes(bytes.slice(..cut % (bytes.len() + 1)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Answer::from_bytes(bytes.into());
        }
    }
}
