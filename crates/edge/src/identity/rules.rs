//! What the operator has set of who may ask: exchanged as a whole by a reload.

use super::caller::{Caller, Grant};
use super::jwt::{Tokens, Verifier};
use super::lifetime::Over;
use super::oidc::{Oidc, Provider};
use super::once::SESSION_LIFE;
use super::scope::Role;
use super::secret::{self, Hash};
use super::table::Table;
use crate::refusal::Refusal;
use std::time::Duration;
use tidewire_core::{KeyId, Timestamp};

/// What an operator sets.
pub struct Settings {
    /// A key is needed even where there is none yet.
    pub required: bool,
    /// A key with the role `admin` that is in no record: the first one of a new server.
    pub admin_key: Option<String>,
    /// How long a session lasts.
    pub session_life: Duration,
    /// Tokens that somebody else signs.
    pub tokens: Option<Tokens>,
    /// Where operators sign in who have no key.
    pub oidc: Option<Oidc>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { required: false, admin_key: None, session_life: SESSION_LIFE, tokens: None, oidc: None }
    }
}

/// The settings in force.
pub(super) struct Rules {
    pub(super) required: bool,
    admin: Option<(Hash, Caller)>,
    pub(super) session_life: Duration,
    pub(super) tokens: Option<Verifier>,
    pub(super) oidc: Option<Provider>,
}

impl Rules {
    /// `before`: what was in force until now. The first key goes on where it is the same.
    pub(super) fn new(settings: Settings, before: Option<&Self>) -> Self {
        let admin = settings.admin_key.as_deref().map(|key| {
            let hash = Hash::of(key);
            let old = before.and_then(|before| before.admin.as_ref()).filter(|(old, _)| old.is(&hash));
            (hash, old.map_or_else(Caller::first_admin, |(_, caller)| caller.clone()))
        });
        let tokens_before = before.and_then(|before| before.tokens.as_ref());
        Self {
            required: settings.required,
            admin,
            session_life: settings.session_life,
            tokens: settings.tokens.map(|tokens| Verifier::new(tokens, tokens_before)),
            oidc: settings.oidc.map(Provider::new),
        }
    }

    /// Whether they alone tell anybody from anybody else.
    pub(super) fn know_anyone(&self) -> bool {
        self.admin.is_some() || self.tokens.is_some() || self.oidc.is_some()
    }

    /// Whether the provider's people are let in as they were before.
    pub(super) fn lets_in_whom(&self, before: &Self) -> bool {
        match (&self.oidc, &before.oidc) {
            (Some(now), Some(before)) => now.lets_in_whom(before),
            (None, None) => true,
            _ => false,
        }
    }

    /// Ends what the first key has opened, where it is another one now.
    pub(super) fn end_of(&self, before: &Self) {
        let Some((old, caller)) = &before.admin else { return };
        if !self.admin.as_ref().is_some_and(|(now, _)| now.is(old)) {
            caller.lifetime.end(Over::Revoked);
        }
    }

    /// Whose key or token this is.
    pub(super) fn known(&self, table: &Table, secret: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let unknown = || Refusal::unauthorized("the key is not known here");
        if let Some(id) = secret::key_id(secret)
            && let Some(caller) = table.caller(id, &Hash::of(secret))
        {
            return Ok(caller.clone());
        }
        if let Some((hash, caller)) = &self.admin
            && hash.is(&Hash::of(secret))
        {
            return Ok(caller.clone());
        }
        match &self.tokens {
            Some(tokens) if secret.contains('.') => tokens.caller(secret, table, now),
            _ => Err(unknown()),
        }
    }
}

impl Caller {
    /// The one whose key is set by a variable or a file.
    fn first_admin() -> Self {
        Grant {
            payer: tidewire_core::Payer { key: Some(KeyId(0)), user: None },
            role: Some(Role::Admin),
            name: "the admin key of the configuration".into(),
            ..Grant::clone(&Self::development())
        }
        .into()
    }
}
