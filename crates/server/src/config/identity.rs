//! The settings of who may ask: keys, tokens of others, a sign-in provider.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) required: bool,
    pub(crate) session_minutes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_key_file: Option<PathBuf>,
}

/// Tokens that somebody else signs. None are taken while `algorithm` is empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Jwt {
    pub(crate) algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) jwks_url: String,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) leeway_s: u64,
    pub(crate) tenant: String,
    pub(crate) tenant_claim: String,
    pub(crate) user_claim: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) scopes_claim: String,
    pub(crate) routes_claim: String,
}

/// A sign-in provider. There is none while `issuer` is empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) redirect_url: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) algorithm: String,
    pub(crate) leeway_s: u64,
    pub(crate) tenant: String,
    pub(crate) tenant_claim: String,
    pub(crate) name_claim: String,
    pub(crate) role_claim: String,
    pub(crate) roles: BTreeMap<String, String>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { required: false, session_minutes: 720, admin_key_file: None }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            algorithm: String::new(),
            key_file: None,
            jwks_url: String::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_s: 10,
            tenant: "default".to_owned(),
            tenant_claim: String::new(),
            user_claim: "sub".to_owned(),
            scopes: vec!["tasks:write".to_owned(), "tasks:read".to_owned()],
            scopes_claim: "scope".to_owned(),
            routes_claim: "routes".to_owned(),
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret_env: None,
            client_secret_file: None,
            redirect_url: String::new(),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            algorithm: "RS256".to_owned(),
            leeway_s: 10,
            tenant: "default".to_owned(),
            tenant_claim: String::new(),
            name_claim: "email".to_owned(),
            role_claim: "groups".to_owned(),
            roles: BTreeMap::new(),
        }
    }
}
