//! What an operator can set: defaults, then `tidewire.toml`, then `TIDEWIRE_*` variables, then flags.

mod guard;
mod identity;
mod load;
mod reference;
mod routes;
mod values;

pub(crate) use guard::{CheckerConfig, OutgoingConfig, policy as guards};
pub(crate) use identity::Oidc as OidcConfig;
pub(crate) use load::{ConfigError, check, load};
pub(crate) use reference::reference;
pub(crate) use routes::{plan, record};
pub(crate) use values::Public as PublicConfig;
pub(crate) use values::{BackendKind, Config, DeploymentConfig, Durability, EngineKind, LogFormat};

use std::path::PathBuf;

/// Where the data is kept unless something else is set: the user's data directory.
pub(crate) fn default_data() -> PathBuf {
    home("XDG_DATA_HOME", ".local/share").join("tidewire")
}

/// Where `make run` puts what it fetched.
#[cfg(feature = "local")]
pub(crate) fn cache() -> PathBuf {
    variable("TIDEWIRE_CACHE").map_or_else(|| home("XDG_CACHE_HOME", ".cache").join("tidewire"), PathBuf::from)
}

/// The model for embeddings, below it.
#[cfg(feature = "local")]
pub(crate) const EMBEDDINGS: &str = "models/wordllama-l2-supercat-256/model.safetensors";

/// The names of the models that are built in: the one that chats, and the one that embeds.
pub(crate) const BUILT_IN: [&str; 2] = ["smollm2-135m-instruct", "wordllama-l2-supercat-256"];

fn home(xdg: &str, below: &str) -> PathBuf {
    let by_home = || variable("HOME").map_or_else(|| PathBuf::from("."), |home| PathBuf::from(home).join(below));
    variable(xdg).map_or_else(by_home, PathBuf::from)
}

/// All variables of the environment.
#[allow(clippy::disallowed_methods)] // The one reader.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A variable of the environment: only config reads them.
#[allow(clippy::disallowed_methods)] // The one reader.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
