//! Bodies of `/v1/admin`, `/v1/tickets` and `/v1/session`: tenants, keys, who is asking, what operators did.

use serde::{Deserialize, Serialize};

/// Which kept answers are to be forgotten: one, those of a route, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeBody {
    /// Those of this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The one of this key: 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How many were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// So many.
    pub purged: u64,
}

/// What an account may use. Money is in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsBody {
    /// Tasks a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens read a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Tokens written a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Money a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
    /// Money a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<f64>,
}

/// How large the requests of a key and their answers may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoundsBody {
    /// The largest prompt, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The largest request, in bytes of its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// The longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What becomes of a request that asks for a longer answer: `cap` or `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

impl BoundsBody {
    fn bound_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A tenant that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// What all of it may use together.
    pub limits: LimitsBody,
    /// What each of its users may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limits: Option<LimitsBody>,
}

/// What is to be changed at a tenant; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantChange {
    /// All of its limits: those that are absent here are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsBody>,
    /// All limits of each of its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limits: Option<LimitsBody>,
    /// Its keys and tokens do nothing while it is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its number, under which everything of it is kept.
    pub id: u32,
    /// When it was made, in milliseconds since the Unix epoch; 0 for the one that always is.
    pub created_at: u64,
    /// What all of it may use together.
    pub limits: LimitsBody,
    /// What each of its users may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_limits: Option<LimitsBody>,
    /// Its keys and tokens do nothing.
    pub suspended: bool,
}

/// All tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantList {
    /// By name.
    pub tenants: Vec<TenantView>,
}

/// A key that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// Whose it is; `default` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it may do. Where nothing is said, what an application needs; nothing for an operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// An operator's key: `read-only`, `operator` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The public model names that it may use; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// The names of the tools that its requests may offer a model; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// How large its requests and their answers may be.
    #[serde(skip_serializing_if = "BoundsBody::bound_nothing")]
    pub bounds: BoundsBody,
    /// The user whom all is for that comes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it ends, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// What may be used with it.
    pub limits: LimitsBody,
}

/// What is to be changed at a key; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyChange {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of its scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// All of its routes; an empty list allows every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// All of its tools; an empty list allows every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// All of its bounds: those that are absent here are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<BoundsBody>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// All of its limits: those that are absent here are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsBody>,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its public name: `key_` and 16 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// What it may do, its role's scopes among them.
    pub scopes: Vec<String>,
    /// The operator's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The public model names that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// The names of the tools that its requests may offer a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// How large its requests and their answers may be.
    #[serde(default, skip_serializing_if = "BoundsBody::bound_nothing")]
    pub bounds: BoundsBody,
    /// The user whom all is for that comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
    /// What may be used with it.
    pub limits: LimitsBody,
}

/// A key that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyCreated {
    /// The key itself. It is shown this once, and can't be found out again.
    pub secret: String,
    /// What is known of it.
    pub key: KeyView,
}

impl std::fmt::Debug for KeyCreated {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("KeyCreated").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Some keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyList {
    /// Oldest first.
    pub keys: Vec<KeyView>,
}

/// A one-time ticket for a URL.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// Goes into `?ticket=` of one request.
    pub ticket: String,
    /// How long it can be used, in milliseconds.
    pub expires_in_ms: u64,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// What the audit log calls it.
    pub name: String,
    /// Whose everything is that it asks for.
    pub tenant: String,
    /// Its key's public name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The user whom it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The operator's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The public model names that it may use; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// When its right ends, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// How a person can sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInWays {
    /// Whether anything is refused without.
    pub needed: bool,
    /// `key`; `oidc` where `GET /v1/session/oidc` leads to a provider.
    pub ways: Vec<String>,
}

/// One thing that an operator did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the audit log.
    #[serde(default)]
    pub offset: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Who: the key's name.
    pub who: String,
    /// The key's public name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// In which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What: the method and the path.
    pub action: String,
    /// What came of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The answer's HTTP status.
    pub status: u16,
}

/// A page of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
    /// The page goes on after this offset, where there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One of a server's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Which method.
    pub method: String,
    /// Which paths; parameters in braces.
    pub path: String,
    /// What a caller needs: `nothing`, `key`, or a scope.
    pub needs: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointList {
    /// In the order in which they are documented.
    pub endpoints: Vec<EndpointView>,
}
