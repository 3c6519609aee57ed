//! A client's commands.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// What a client asks for.
pub(super) enum Command {
    /// The answer to a ping.
    Pong,
    Connect {
        id: u32,
    },
    Subscribe {
        id: u32,
        channel: String,
        from: Option<Position>,
    },
    Unsubscribe {
        id: u32,
        channel: String,
    },
    Rpc {
        id: u32,
        method: String,
        data: Option<Box<RawValue>>,
    },
    /// One that is not part of this subset.
    Other {
        id: u32,
    },
}

/// Where a client stood when it left.
pub(super) struct Position {
    pub(super) offset: u64,
    pub(super) epoch: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: u32,
    connect: Option<Value>,
    subscribe: Option<Subscribe>,
    unsubscribe: Option<Channel>,
    rpc: Option<Rpc>,
}

#[derive(Deserialize)]
struct Subscribe {
    channel: String,
    #[serde(default)]
    recover: bool,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
}

#[derive(Deserialize)]
struct Rpc {
    #[serde(default)]
    method: String,
    data: Option<Box<RawValue>>,
}

impl Command {
    /// Reads a line; none where it is no command at all.
    pub(super) fn read(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        let id = line.id;
        Some(match line {
            Line { id: 0, .. } => Self::Pong,
            Line { connect: Some(_), .. } => Self::Connect { id },
            Line { subscribe: Some(asked), .. } => {
                let from = asked.recover.then_some(Position { offset: asked.offset, epoch: asked.epoch });
                Self::Subscribe { id, channel: asked.channel, from }
            }
            Line { unsubscribe: Some(asked), .. } => Self::Unsubscribe { id, channel: asked.channel },
            Line { rpc: Some(asked), .. } => Self::Rpc { id, method: asked.method, data: asked.data },
            _ => Self::Other { id },
        })
    }

    pub(super) fn id(&self) -> u32 {
        match self {
            Self::Pong => 0,
            Self::Connect { id }
            | Self::Subscribe { id, .. }
            | Self::Unsubscribe { id, .. }
            | Self::Rpc { id, .. }
            | Self::Other { id } => *id,
        }
    }
}
