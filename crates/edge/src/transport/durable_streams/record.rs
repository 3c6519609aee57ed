//! What the directory knows of a stream.

use super::answer::Refused;
use crate::Edge;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidewire_core::port::{Expect, PutError, Record, RecordName, Shelf};
use tidewire_core::{LogId, LogRef, TenantId, Timestamp};
use tidewire_proto::Code;

/// A stream's name: whose it is, and its path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(RecordName);

impl Name {
    pub(super) fn new(tenant: TenantId, path: String) -> Self {
        Self(RecordName { tenant, shelf: Shelf::Streams, name: path })
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    pub(super) fn path(&self) -> &str {
        &self.0.name
    }

    pub(super) fn record(&self) -> &RecordName {
        &self.0
    }

    /// Another stream of the same tenant.
    pub(super) fn sibling(&self, path: &str) -> Self {
        Self::new(self.tenant(), path.to_owned())
    }

    pub(super) fn log(&self, log: LogId) -> LogRef {
        LogRef { tenant: self.tenant(), log }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// Where a stream stands between being made and being gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Its log is being written. Nobody sees it yet.
    Making,
    /// It can be read, and written unless its log has ended.
    Open,
    /// It was deleted. While it has forks, they read its log.
    Gone,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) state: State,
    /// The log with its own events.
    pub(super) log: LogId,
    pub(super) epoch: u32,
    pub(super) content_type: String,
    /// It expires when nobody has read or written it for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_s: Option<u64>,
    /// It expires then, whatever happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    /// When it was made, read or written last; may lag by a part of its TTL.
    pub(super) touched_at: Timestamp,
    /// The position of its log's first event.
    #[serde(default)]
    pub(super) from: u64,
    /// Where the events before that are, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) inherited: Vec<Segment>,
    /// The stream that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fork: Option<Fork>,
}

/// A part of a stream that lies in another one's log: the positions `from..until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) log: LogId,
    pub(super) epoch: u32,
    /// The position of that log's first event.
    pub(super) from: u64,
    pub(super) until: u64,
}

/// What a stream was forked from, as its maker asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fork {
    pub(super) path: String,
    pub(super) log: LogId,
    /// The offset's position; `None` where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    #[serde(default)]
    pub(super) sub_offset: u64,
}

/// A stream as it was found, and the version of its record.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) stream: Stream,
    pub(super) version: u64,
}

impl Found {
    pub(super) fn parse(name: &str, record: &Record) -> Result<Self, Refused> {
        let stream = serde_json::from_slice(&record.value).map_err(|error| {
            Refused::new(Code::Damaged, format!("what is known of the stream `{name}` can't be read: {error}"))
        })?;
        Ok(Self { stream, version: record.version })
    }
}

/// What is known under a name.
pub(super) async fn find(edge: &Edge, name: &Name) -> Result<Option<Found>, Refused> {
    let record = edge.directory.get(name.record()).await?;
    record.map(|record| Found::parse(name.path(), &record)).transpose()
}

/// Writes what is known of a stream.
pub(super) async fn put(edge: &Edge, name: &Name, stream: &Stream, expect: Expect) -> Result<u64, PutError> {
    // Strings and numbers only: this cannot fail, and an empty record would be read as a damaged one.
    let value = Bytes::from(serde_json::to_vec(stream).unwrap_or_default());
    edge.directory.put(name.record().clone(), value, expect).await
}

/// The note that one stream's log is read by another, a fork of it. It is there from before the fork can be read
/// until after the fork's log is gone, so that a log that a fork needs is never deleted.
pub(super) fn fork_note(tenant: TenantId, source: LogId, fork: LogId) -> RecordName {
    RecordName { tenant, shelf: Shelf::Forks, name: format!("{source}/{fork}") }
}

/// Whether any stream is a fork of the one with this log.
pub(super) async fn has_forks(edge: &Edge, tenant: TenantId, source: LogId) -> Result<bool, Refused> {
    let beginning = format!("{source}/");
    let first = edge.directory.list(tenant, Shelf::Forks, Some(&beginning), 1).await?;
    Ok(first.first().is_some_and(|(name, _)| name.starts_with(&beginning)))
}
