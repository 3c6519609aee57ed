//! `tenant=` of a query: an operator may look at another tenant's things, or at all of them.

use crate::Edge;
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use tidewire_core::TenantId;
use tidewire_proto::Code;

/// Whose are meant: the caller's own tenant's, or any one's for an operator; none for `all`.
pub(super) fn whose(edge: &Edge, caller: &Caller, asked: Option<&str>) -> Result<Option<TenantId>, Refusal> {
    let Some(asked) = asked else { return Ok(Some(caller.tenant)) };
    let named = edge.identity.tenant_named(asked);
    if named == Some(caller.tenant) {
        return Ok(named);
    }
    // Before anything is said of the name: whoever may not look learns nothing.
    caller.require(Scope::AdminRead)?;
    match named {
        None if asked == "all" => Ok(None),
        None => Err(unknown(asked)),
        named => Ok(named),
    }
}

/// Whose one thing is meant.
pub(super) fn whose_one(edge: &Edge, caller: &Caller, asked: Option<&str>) -> Result<TenantId, Refusal> {
    whose(edge, caller, asked)?.ok_or_else(|| unknown("all"))
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(Code::UnknownTenant, format!("there is no tenant `{name}`"))
}
