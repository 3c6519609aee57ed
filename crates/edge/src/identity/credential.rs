//! Where in a request it is said who sends it, and in whose name.

use super::caller::{Caller, Grant};
use super::scope::{Role, Scope};
use super::table::{Table, TenantEntry, accounts};
use crate::refusal::Refusal;
use http::{HeaderMap, HeaderName, Method, Request, header};
use std::sync::Arc;
use tidewire_core::Timestamp;
use tidewire_proto::Code;

/// The cookie that holds a session.
pub(crate) const COOKIE: &str = "tidewire_session";

/// The longest key or token that is looked at: tokens of sign-in services have some 2 KiB.
const MAX_BYTES: usize = 8 * 1024;

pub(super) const MISSING: &str =
    "send a key: `Authorization: Bearer tw_…`, or `x-api-key`; `tidewire keys create` makes one";

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const USER: HeaderName = HeaderName::from_static("tidewire-user");
const TENANT: HeaderName = HeaderName::from_static("tidewire-tenant");

/// What was shown.
pub(super) enum Credential<'a> {
    /// A key or a token.
    Shown(&'a str),
    /// The cookie of a session.
    Session(&'a str),
    /// A ticket in the URL.
    Ticket(&'a str),
}

impl<'a> Credential<'a> {
    /// The first of them that there is. Keys and tokens are never read from a URL: proxies write those down.
    pub(super) fn find<B>(request: &'a Request<B>) -> Result<Option<Self>, Refusal> {
        let headers = request.headers();
        if let Some(shown) = shown(headers)? {
            return Ok(Some(Self::Shown(shown)));
        }
        if request.method() == Method::GET
            && let Some(ticket) = request.uri().query().and_then(|query| parameter(query, "ticket"))
        {
            return Ok(Some(Self::Ticket(ticket)));
        }
        Ok(cookie(headers, COOKIE).map(Self::Session))
    }
}

/// The first cookie of this name.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn shown(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let odd = || Refusal::unauthorized("the key is no plain text, or too long");
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().map_err(|_| odd())).transpose();
    let shown = match text(&header::AUTHORIZATION)? {
        Some(value) => {
            let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, key) = bearer.ok_or_else(|| Refusal::unauthorized("`Authorization` must be `Bearer` and a key"))?;
            Some(key.trim())
        }
        None => text(&X_API_KEY)?.or(text(&API_KEY)?),
    };
    match shown {
        Some(shown) if shown.is_empty() || shown.len() > MAX_BYTES => Err(odd()),
        shown => Ok(shown),
    }
}

impl Caller {
    /// The caller in whose name these headers ask: another tenant, a user.
    pub(super) fn choosing(&self, headers: &HeaderMap, table: &Table) -> Result<Self, Refusal> {
        let (tenant, user) = (headers.get(TENANT), headers.get(USER));
        if tenant.is_none() && user.is_none() {
            return Ok(self.clone());
        }
        let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let mut caller = self.clone();
        if let Some(name) = tenant.map(text) {
            self.require(Scope::AdminRead)?;
            let unknown = || Refusal::new(Code::UnknownTenant, format!("there is no tenant `{name}`"));
            caller = caller.in_tenant(table.tenant_named(&name).ok_or_else(unknown)?);
        }
        match user.map(text) {
            Some(user) => caller.acting_for(&user),
            None => Ok(caller),
        }
    }

    /// An operator, at work in this tenant.
    pub(super) fn in_tenant(&self, tenant: &TenantEntry) -> Self {
        let mut grant = Grant::clone(self);
        grant.tenant = tenant.record.id;
        grant.payer.user = None;
        grant.user_limits = tenant.record.user_limits;
        grant.accounts = accounts(tenant, None, None);
        grant.into()
    }

    /// The same, whose right ends at this moment at the latest.
    pub(super) fn until(&self, at: Option<Timestamp>) -> Self {
        match at {
            Some(at) if self.expires.is_none_or(|expires| at < expires) => {
                Grant { expires: Some(at), ..Grant::clone(self) }.into()
            }
            _ => self.clone(),
        }
    }

    /// Whether it is an operator, whose doings are written down.
    pub(crate) fn is_operator(&self) -> bool {
        self.role.is_some()
    }

    /// What people call the role.
    pub(crate) fn role_name(&self) -> Option<String> {
        self.role.map(Role::name).map(str::to_owned)
    }

    /// The routes' names.
    pub(crate) fn route_names(&self) -> Option<Vec<String>> {
        self.routes.as_ref().map(|routes| routes.iter().map(|route| Arc::<str>::as_ref(route).to_owned()).collect())
    }
}
