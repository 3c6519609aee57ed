//! Tokens that somebody else signs, such as an application's own server for the browsers of its users (RFC 7519).
//!
//! The algorithm is the operator's choice and never the token's; so are the keys. A token's `kid` is only looked up among
//! them. Issuer, audience and expiry must be there.

mod check;
mod cryptography;
mod keys;
#[cfg(test)]
mod tests;

pub(super) use check::{Check, Expected, Fault};
pub(super) use keys::PATIENCE;
pub use keys::{Fetch, FetchError, Fetching, Form, Source};

use super::caller::{Caller, MAX_USER_BYTES};
use super::scope::{Scope, Scopes};
use super::secret::Hash;
use super::table::{Foreign, Table};
use crate::refusal::Refusal;
use check::moment;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;
use tidewire_proto::Code;

/// Tokens whose signature was checked already, at about 1 KB each: a page sends the same one with every request, and a
/// signature takes 50 to 100 µs.
const MAX_KNOWN: usize = 10_000;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// By a secret that the issuer shares with this server.
    Hs256,
    /// By an RSA key.
    Rs256,
    /// By a key of the curve P-256.
    Es256,
}

impl Algorithm {
    /// The algorithm of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    pub(super) const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
        }
    }
}

/// Which claims say what.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Names the tenant; all tokens are of `tenant` where there is no such claim to be.
    pub tenant_claim: Option<String>,
    /// The tenant of tokens that name none.
    pub tenant: String,
    /// Names the user.
    pub user_claim: String,
    /// Names scopes: a list, or one text with spaces.
    pub scopes_claim: String,
    /// The scopes of a token that names none.
    pub scopes: Scopes,
    /// Names the routes that may be used: a list; all where it is absent.
    pub routes_claim: String,
}

/// Which tokens are taken.
pub struct Tokens {
    /// How they are signed.
    pub algorithm: Algorithm,
    /// What they are checked with.
    pub source: Source,
    /// Who must have issued them.
    pub issuer: String,
    /// Whom they must be for.
    pub audience: String,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// Which claims say what.
    pub claims: Claims,
}

/// Checks tokens, and knows whose they are.
pub(super) struct Verifier {
    check: Check,
    claims: Claims,
    known: Mutex<HashMap<[u8; 32], Caller>>,
}

fn unauthorized(why: &str) -> Refusal {
    Refusal::unauthorized(&format!("the token is refused: {why}"))
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(why) => unauthorized(why),
            Fault::Expired => Self::new(Code::KeyExpired, "the token has expired; get a new one"),
        }
    }
}

impl Verifier {
    /// One in the place of another, whose fetched keys it goes on with until it has its own.
    pub(super) fn new(tokens: Tokens, before: Option<&Self>) -> Self {
        let expected = Expected {
            algorithm: tokens.algorithm,
            issuer: tokens.issuer,
            audience: tokens.audience,
            leeway: tokens.leeway,
        };
        let check = Check::new(expected, tokens.source);
        if let Some(before) = before {
            check.keys.inherit(&before.check.keys);
        }
        Self { check, claims: tokens.claims, known: Mutex::default() }
    }

    /// Gets the keys anew, where they are fetched and it is time.
    pub(super) async fn refresh(&self, clock: &dyn Clock) {
        if self.check.keys.refresh(clock).await {
            self.forget();
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Caller>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was known of tokens holds no more: a tenant or a key has changed.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    /// Whose token this is.
    pub(super) fn caller(&self, token: &str, table: &Table, now: Timestamp) -> Result<Caller, Refusal> {
        let hash = Hash::of(token).bytes();
        if let Some(known) = self.known().get(&hash) {
            return Ok(known.clone());
        }
        let claims = self.check.claims(token, now)?;
        let caller = self.admit(&claims, table)?;
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, caller| caller.check(now).is_ok());
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(hash, caller.clone());
        Ok(caller)
    }

    /// What the claims say.
    fn admit(&self, claims: &Value, table: &Table) -> Result<Caller, Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let tenant = match &self.claims.tenant_claim {
            Some(claim) => text(claim).ok_or_else(|| unauthorized("it names no tenant"))?,
            None => &self.claims.tenant,
        };
        let tenant = table.tenant_named(tenant).ok_or_else(|| unauthorized("there is no such tenant"))?;
        let user = text(&self.claims.user_claim);
        let fits = |user: &str| (1..=MAX_USER_BYTES).contains(&user.len()) && !user.chars().any(char::is_control);
        if user.is_some_and(|user| !fits(user)) {
            return Err(unauthorized("its user's name is empty or too long"));
        }
        let scopes = match claims.get(&self.claims.scopes_claim) {
            None | Some(Value::Null) => self.claims.scopes,
            Some(named) => Scopes::of(&named_scopes(named)),
        };
        let routes = match claims.get(&self.claims.routes_claim) {
            None | Some(Value::Null) => None,
            // One that can't be read allows nothing.
            Some(list) => {
                let routes = list.as_array().into_iter().flatten().filter_map(Value::as_str);
                Some(routes.map(Arc::from).collect())
            }
        };
        let expires = claims.get("exp").and_then(Value::as_f64).map(|seconds| moment(seconds).plus(self.check.leeway));
        let user: Option<Arc<str>> = user.map(Arc::from);
        let name = user.clone().unwrap_or_else(|| "a token".into());
        Ok(table
            .foreign(tenant, Foreign { name, user, scopes: scopes.within(GIVEN_AWAY), role: None, routes, expires }))
    }
}

/// What a token may give: never what an operator may do.
const GIVEN_AWAY: Scopes =
    Scopes::of(&[Scope::TasksWrite, Scope::TasksRead, Scope::TasksStop, Scope::Files, Scope::Streams, Scope::Users]);

/// The scopes among the names, which may be of others too, such as `openid`.
fn named_scopes(named: &Value) -> Vec<Scope> {
    match named {
        Value::String(names) => names.split_whitespace().filter_map(Scope::parse).collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter_map(Scope::parse).collect(),
        _ => Vec::new(),
    }
}
