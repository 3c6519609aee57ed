//! Tenants and keys as records of the directory. They belong to the system's own tenant; a note beside them changes its
//! version with each change, so that another process finds out by reading one record.

use super::scope::{Role, Scopes};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidewire_core::guard::Bounds;
use tidewire_core::port::{Directory, Expect, Limits, PutError, RecordName, Shelf, Unavailable};
use tidewire_core::{KeyId, TenantId, Timestamp};

/// Records that are listed at once.
const PAGE: usize = 500;

/// The note that changes with every change.
const CHANGED: &str = "changed";

/// The names on the tenants' shelf: by name, and by number.
const BY_NAME: &str = "name/";
const BY_NUMBER: &str = "id/";

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) created_at: Timestamp,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_limits: Option<Limits>,
    #[serde(default)]
    pub(super) suspended: bool,
}

impl Tenant {
    /// The one that always is, until somebody sets something of it.
    pub(super) fn default_one() -> Self {
        Self {
            id: TenantId::DEFAULT,
            created_at: Timestamp::default(),
            limits: Limits::default(),
            user_limits: None,
            suspended: false,
        }
    }
}

/// A key. Its secret is not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    pub(super) name: String,
    /// BLAKE3 of the whole key, in hexadecimal. The secret has 192 random bits, so nothing slower is needed.
    pub(super) hash: String,
    pub(super) created_at: Timestamp,
    pub(super) scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tools: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Bounds::bound_nothing")]
    pub(super) bounds: Bounds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) limits: Limits,
}

impl Key {
    /// What it may do, its role's scopes among them. A scope that a newer server wrote is none here.
    pub(super) fn all_scopes(&self) -> Scopes {
        let known: Vec<_> = self.scopes.iter().filter_map(|name| super::Scope::parse(name)).collect();
        Scopes::of(&known).and(self.role.map(Role::scopes).unwrap_or_default())
    }
}

/// The records.
pub(super) struct Store(Arc<dyn Directory>);

fn at(shelf: Shelf, name: String) -> RecordName {
    RecordName { tenant: TenantId::SYSTEM, shelf, name }
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers only.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Why a record was not written.
pub(super) enum WriteError {
    /// Another one is there.
    Conflict,
    Unavailable(Unavailable),
}

impl From<PutError> for WriteError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Conflict { .. } => Self::Conflict,
            PutError::Unavailable(error) => Self::Unavailable(error),
            error @ PutError::TooLarge { .. } => Self::Unavailable(Unavailable::new(error)),
        }
    }
}

impl Store {
    pub(super) fn new(directory: Arc<dyn Directory>) -> Self {
        Self(directory)
    }

    /// Which version of all of them there is; 0 where nothing was ever changed.
    pub(super) async fn version(&self) -> Result<u64, Unavailable> {
        let found = self.0.get(&at(Shelf::Identity, CHANGED.to_owned())).await?;
        Ok(found.map_or(0, |record| record.version))
    }

    async fn changed(&self) -> Result<(), WriteError> {
        self.0.put(at(Shelf::Identity, CHANGED.to_owned()), Bytes::new(), Expect::Anything).await?;
        Ok(())
    }

    /// All tenants by name.
    pub(super) async fn tenants(&self) -> Result<Vec<(String, Tenant)>, Unavailable> {
        let mut tenants: Vec<(String, Tenant)> = self.all(Shelf::Tenants, BY_NAME).await?;
        if !tenants.iter().any(|(_, tenant)| tenant.id == TenantId::DEFAULT) {
            tenants.push((super::DEFAULT_TENANT.to_owned(), Tenant::default_one()));
        }
        Ok(tenants)
    }

    /// All keys, those that were revoked among them.
    pub(super) async fn keys(&self) -> Result<Vec<(KeyId, Key)>, Unavailable> {
        let keys: Vec<(String, Key)> = self.all(Shelf::Keys, "").await?;
        Ok(keys.into_iter().filter_map(|(name, key)| Some((name.parse().ok()?, key))).collect())
    }

    async fn all<T: DeserializeOwned>(&self, shelf: Shelf, beginning: &str) -> Result<Vec<(String, T)>, Unavailable> {
        let mut all = Vec::new();
        let mut after = Some(beginning.to_owned()).filter(|beginning| !beginning.is_empty());
        loop {
            let page = self.0.list(TenantId::SYSTEM, shelf, after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(name, _)| name.clone());
            for (name, record) in page {
                let Some(rest) = name.strip_prefix(beginning) else { return Ok(all) };
                // A record that can't be read is refused, not passed over: a key that was revoked must not come back.
                let value = serde_json::from_slice(&record.value)
                    .map_err(|error| Unavailable::new(format!("the record `{name}` can't be read: {error}")))?;
                all.push((rest.to_owned(), value));
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Makes a tenant under the first number that is free from `first` on.
    pub(super) async fn add_tenant(&self, name: &str, first: u32, mut tenant: Tenant) -> Result<Tenant, WriteError> {
        let mut number = first;
        loop {
            let by_number = at(Shelf::Tenants, format!("{BY_NUMBER}{number:010}"));
            match self.0.put(by_number, Bytes::copy_from_slice(name.as_bytes()), Expect::Absent).await {
                Ok(_) => break,
                Err(PutError::Conflict { .. }) => number = number.saturating_add(1),
                Err(error) => return Err(error.into()),
            }
        }
        tenant.id = TenantId(number);
        // A number whose name was taken meanwhile stays unused: nothing is kept under it.
        self.0.put(at(Shelf::Tenants, format!("{BY_NAME}{name}")), json(&tenant), Expect::Absent).await?;
        self.changed().await?;
        Ok(tenant)
    }

    /// Changes a tenant.
    pub(super) async fn put_tenant(&self, name: &str, tenant: &Tenant) -> Result<(), WriteError> {
        self.0.put(at(Shelf::Tenants, format!("{BY_NAME}{name}")), json(tenant), Expect::Anything).await?;
        self.changed().await
    }

    /// Makes a key.
    pub(super) async fn add_key(&self, id: KeyId, key: &Key) -> Result<(), WriteError> {
        self.0.put(at(Shelf::Keys, id.to_string()), json(key), Expect::Absent).await?;
        self.changed().await
    }

    /// A key and its record's version.
    pub(super) async fn key(&self, id: KeyId) -> Result<Option<(Key, u64)>, Unavailable> {
        let Some(record) = self.0.get(&at(Shelf::Keys, id.to_string())).await? else { return Ok(None) };
        let key = serde_json::from_slice(&record.value)
            .map_err(|error| Unavailable::new(format!("the record of {id} can't be read: {error}")))?;
        Ok(Some((key, record.version)))
    }

    /// Changes a key that nobody else has changed meanwhile.
    pub(super) async fn put_key(&self, id: KeyId, key: &Key, version: u64) -> Result<(), WriteError> {
        self.0.put(at(Shelf::Keys, id.to_string()), json(key), Expect::Version(version)).await?;
        self.changed().await
    }

    /// A record of its own, made once: whoever comes second gets what the first one put there.
    pub(super) async fn once<T: Serialize + DeserializeOwned>(&self, name: &str, value: T) -> Result<T, Unavailable> {
        let name = at(Shelf::Identity, name.to_owned());
        match self.0.put(name.clone(), json(&value), Expect::Absent).await {
            Ok(_) => return Ok(value),
            Err(PutError::Conflict { .. }) => {}
            Err(error) => return Err(Unavailable::new(error)),
        }
        let found = self.0.get(&name).await?.map(|record| serde_json::from_slice(&record.value));
        match found {
            Some(Ok(found)) => Ok(found),
            _ => Err(Unavailable::new("a record of the server's own can't be read")),
        }
    }
}
