//! A caller: what is known of whoever sent a request.

use super::lifetime::{Lifetime, Over};
use super::scope::{Role, Scope, Scopes};
use crate::refusal::Refusal;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use tidewire_core::guard::Bounds;
use tidewire_core::port::{Account, Clock, Limits};
use tidewire_core::{Payer, TenantId, Timestamp, Trace};
use tidewire_proto::Code;
use tokio_util::sync::CancellationToken;

/// The longest name of a user: a mail address, or an id of a sign-in service.
pub(super) const MAX_USER_BYTES: usize = 255;

/// Who is asking, and in which trace. Clones share what is known.
#[derive(Clone, Debug)]
pub struct Caller {
    grant: Arc<Grant>,
    trace: Option<Arc<Trace>>,
}

/// What a caller is and may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose everything is that it asks for.
    pub tenant: TenantId,
    /// What its usage is counted under.
    pub payer: Payer,
    /// The accounts that must have room for what it asks for, with their limits.
    pub accounts: Arc<[(Account, Limits)]>,
    /// What a user of its tenant may use, who has no account among these yet.
    pub user_limits: Option<Limits>,
    /// What it may do.
    pub scopes: Scopes,
    /// Which operator it is; what operators do is written down.
    pub role: Option<Role>,
    /// The public model names that it may use; all where there is none.
    pub routes: Option<Arc<[Arc<str>]>>,
    /// The tools that it may name; all where there is none.
    pub tools: Option<Arc<[Arc<str>]>>,
    /// How large its requests and their answers may be.
    pub bounds: Bounds,
    /// When its right ends by itself.
    pub expires: Option<Timestamp>,
    /// When its right ends otherwise.
    pub lifetime: Lifetime,
    /// What the audit log calls it.
    pub name: Arc<str>,
    /// Of the tenants and keys that it was made from.
    pub version: u64,
}

impl Deref for Caller {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        &self.grant
    }
}

impl From<Grant> for Caller {
    fn from(grant: Grant) -> Self {
        Self { grant: Arc::new(grant), trace: None }
    }
}

impl Caller {
    /// Whoever reaches a server without keys: it may do everything, without limits.
    pub(super) fn development() -> Self {
        Grant {
            tenant: TenantId::DEFAULT,
            payer: Payer::default(),
            accounts: Arc::new([]),
            user_limits: None,
            scopes: Scopes::ALL,
            role: None,
            routes: None,
            tools: None,
            bounds: Bounds::default(),
            expires: None,
            lifetime: Lifetime::default(),
            name: "anyone".into(),
            version: 0,
        }
        .into()
    }

    /// Refuses what it may not do, and names what is missing.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        let role = scope.role().map(|role| format!(", which the role `{role}` has")).unwrap_or_default();
        Err(Refusal::new(Code::Forbidden, format!("this needs the scope `{}`{role}; the key has not", scope.name())))
    }

    /// Whether it may use a model by this public name.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.routes.as_ref().is_none_or(|routes| routes.iter().any(|allowed| **allowed == *model))
    }

    /// The same caller, asking for a user of its tenant.
    pub(crate) fn acting_for(&self, user: &str) -> Result<Self, Refusal> {
        if self.payer.user.as_deref() == Some(user) {
            return Ok(self.clone());
        }
        if self.payer.user.is_some() && !self.scopes.has(Scope::Users) {
            return Err(Refusal::new(Code::Forbidden, "this key or token is for one user, and that is another one"));
        }
        self.require(Scope::Users)?;
        if !(1..=MAX_USER_BYTES).contains(&user.len()) || user.chars().any(char::is_control) {
            let message = format!("a user's name has 1 to {MAX_USER_BYTES} bytes, and none that controls");
            return Err(Refusal::new(Code::InvalidRequest, message));
        }
        let user: Arc<str> = user.into();
        let mut grant = Grant::clone(self);
        grant.accounts = grant.with_user(&user);
        grant.payer.user = Some(user);
        Ok(Self { grant: Arc::new(grant), trace: self.trace.clone() })
    }

    /// The same caller, asking in this trace, or in none.
    #[must_use]
    pub(crate) fn in_trace(&self, trace: Option<Trace>) -> Self {
        Self { grant: self.grant.clone(), trace: trace.map(Arc::new) }
    }

    /// The trace that it asks in, where its request named one.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// Refuses a caller whose right has ended.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        let expired = self.expires.is_some_and(|at| now >= at).then_some(Over::Expired);
        match self.lifetime.over().or(expired) {
            // Asked again, it is asked what it may do now.
            None | Some(Over::Changed) => Ok(()),
            Some(over) => Err(over.into()),
        }
    }

    /// The end of its right, for one who waits for it while doing something else.
    pub fn end(&self, clock: &dyn Clock) -> End {
        let expiry = self.expires.map(|at| clock.sleep(at.since(clock.now())));
        End { lifetime: self.lifetime.clone(), waiter: self.lifetime.waiter(), expiry }
    }
}

impl Grant {
    /// The accounts of what is asked for by this payer, who is the caller, or its tenant's user.
    pub(crate) fn accounts_of(&self, payer: &Payer) -> Arc<[(Account, Limits)]> {
        match &payer.user {
            Some(user) if self.payer.user.as_ref() != Some(user) => self.with_user(user),
            _ => self.accounts.clone(),
        }
    }

    /// The accounts, with this user's in the place of any other user's.
    fn with_user(&self, user: &Arc<str>) -> Arc<[(Account, Limits)]> {
        let others = self.accounts.iter().filter(|(account, _)| !matches!(account, Account::User(..))).cloned();
        let own = self.user_limits.map(|limits| (Account::User(self.tenant, user.clone()), limits));
        others.chain(own).collect()
    }
}

/// The end of a caller's right.
pub struct End {
    lifetime: Lifetime,
    waiter: CancellationToken,
    expiry: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl End {
    /// Waits for it; not again once it has come. Dropping the future loses nothing.
    pub async fn wait(&mut self) -> Over {
        let expiry = async {
            match &mut self.expiry {
                Some(expiry) => expiry.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.waiter.cancelled() => self.lifetime.over().unwrap_or(Over::Revoked),
            () = expiry => Over::Expired,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        // Absent only where an endpoint is listed as one that needs no caller.
        parts.extensions.get().cloned().ok_or_else(|| Refusal::unauthorized("this needs a key").into_response())
    }
}
