//! All tenants and keys in memory, made anew from their records when these change. A request looks its key up here.

use super::caller::{Caller, Grant};
use super::lifetime::{Lifetime, Over};
use super::record::{Key, Tenant};
use super::scope::{Role, Scopes};
use super::secret::Hash;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidewire_core::guard::Bounds;
use tidewire_core::port::{Account, Limits};
use tidewire_core::{KeyId, Payer, TenantId};

/// A tenant, as requests need it.
pub(super) struct TenantEntry {
    pub(super) name: Arc<str>,
    pub(super) record: Tenant,
    pub(super) lifetime: Lifetime,
}

/// A key, as requests need it.
struct KeyEntry {
    hash: Hash,
    caller: Caller,
    record: Key,
}

/// What is known of all.
#[derive(Default)]
pub(super) struct Table {
    /// Of the records that it was made from.
    pub(super) version: u64,
    keys: HashMap<KeyId, KeyEntry>,
    tenants: BTreeMap<TenantId, TenantEntry>,
}

impl Table {
    /// A table of these records. Whatever ends with them is ended: `before` knows who waits.
    pub(super) fn new(version: u64, tenants: Vec<(String, Tenant)>, keys: Vec<(KeyId, Key)>, before: &Self) -> Self {
        let mut table = Self { version, ..Self::default() };
        for (name, record) in tenants {
            let old = before.tenants.get(&record.id);
            let lifetime = old.filter(|old| old.lifetime.over().is_none());
            let lifetime = lifetime.map_or_else(Lifetime::default, |old| old.lifetime.clone());
            if record.suspended {
                lifetime.end(Over::Revoked);
            }
            table.tenants.insert(record.id, TenantEntry { name: name.into(), record, lifetime });
        }
        for (id, record) in keys {
            if let Some(entry) = table.entry(id, record, before.keys.get(&id)) {
                table.keys.insert(id, entry);
            }
        }
        for (id, old) in &before.keys {
            if !table.keys.contains_key(id) {
                old.caller.lifetime.end(Over::Revoked);
            }
        }
        table
    }

    fn entry(&self, id: KeyId, record: Key, old: Option<&KeyEntry>) -> Option<KeyEntry> {
        let hash = Hash::from_hex(&record.hash)?;
        let tenant = self.tenants.get(&record.tenant)?;
        let same = |old: &Key| {
            // All but what people call it, and its limits, which open connections ask for anew.
            let rights = |key: &Key| Key { name: String::new(), limits: Limits::default(), ..key.clone() };
            rights(old) == rights(&record)
        };
        let lifetime = match old {
            Some(old) if same(&old.record) && old.caller.lifetime.over().is_none() => old.caller.lifetime.clone(),
            _ => Lifetime::default(),
        };
        if record.revoked_at.is_some() || tenant.record.suspended {
            lifetime.end(Over::Revoked);
            if let Some(old) = old {
                old.caller.lifetime.end(Over::Revoked);
            }
        } else if let Some(old) = old.filter(|old| !same(&old.record)) {
            old.caller.lifetime.end(Over::Changed);
        }
        let user: Option<Arc<str>> = record.user.as_deref().map(Arc::from);
        let own = (Account::Key(record.tenant, id), record.limits);
        let caller = Grant {
            tenant: record.tenant,
            accounts: accounts(tenant, Some(own), user.as_ref()),
            payer: Payer { key: Some(id), user },
            user_limits: tenant.record.user_limits,
            scopes: record.all_scopes(),
            role: record.role,
            routes: record.routes.as_deref().map(names),
            tools: record.tools.as_deref().map(names),
            bounds: record.bounds,
            expires: record.expires_at,
            lifetime,
            name: record.name.as_str().into(),
            version: self.version,
        }
        .into();
        Some(KeyEntry { hash, caller, record })
    }

    /// Whether there is any key, whatever has become of it.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// The caller that shows this key.
    pub(super) fn caller(&self, id: KeyId, shown: &Hash) -> Option<&Caller> {
        self.keys.get(&id).filter(|entry| entry.hash.is(shown)).map(|entry| &entry.caller)
    }

    /// The caller that once showed it.
    pub(super) fn known(&self, id: KeyId) -> Option<&Caller> {
        self.keys.get(&id).map(|entry| &entry.caller)
    }

    /// A key's record.
    pub(super) fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(&id).map(|entry| &entry.record)
    }

    /// All keys, oldest first.
    pub(super) fn keys(&self) -> Vec<(KeyId, &Key)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(id, entry)| (*id, &entry.record)).collect();
        keys.sort_by_key(|(id, key)| (key.created_at, id.0));
        keys
    }

    /// All tenants.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantEntry> {
        self.tenants.values()
    }

    /// A tenant by number.
    pub(super) fn tenant(&self, id: TenantId) -> Option<&TenantEntry> {
        self.tenants.get(&id)
    }

    /// A tenant by name.
    pub(super) fn tenant_named(&self, name: &str) -> Option<&TenantEntry> {
        self.tenants.values().find(|tenant| *tenant.name == *name)
    }
}

fn names(names: &[String]) -> Arc<[Arc<str>]> {
    names.iter().map(|name| Arc::from(name.as_str())).collect()
}

/// The accounts that have limits: the tenant's, a key's, a user's.
pub(super) fn accounts(
    tenant: &TenantEntry,
    key: Option<(Account, Limits)>,
    user: Option<&Arc<str>>,
) -> Arc<[(Account, Limits)]> {
    let id = tenant.record.id;
    let own = (Account::Tenant(id), tenant.record.limits);
    let of_user = user.zip(tenant.record.user_limits).map(|(user, limits)| (Account::User(id, user.clone()), limits));
    let all = [Some(own), key, of_user].into_iter().flatten();
    all.filter(|(_, limits)| *limits != Limits::default()).collect()
}

/// What a caller without a key of ours may do in a tenant.
pub(super) struct Foreign {
    pub(super) name: Arc<str>,
    pub(super) user: Option<Arc<str>>,
    pub(super) scopes: Scopes,
    pub(super) role: Option<Role>,
    pub(super) routes: Option<Arc<[Arc<str>]>>,
    pub(super) expires: Option<tidewire_core::Timestamp>,
}

impl Table {
    /// A caller that somebody else vouches for.
    pub(super) fn foreign(&self, tenant: &TenantEntry, foreign: Foreign) -> Caller {
        Grant {
            tenant: tenant.record.id,
            accounts: accounts(tenant, None, foreign.user.as_ref()),
            payer: Payer { key: None, user: foreign.user },
            user_limits: tenant.record.user_limits,
            scopes: foreign.scopes,
            role: foreign.role,
            routes: foreign.routes,
            tools: None,
            bounds: Bounds::default(),
            expires: foreign.expires,
            lifetime: tenant.lifetime.clone(),
            name: foreign.name,
            version: self.version,
        }
        .into()
    }
}
