//! Makes, changes and revokes tenants and keys: records first, then this process's table, so that what was answered holds.

use super::record::{Key, Store, Tenant, WriteError};
use super::scope::{Role, Scopes};
use super::secret::{Hash, fresh_key};
use super::table::{Table, TenantEntry};
use super::{DEFAULT_TENANT, Identity, no_store};
use crate::refusal::Refusal;
use std::sync::Arc;
use tidewire_core::guard::{Bounds, Over};
use tidewire_core::port::{Clock, Limits, Unavailable};
use tidewire_core::{KeyId, Money, TenantId, Timestamp};
use tidewire_proto::Code;
use tidewire_proto::admin::{
    BoundsBody, KeyChange, KeyCreated, KeyView, LimitsBody, NewKey, NewTenant, TenantChange, TenantView,
};

/// Tenants of one server. All are in memory, at some 300 bytes each, and each is looked at by every sweep.
const MAX_TENANTS: usize = 10_000;

/// Keys of one server, those that were revoked among them. All are in memory, at about 1 KB each.
const MAX_KEYS: usize = 100_000;

/// The longest name of a tenant or a key, and of a route.
const MAX_NAME_BYTES: usize = 128;

/// The most routes, and the most tools, that a key may name.
const MAX_LISTED: usize = 256;

/// How often a change is tried again where somebody else changed the record meanwhile.
const MAX_TRIES: usize = 8;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict => Unavailable::new("somebody else has changed it meanwhile; try again").into(),
            WriteError::Unavailable(error) => error.into(),
        }
    }
}

fn limits(body: &LimitsBody) -> Result<Limits, Refusal> {
    let money = |dollars: Option<f64>| match dollars {
        Some(dollars) if !dollars.is_finite() || dollars < 0.0 => Err(invalid("a budget is a number of US dollars")),
        dollars => Ok(dollars.map(Money::from_dollars)),
    };
    Ok(Limits {
        requests_per_minute: body.requests_per_minute,
        input_tokens_per_minute: body.input_tokens_per_minute,
        output_tokens_per_minute: body.output_tokens_per_minute,
        cost_per_day: money(body.usd_per_day)?,
        cost_per_month: money(body.usd_per_month)?,
    })
}

fn limits_body(limits: &Limits) -> LimitsBody {
    LimitsBody {
        requests_per_minute: limits.requests_per_minute,
        input_tokens_per_minute: limits.input_tokens_per_minute,
        output_tokens_per_minute: limits.output_tokens_per_minute,
        usd_per_day: limits.cost_per_day.map(Money::dollars),
        usd_per_month: limits.cost_per_month.map(Money::dollars),
    }
}

fn name(what: &str, name: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid(format!("the name of a {what} has 1 to {MAX_NAME_BYTES} letters, digits, and `-`, `_`, `.`")))
}

fn label(name: &str) -> Result<String, Refusal> {
    let name = name.trim();
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(invalid(format!("a key's `name` has at most {MAX_NAME_BYTES} bytes, and none that controls")));
    }
    Ok(if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() })
}

fn scopes(names: &[String]) -> Result<Vec<String>, Refusal> {
    let scopes = Scopes::parse(names.iter().map(String::as_str))
        .map_err(|unknown| invalid(format!("`{unknown}` is no scope; there are {}", Scopes::ALL.names().join(", "))))?;
    Ok(scopes.names())
}

/// The routes or the tools of a key: none where every one is allowed.
fn listed(what: &str, names: Option<Vec<String>>) -> Result<Option<Vec<String>>, Refusal> {
    let Some(names) = names.filter(|names| !names.is_empty()) else { return Ok(None) };
    let fits = |name: &String| (1..=MAX_NAME_BYTES).contains(&name.len());
    if names.len() > MAX_LISTED || !names.iter().all(fits) {
        return Err(invalid(format!(
            "`{what}` is a list of at most {MAX_LISTED} names of 1 to {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(Some(names))
}

fn bounds(body: &BoundsBody) -> Result<Bounds, Refusal> {
    let over = match body.over.as_deref() {
        None | Some("cap") => Over::Cap,
        Some("refuse") => Over::Refuse,
        Some(other) => return Err(invalid(format!("`bounds.over` is `cap` or `refuse`, not `{other}`"))),
    };
    let BoundsBody { input_tokens, input_bytes, output_tokens, .. } = *body;
    if output_tokens == Some(0) {
        return Err(invalid("`bounds.output_tokens` is at least 1"));
    }
    Ok(Bounds { input_tokens, input_bytes, output_tokens, over })
}

fn bounds_body(bounds: &Bounds) -> BoundsBody {
    BoundsBody {
        input_tokens: bounds.input_tokens,
        input_bytes: bounds.input_bytes,
        output_tokens: bounds.output_tokens,
        over: (bounds.over == Over::Refuse).then(|| "refuse".to_owned()),
    }
}

fn expiry(at: Option<u64>, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    match at.map(Timestamp::from_millis) {
        Some(at) if at <= now => Err(invalid("`expires_at` is in the past: it is in milliseconds since 1970")),
        at => Ok(at),
    }
}

fn unknown_tenant(name: &str) -> Refusal {
    Refusal::new(Code::UnknownTenant, format!("there is no tenant `{name}`; `tidewire tenants list` names them"))
}

fn unknown_key(id: &str) -> Refusal {
    Refusal::new(Code::UnknownKey, format!("there is no key `{id}`; `tidewire keys list` names them"))
}

fn tenant_view(tenant: &TenantEntry) -> TenantView {
    let record = &tenant.record;
    TenantView {
        name: tenant.name.to_string(),
        id: record.id.0,
        created_at: record.created_at.as_millis(),
        limits: limits_body(&record.limits),
        user_limits: record.user_limits.as_ref().map(limits_body),
        suspended: record.suspended,
    }
}

fn key_view(table: &Table, id: KeyId, key: &Key) -> KeyView {
    KeyView {
        id: id.to_string(),
        name: key.name.clone(),
        tenant: table.tenant(key.tenant).map(|tenant| tenant.name.to_string()).unwrap_or_default(),
        scopes: key.all_scopes().names(),
        role: key.role.map(|role| role.name().to_owned()),
        routes: key.routes.clone(),
        tools: key.tools.clone(),
        bounds: bounds_body(&key.bounds),
        user: key.user.clone(),
        created_at: key.created_at.as_millis(),
        expires_at: key.expires_at.map(Timestamp::as_millis),
        revoked_at: key.revoked_at.map(Timestamp::as_millis),
        limits: limits_body(&key.limits),
    }
}

impl Identity {
    fn kept(&self) -> Result<(&Store, &Arc<dyn Clock>), Refusal> {
        self.store.as_ref().zip(self.clock.as_ref()).ok_or_else(no_store)
    }

    /// All tenants, by name.
    pub(crate) fn list_tenants(&self) -> Vec<TenantView> {
        let table = self.table();
        let mut tenants: Vec<_> = table.tenants().map(tenant_view).collect();
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        tenants
    }

    /// One of them.
    pub(crate) fn show_tenant(&self, name: &str) -> Result<TenantView, Refusal> {
        self.table().tenant_named(name).map(tenant_view).ok_or_else(|| unknown_tenant(name))
    }

    /// Makes a tenant.
    pub(crate) async fn create_tenant(&self, new: NewTenant) -> Result<TenantView, Refusal> {
        let (store, clock) = self.kept()?;
        name("tenant", &new.name)?;
        let taken = || Refusal::new(Code::TenantExists, format!("there is a tenant `{}` already", new.name));
        let table = self.table();
        if table.tenant_named(&new.name).is_some() {
            return Err(taken());
        }
        if table.tenants().count() >= MAX_TENANTS {
            return Err(invalid(format!("a server has at most {MAX_TENANTS} tenants")));
        }
        let tenant = Tenant {
            id: TenantId::DEFAULT,
            created_at: clock.now(),
            limits: limits(&new.limits)?,
            user_limits: new.user_limits.as_ref().map(limits).transpose()?,
            suspended: false,
        };
        let first = table.tenants().map(|tenant| tenant.record.id.0).max().unwrap_or(TenantId::DEFAULT.0) + 1;
        match store.add_tenant(&new.name, first, tenant).await {
            Ok(_) => {}
            Err(WriteError::Conflict) => return Err(taken()),
            Err(error) => return Err(error.into()),
        }
        self.reload().await?;
        self.show_tenant(&new.name)
    }

    /// Changes a tenant.
    pub(crate) async fn change_tenant(&self, name: &str, change: TenantChange) -> Result<TenantView, Refusal> {
        let (store, _) = self.kept()?;
        let known = self.table().tenant_named(name).map(|tenant| tenant.record.clone());
        let mut tenant = known.ok_or_else(|| unknown_tenant(name))?;
        if let Some(all) = &change.limits {
            tenant.limits = limits(all)?;
        }
        if let Some(each) = &change.user_limits {
            tenant.user_limits = Some(limits(each)?).filter(|limits| *limits != Limits::default());
        }
        tenant.suspended = change.suspended.unwrap_or(tenant.suspended);
        store.put_tenant(name, &tenant).await?;
        self.reload().await?;
        self.show_tenant(name)
    }

    /// All keys, or a tenant's, oldest first.
    pub(crate) fn list_keys(&self, tenant: Option<&str>) -> Result<Vec<KeyView>, Refusal> {
        let table = self.table();
        let of = tenant.map(|name| table.tenant_named(name).ok_or_else(|| unknown_tenant(name))).transpose()?;
        let of = of.map(|tenant| tenant.record.id);
        let keys = table.keys().into_iter().filter(|(_, key)| of.is_none_or(|of| of == key.tenant));
        Ok(keys.map(|(id, key)| key_view(&table, id, key)).collect())
    }

    /// One of them.
    pub(crate) fn show_key(&self, id: &str) -> Result<KeyView, Refusal> {
        let table = self.table();
        let known = id.parse().ok().and_then(|id| Some(key_view(&table, id, table.key(id)?)));
        known.ok_or_else(|| unknown_key(id))
    }

    /// Makes a key.
    pub(crate) async fn create_key(&self, new: NewKey) -> Result<KeyCreated, Refusal> {
        let (store, clock) = self.kept()?;
        let table = self.table();
        let tenant = new.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        let tenant = table.tenant_named(tenant).ok_or_else(|| unknown_tenant(tenant))?.record.id;
        if table.count() >= MAX_KEYS {
            return Err(invalid(format!("a server has at most {MAX_KEYS} keys")));
        }
        let role = match new.role.as_deref() {
            None => None,
            Some(role) => Some(
                Role::parse(role)
                    .ok_or_else(|| invalid(format!("`role` is `read-only`, `operator` or `admin`, not `{role}`")))?,
            ),
        };
        let scopes = match &new.scopes {
            Some(names) => scopes(names)?,
            None if role.is_some() => Vec::new(),
            None => Scopes::APPLICATION.names(),
        };
        if let Some(user) = &new.user
            && !(1..=super::caller::MAX_USER_BYTES).contains(&user.len())
        {
            return Err(invalid(format!("`user` has 1 to {} bytes", super::caller::MAX_USER_BYTES)));
        }
        let (id, secret) = fresh_key(&**clock);
        let key = Key {
            tenant,
            name: label(&new.name)?,
            hash: Hash::of(&secret).to_hex(),
            created_at: clock.now(),
            scopes,
            role,
            routes: listed("routes", new.routes)?,
            tools: listed("tools", new.tools)?,
            bounds: bounds(&new.bounds)?,
            user: new.user,
            expires_at: expiry(new.expires_at, clock.now())?,
            revoked_at: None,
            limits: limits(&new.limits)?,
        };
        store.add_key(id, &key).await?;
        self.reload().await?;
        Ok(KeyCreated { secret, key: key_view(&self.table(), id, &key) })
    }

    /// Changes a key.
    pub(crate) async fn change_key(&self, id: &str, change: KeyChange) -> Result<KeyView, Refusal> {
        let (_, clock) = self.kept()?;
        let now = clock.now();
        let name = change.name.as_deref().map(label).transpose()?;
        let scopes = change.scopes.as_deref().map(scopes).transpose()?;
        let routes = change.routes.map(|all| listed("routes", Some(all))).transpose()?;
        let tools = change.tools.map(|all| listed("tools", Some(all))).transpose()?;
        let bounds = change.bounds.as_ref().map(bounds).transpose()?;
        let expires = expiry(change.expires_at, now)?;
        let limits = change.limits.as_ref().map(limits).transpose()?;
        self.update_key(id, |key| {
            key.name = name.clone().unwrap_or_else(|| key.name.clone());
            key.scopes = scopes.clone().unwrap_or_else(|| key.scopes.clone());
            key.routes = routes.clone().unwrap_or_else(|| key.routes.clone());
            key.tools = tools.clone().unwrap_or_else(|| key.tools.clone());
            key.bounds = bounds.unwrap_or(key.bounds);
            key.expires_at = expires.or(key.expires_at);
            key.limits = limits.unwrap_or(key.limits);
        })
        .await
    }

    /// Revokes a key: it opens nothing any more, and what it had opened closes.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<KeyView, Refusal> {
        let (_, clock) = self.kept()?;
        let now = clock.now();
        self.update_key(id, |key| key.revoked_at = key.revoked_at.or(Some(now))).await
    }

    async fn update_key(&self, id: &str, change: impl Fn(&mut Key)) -> Result<KeyView, Refusal> {
        let (store, _) = self.kept()?;
        let parsed: KeyId = id.parse().map_err(|_| unknown_key(id))?;
        for _ in 0..MAX_TRIES {
            let (mut key, version) = store.key(parsed).await?.ok_or_else(|| unknown_key(id))?;
            change(&mut key);
            match store.put_key(parsed, &key, version).await {
                Ok(()) => {
                    self.reload().await?;
                    return self.show_key(id);
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }
}
