//! What operators did: a shared log of the system's own, which only grows. It says who, what, when and from where, and
//! no body of a request, so no secret gets into it.

use super::Identity;
use super::caller::Caller;
use crate::Edge;
use crate::refusal::Refusal;
use std::net::SocketAddr;
use tidewire_core::port::{Append, Cursor, ReadError, Unavailable, Writer};
use tidewire_core::{Durability, Entry, Epoch, Kind, LogId, LogRef, Offset, TenantId};
use tidewire_proto::admin::{AuditEntry, AuditPage};

/// Where its log's name is kept.
const NAME: &str = "audit";

/// How much of the log is read at once.
const PAGE_BYTES: usize = 256 * 1024;

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What came of an operator's request, in words: a face puts it beside its answer.
#[derive(Clone, Debug)]
pub(crate) struct Note(pub(crate) String);

/// The audit log of a server.
pub(crate) struct Audit<'a>(pub(crate) &'a Edge);

impl Identity {
    async fn audit_log(&self, edge: &Edge) -> Result<Option<LogRef>, Unavailable> {
        let Some(store) = &self.store else { return Ok(None) };
        let random = (u128::from(edge.clock.random()) << 64) | u128::from(edge.clock.random());
        let fresh = LogId::shared(edge.clock.now(), random, Durability::Durable);
        let log = store.once(NAME, fresh).await?;
        Ok(Some(LogRef { tenant: TenantId::SYSTEM, log }))
    }
}

impl Audit<'_> {
    /// Writes down what an operator did. What was done is done: where it can't be written, the server's own log has it.
    pub(crate) async fn write(&self, caller: &Caller, entry: AuditEntry) {
        let edge = self.0;
        let entry = AuditEntry {
            at: edge.clock.now().as_millis(),
            who: caller.name.to_string(),
            key: caller.payer.key.map(|key| key.to_string()),
            tenant: Some(edge.identity.tenant_name(caller.tenant)),
            ..entry
        };
        tracing::info!(
            who = entry.who,
            key = entry.key,
            action = entry.action,
            status = entry.status,
            "an operator's action"
        );
        if let Err(reason) = self.append(&entry).await {
            tracing::error!(reason, "an operator's action is not in the audit log");
        }
    }

    async fn append(&self, entry: &AuditEntry) -> Result<(), String> {
        let edge = self.0;
        let Some(log) = edge.identity.audit_log(edge).await.map_err(|error| error.to_string())? else { return Ok(()) };
        // Made again, it is the same one.
        edge.log.create(log).await.map_err(|error| error.to_string())?;
        let data = serde_json::to_vec(entry).unwrap_or_default();
        let entries = vec![Entry::new(edge.clock.now(), Kind::Data, data)];
        let append = Append { log, writer: Writer::Open { rank: None }, entries };
        edge.log.append(append).await.map(drop).map_err(|error| error.to_string())
    }

    /// Entries after an offset, oldest first.
    pub(crate) async fn read(&self, after: Option<u64>, limit: usize) -> Result<AuditPage, Refusal> {
        let edge = self.0;
        let Some(log) = edge.identity.audit_log(edge).await? else { return Ok(AuditPage::default()) };
        let state = match edge.log.state(log).await {
            Ok(state) => state,
            Err(ReadError::Unknown) => return Ok(AuditPage::default()),
            Err(error) => return Err(error.into()),
        };
        let next = after.map_or(state.first, |after| Offset(after.saturating_add(1)));
        if next >= state.tail {
            return Ok(AuditPage::default());
        }
        let cursor = Cursor { epoch: Epoch(state.epoch.0), next };
        let page = edge.log.read(log, cursor, PAGE_BYTES).await?;
        let entry = |event: &tidewire_core::Event| {
            let entry: AuditEntry = serde_json::from_slice(&event.data).ok()?;
            Some(AuditEntry { offset: event.offset.0, ..entry })
        };
        let entries: Vec<AuditEntry> = page.events.iter().take(limit).filter_map(entry).collect();
        let last = page.events.iter().take(limit).last().map(|event| event.offset);
        let next = last.filter(|last| last.plus(1) < state.tail).map(|last| last.0);
        Ok(AuditPage { entries, next })
    }
}
