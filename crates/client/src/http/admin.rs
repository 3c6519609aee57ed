//! Tenants and keys.

use super::{Http, HttpError, Query, segment};
use reqwest::Method;
use tidewire_proto::admin::{
    AuditPage, KeyCreated, KeyList, KeyView, NewKey, NewTenant, TenantChange, TenantList, TenantView, Ticket,
};

impl Http {
    /// All keys, or those of one tenant.
    pub async fn keys(&self, tenant: Option<&str>) -> Result<KeyList, HttpError> {
        let mut query = Query::default();
        query.add("tenant", tenant);
        self.json(self.request(Method::GET, &format!("/v1/admin/keys{}", query.0))).await
    }

    /// What is known of a key.
    pub async fn key(&self, id: &str) -> Result<KeyView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/admin/keys/{}", segment(id)))).await
    }

    /// Makes a key.
    pub async fn create_key(&self, new: &NewKey) -> Result<KeyCreated, HttpError> {
        self.json(self.request(Method::POST, "/v1/admin/keys").json(new)).await
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, id: &str) -> Result<KeyView, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/admin/keys/{}/revoke", segment(id)))).await
    }

    /// All tenants.
    pub async fn tenants(&self) -> Result<TenantList, HttpError> {
        self.json(self.request(Method::GET, "/v1/admin/tenants")).await
    }

    /// What is known of a tenant.
    pub async fn tenant(&self, name: &str) -> Result<TenantView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/admin/tenants/{}", segment(name)))).await
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<TenantView, HttpError> {
        self.json(self.request(Method::POST, "/v1/admin/tenants").json(new)).await
    }

    /// Changes a tenant.
    pub async fn change_tenant(&self, name: &str, change: &TenantChange) -> Result<TenantView, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/admin/tenants/{}", segment(name))).json(change)).await
    }

    /// What operators did, after an offset of the audit log.
    pub async fn audit(&self, after: Option<u64>) -> Result<AuditPage, HttpError> {
        let mut query = Query::default();
        query.add("after", after.map(|after| after.to_string()).as_deref());
        self.json(self.request(Method::GET, &format!("/v1/admin/audit{}", query.0))).await
    }

    /// A one-time ticket for a URL.
    pub async fn ticket(&self) -> Result<Ticket, HttpError> {
        self.json(self.request(Method::POST, "/v1/tickets")).await
    }
}
