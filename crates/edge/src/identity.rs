//! Who is asking: every request gets a [`Caller`] before a face sees it, and every face asks in its name.

mod caller;
mod lifetime;
mod scope;

pub(crate) use caller::End;
pub use caller::{Caller, Grant};
pub use lifetime::{Lifetime, Over};
pub use scope::{Role, Scope, Scopes};

use crate::refusal::Refusal;
use http::HeaderMap;
use tidewire_core::{TenantId, Timestamp};

/// What is known of tenants and keys.
pub struct Identity {
    open: Caller,
}

impl Identity {
    /// Without any key: whoever reaches the server may do everything, as the one tenant there is.
    pub fn development() -> Self {
        Self { open: Caller::development() }
    }

    /// Every tenant there is.
    pub fn tenants(&self) -> Vec<TenantId> {
        vec![TenantId::DEFAULT]
    }

    /// The caller of an open connection as it is now: its limits may be other ones than when it came.
    pub(crate) fn renewed(&self, caller: &Caller) -> Caller {
        caller.clone()
    }

    /// Who sent a request with these headers.
    pub(crate) fn authenticate(&self, _headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refusal> {
        self.open.check(now)?;
        Ok(self.open.clone())
    }
}
