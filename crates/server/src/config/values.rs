//! The settings as types, with their defaults. `reference` documents each; a test holds the two together.

use super::guard::{BoundsConfig, CheckerConfig, GuardConfig, Guards, OutgoingConfig, RunawayConfig};
use super::identity::{Identity, Jwt, Oidc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// All settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) engine: EngineKind,
    pub(crate) durability: Durability,
    pub(crate) limits: Limits,
    pub(crate) queue: Queue,
    pub(crate) worker: Worker,
    pub(crate) timeouts: Timeouts,
    pub(crate) embeddings: Embeddings,
    pub(crate) retention: Retention,
    pub(crate) cache: Cache,
    pub(crate) access: Access,
    pub(crate) identity: Identity,
    pub(crate) jwt: Jwt,
    pub(crate) oidc: Oidc,
    pub(crate) public: Public,
    pub(crate) guards: Guards,
    pub(crate) runaway: RunawayConfig,
    pub(crate) checker: CheckerConfig,
    pub(crate) outgoing: OutgoingConfig,
    pub(crate) log: Log,
    pub(crate) otlp: Otlp,
    pub(crate) built_in: BuiltIn,
    pub(crate) deployment: Vec<DeploymentConfig>,
    pub(crate) route: Vec<RouteConfig>,
    pub(crate) guard: Vec<GuardConfig>,
    pub(crate) bounds: Vec<BoundsConfig>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    Embedded,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Fsync,
    Write,
}

impl Durability {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Write => "write",
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) follows_per_connection: usize,
    pub(crate) connections: usize,
    pub(crate) data_free_bytes: u64,
    pub(crate) streams: usize,
    pub(crate) long_poll_ms: u64,
    pub(crate) file_bytes: u64,
    pub(crate) files_bytes: u64,
    pub(crate) files: u64,
    pub(crate) file_text_bytes: u64,
    pub(crate) file_readers: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Queue {
    pub(crate) waiting: usize,
    pub(crate) waiting_per_tenant: usize,
    pub(crate) running: usize,
    pub(crate) running_per_tenant: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) lease_ms: u64,
    pub(crate) backoff_ms: u64,
    pub(crate) backoff_cap_ms: u64,
    pub(crate) drain_ms: u64,
}

// The unit comes last in every setting's name.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    pub(crate) connect_ms: u64,
    pub(crate) first_token_ms: u64,
    pub(crate) between_tokens_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Embeddings {
    pub(crate) inputs: usize,
    pub(crate) bytes: usize,
    pub(crate) wait_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    pub(crate) age_hours: u64,
    pub(crate) bytes: u64,
    pub(crate) transient_minutes: u64,
    pub(crate) transient_bytes: u64,
    pub(crate) hot_bytes: u64,
    pub(crate) audit_days: u32,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Access {
    pub(crate) origins: Vec<String>,
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Results that anybody may read, and caches in front of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Public {
    pub(crate) max_age_s: u64,
    pub(crate) s_maxage_s: u64,
    pub(crate) stale_while_revalidate_s: u64,
    pub(crate) stale_if_error_s: u64,
    pub(crate) purge_urls: Vec<String>,
    pub(crate) purge_method: String,
}

/// Where traces go. Nowhere while `endpoint` is empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Otlp {
    pub(crate) endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers_file: Option<PathBuf>,
    pub(crate) sample_ratio: f64,
    pub(crate) include_text: bool,
}

/// The built-in model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BuiltIn {
    pub(crate) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<PathBuf>,
    pub(crate) threads: u32,
    pub(crate) parallel: u32,
    pub(crate) context_tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendKind {
    Openai,
    Azure,
    Anthropic,
    Gemini,
    Local,
    Scripted,
}

impl BackendKind {
    /// Who runs the model, in the words of OpenTelemetry's `gen_ai.provider.name`.
    pub(crate) const fn provider(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Azure => "azure.ai.openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gcp.gemini",
            Self::Local => "tidewire.local",
            Self::Scripted => "tidewire.scripted",
        }
    }
}

impl Config {
    /// Who runs the model of each deployment.
    pub(crate) fn providers(&self) -> BTreeMap<String, &'static str> {
        let named = |deployment: &DeploymentConfig| (deployment.name.clone(), deployment.backend.provider());
        self.deployment.iter().map(named).collect()
    }
}

/// One model at one backend.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeploymentConfig {
    pub(crate) name: String,
    pub(crate) backend: BackendKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serves: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) has: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_version: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_cached_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_cache_write: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_output: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health_ms: Option<u64>,
}

/// A public model name, and the deployments behind it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteConfig {
    pub(crate) name: String,
    pub(crate) deployments: Vec<MemberConfig>,
    #[serde(default)]
    pub(crate) strategy: StrategyKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) prefer: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fallbacks: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_token_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) between_tokens_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usd_per_day: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usd_per_month: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hedge: Option<HedgeConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<RouteCache>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<RoutePublic>,
}

/// For how long HTTP caches keep a route's public results, where that differs from `[public]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "units come last")]
pub(crate) struct RoutePublic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) s_maxage_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale_while_revalidate_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale_if_error_s: Option<u64>,
}

/// Where a share of a route's requests is run once more.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowConfig {
    pub(crate) route: String,
    pub(crate) share: f64,
}

/// When a route asks a second deployment as well.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HedgeConfig {
    pub(crate) after: f64,
    pub(crate) min_ms: u64,
    pub(crate) budget: f64,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { after: 0.95, min_ms: 100, budget: 0.05 }
    }
}

/// What of a route's answers is kept and shared.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteCache {
    pub(crate) ttl_s: u64,
    pub(crate) stale_while_revalidate_s: u64,
    pub(crate) stale_if_error_s: u64,
    pub(crate) scope: CacheScope,
    pub(crate) join: bool,
    pub(crate) sampled: bool,
    pub(crate) replay: CacheReplay,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) semantic: Option<SemanticConfig>,
}

/// Whether an answer is given to another question that means the same, and how that is found out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SemanticConfig {
    pub(crate) threshold: f64,
    pub(crate) deployment: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CacheScope {
    #[default]
    Tenant,
    User,
    Conversation,
    Shared,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CacheReplay {
    #[default]
    Full,
    Paced,
}

impl Default for RouteCache {
    fn default() -> Self {
        Self {
            ttl_s: 300,
            stale_while_revalidate_s: 0,
            stale_if_error_s: 0,
            scope: CacheScope::default(),
            join: true,
            sampled: false,
            replay: CacheReplay::default(),
            semantic: None,
        }
    }
}

/// All answers that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    pub(crate) bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { bytes: 256 * 1024 * 1024 }
    }
}

/// A deployment of a route: its name, or its name and its weight there.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum MemberConfig {
    Name(String),
    Weighted { name: String, weight: u32 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StrategyKind {
    #[default]
    Weighted,
    LeastBusy,
    Fastest,
    Headroom,
    Cheapest,
    Sticky,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data: super::default_data(),
            engine: EngineKind::Embedded,
            durability: Durability::Fsync,
            limits: Limits::default(),
            queue: Queue::default(),
            worker: Worker::default(),
            timeouts: Timeouts::default(),
            embeddings: Embeddings::default(),
            retention: Retention::default(),
            cache: Cache::default(),
            access: Access::default(),
            identity: Identity::default(),
            jwt: Jwt::default(),
            oidc: Oidc::default(),
            public: Public::default(),
            guards: Guards::default(),
            runaway: RunawayConfig::default(),
            checker: CheckerConfig::default(),
            outgoing: OutgoingConfig::default(),
            log: Log::default(),
            otlp: Otlp::default(),
            built_in: BuiltIn::default(),
            deployment: Vec::new(),
            route: Vec::new(),
            guard: Vec::new(),
            bounds: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            follows_per_connection: 256,
            connections: 20_000,
            data_free_bytes: 256 * 1024 * 1024,
            streams: 100_000,
            long_poll_ms: 30_000,
            file_bytes: 512 * 1024 * 1024,
            files_bytes: 10 * 1024 * 1024 * 1024,
            files: 10_000,
            file_text_bytes: 1024 * 1024,
            file_readers: 2,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: 100_000, waiting_per_tenant: 100_000, running: 100_000, running_per_tenant: 100_000 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            name: "worker-1".to_owned(),
            lease_ms: 30_000,
            backoff_ms: 500,
            backoff_cap_ms: 30_000,
            drain_ms: 10_000,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 5_000, first_token_ms: 60_000, between_tokens_ms: 30_000 }
    }
}

impl Default for Embeddings {
    fn default() -> Self {
        Self { inputs: 256, bytes: 512 * 1024, wait_ms: 5 }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age_hours: 168,
            bytes: 10 * 1024 * 1024 * 1024,
            transient_minutes: 10,
            transient_bytes: 256 * 1024 * 1024,
            hot_bytes: 128 * 1024 * 1024,
            audit_days: 400,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Default for Public {
    fn default() -> Self {
        Self {
            max_age_s: 0,
            s_maxage_s: 60,
            stale_while_revalidate_s: 30,
            stale_if_error_s: 86_400,
            purge_urls: Vec::new(),
            purge_method: "PURGE".to_owned(),
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: String::new(), headers_file: None, sample_ratio: 1.0, include_text: false }
    }
}

impl Default for BuiltIn {
    fn default() -> Self {
        Self { enabled: true, weights: None, threads: 0, parallel: 32, context_tokens: 2048 }
    }
}
