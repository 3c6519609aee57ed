//! What is known of an OpenAI batch beside the batch of tasks that it is.

use super::lines::{Endpoint, LineError};
use crate::Edge;
use crate::refusal::Refusal;
use crate::transport::openai::raw::{self, Fields};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use tidewire_core::files::FileId;
use tidewire_core::port::{Expect, PutError, RecordName, Shelf};
use tidewire_core::{LogId, LogKind, TenantId, Timestamp};
use tidewire_proto::Code;

/// How its names begin on the shelf of batches; those of other records there sort before.
const NAMES: &str = "openai/";

/// How a batch's id begins; its log's follows, without how that begins.
const PREFIX: &str = "batch_";
const LOG_PREFIX: &str = "log_";

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Running,
    Completed,
    /// Its lines were wrong.
    Failed,
    Expired,
    Cancelled,
}

impl Phase {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The batch of tasks.
    pub(super) batch: LogId,
    pub(super) created_at: Timestamp,
    pub(super) endpoint: Endpoint,
    pub(super) input_file: String,
    pub(super) metadata: Option<Fields>,
    pub(super) total: u64,
    pub(super) phase: Phase,
    pub(super) cancelling_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) output_file: Option<FileId>,
    pub(super) error_file: Option<FileId>,
    /// How many lines were answered and how many were not, once that is settled.
    pub(super) counts: Option<(u64, u64)>,
    pub(super) errors: Vec<LineError>,
}

pub(super) fn unknown(id: &str) -> Refusal {
    Refusal::new(Code::UnknownBatch, format!("there is no batch `{id}`: it never was, or it has expired"))
}

/// The log of a batch.
pub(super) fn log(id: &str) -> Option<LogId> {
    let log: LogId = format!("{LOG_PREFIX}{}", id.strip_prefix(PREFIX)?).parse().ok()?;
    (log.kind() == LogKind::Shared).then_some(log)
}

/// A shelf is listed in the order of its names, and batches newest first: so a name is its log's, turned over.
fn name(tenant: TenantId, log: LogId) -> RecordName {
    let mut name = NAMES.to_owned();
    for byte in log.to_string().bytes() {
        // Writing to a string can't fail.
        let _ = write!(name, "{:02x}", !byte);
    }
    RecordName { tenant, shelf: Shelf::Batches, name }
}

fn not_put(error: &PutError) -> Refusal {
    Refusal::new(Code::Unavailable, format!("the batch could not be recorded: {error}"))
}

impl Record {
    pub(super) fn new(
        batch: LogId,
        now: Timestamp,
        endpoint: Endpoint,
        input_file: String,
        metadata: Option<Fields>,
    ) -> Self {
        Self {
            batch,
            created_at: now,
            endpoint,
            input_file,
            metadata,
            total: 0,
            phase: Phase::Running,
            cancelling_at: None,
            ended_at: None,
            output_file: None,
            error_file: None,
            counts: None,
            errors: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> String {
        format!("{PREFIX}{}", self.batch.to_string().trim_start_matches(LOG_PREFIX))
    }

    /// Keeps a new one.
    pub(super) async fn put(&self, edge: &Edge, tenant: TenantId) -> Result<(), Refusal> {
        let put = edge.directory.put(name(tenant, self.batch), raw::bytes(self).into(), Expect::Absent).await;
        put.map(drop).map_err(|error| not_put(&error))
    }

    /// Keeps what has changed, unless somebody else changed it since.
    pub(super) async fn replace(&self, edge: &Edge, tenant: TenantId, version: u64) -> Result<(), Refusal> {
        let put = edge.directory.put(name(tenant, self.batch), raw::bytes(self).into(), Expect::Version(version)).await;
        put.map(drop).map_err(|error| not_put(&error))
    }

    /// Forgets it.
    pub(super) async fn remove(&self, edge: &Edge, tenant: TenantId) {
        if let Err(error) = edge.directory.remove(&name(tenant, self.batch), Expect::Anything).await {
            tracing::warn!(batch = %self.id(), %error, "a batch could not be forgotten");
        }
    }

    /// The record and its version.
    pub(super) async fn find(edge: &Edge, tenant: TenantId, id: &str) -> Result<(Self, u64), Refusal> {
        let log = log(id).ok_or_else(|| unknown(id))?;
        let found = edge.directory.get(&name(tenant, log)).await?.ok_or_else(|| unknown(id))?;
        let record = serde_json::from_slice(&found.value)
            .map_err(|_| Refusal::new(Code::Damaged, "the batch's record can't be read"))?;
        Ok((record, found.version))
    }

    /// Batches before the one named, newest first.
    pub(super) async fn list(
        edge: &Edge,
        tenant: TenantId,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<Self>, Refusal> {
        let after = before.map_or_else(|| NAMES.to_owned(), |before| name(tenant, before).name);
        let found = edge.directory.list(tenant, Shelf::Batches, Some(&after), limit).await?;
        Ok(found.iter().filter_map(|(_, record)| serde_json::from_slice(&record.value).ok()).collect())
    }
}
