//! Reads the configuration again while the server runs, and puts into force what can be changed so. A file that is wrong
//! changes nothing.

use crate::config::{self, Config, ConfigError};
use crate::serve::bounds;
use crate::telemetry::{LogFilter, Metrics};
use crate::wiring::{self, Deployments};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::port::Clock;
use tidewire_core::queue::Queue;
use tidewire_edge::{Edge, Identity};
use tidewire_proto::routes::Reloaded;
use tidewire_worker::{Sizes, check_health};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Settings that a reload puts into force; the others need a restart.
const LIVE: &[&str] = &[
    "deployment",
    "route",
    "queue",
    "timeouts.connect_ms",
    "timeouts.first_token_ms",
    "timeouts.between_tokens_ms",
    "identity",
    "jwt",
    "oidc",
    "guard",
    "guards",
    "bounds",
    "runaway",
    "checker",
    "outgoing",
    "log.filter",
];

/// Where the settings come from: the file and the flags over it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) data: Option<PathBuf>,
}

impl Source {
    /// The settings as they are now.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        let mut config = config::load(self.file.as_deref(), config::variables())?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        config::check(&config)?;
        Ok(config)
    }
}

/// Puts new settings into force.
pub(crate) struct Reloader {
    source: Source,
    /// What the server was started with: what needs a restart is as it says.
    started: Config,
    /// What is in force.
    current: tokio::sync::Mutex<Config>,
    pub(crate) deployments: Arc<Deployments>,
    sizes: Sizes,
    queue: Arc<Queue>,
    identity: Arc<Identity>,
    log_filter: LogFilter,
    metrics: Arc<Metrics>,
    /// Ends the health checks of the deployments in force.
    checks: Mutex<CancellationToken>,
    tracker: TaskTracker,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
}

impl Reloader {
    /// For a server that was started with this configuration.
    pub(crate) fn new(
        (source, log_filter, sizes): (Source, LogFilter, Sizes),
        config: &Config,
        metrics: &Arc<Metrics>,
        deployments: Arc<Deployments>,
        edge: &Edge,
    ) -> Self {
        Self {
            source,
            started: config.clone(),
            current: config.clone().into(),
            deployments,
            sizes,
            queue: edge.queue.clone(),
            identity: edge.identity.clone(),
            log_filter,
            metrics: metrics.clone(),
            checks: Mutex::default(),
            tracker: edge.tracker.clone(),
            clock: edge.clock.clone(),
            closing: edge.closing.clone(),
        }
    }

    /// Reads the settings again. What is running goes on as it began; an error changes nothing.
    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let reloaded = self.put_into_force().await;
        match &reloaded {
            Ok(Reloaded { changed, needs_restart }) => {
                tracing::info!(?changed, ?needs_restart, "the configuration was read again");
            }
            Err(reason) => tracing::warn!(reason, "the configuration is refused, and nothing has changed"),
        }
        reloaded
    }

    async fn put_into_force(&self) -> Result<Reloaded, String> {
        // One at a time: two that interleave would leave a mixture.
        let mut current = self.current.lock().await;
        let config = self.source.load().map_err(|error| error.to_string())?;
        let filter = LogFilter::parse(&config.log.filter)?;
        // The address is the one that was bound: another one in the file must not open a door that others can reach.
        let reachable = Config { listen: self.started.listen, ..config.clone() };
        let identity = wiring::identity::settings(&reachable).map_err(|error| error.to_string())?;
        let deployments = self.deployments.clone();
        let wanted = config.clone();
        // A new deployment may load a model.
        let made = tokio::task::spawn_blocking(move || deployments.reload(&wanted)).await;
        let mut needs_restart = made.map_err(|error| error.to_string())??;
        self.sizes.set(self.deployments.slots());
        self.queue.set_bounds(bounds(&config));
        self.identity.apply(identity).await;
        self.log_filter.set(filter);
        self.metrics.set_providers(config.providers());
        self.check_health();
        let is_live = |path: &String| LIVE.iter().any(|live| path == live || path.starts_with(&format!("{live}.")));
        let changed = differences(&current, &config).into_iter().filter(is_live).collect();
        needs_restart.extend(differences(&self.started, &config).into_iter().filter(|path| !is_live(path)));
        *current = config;
        Ok(Reloaded { changed, needs_restart })
    }

    /// Begins to check the deployments in force, and ends what was checked before.
    pub(crate) fn check_health(&self) {
        let end = self.closing.child_token();
        let before = std::mem::replace(&mut *self.checks.lock().unwrap_or_else(PoisonError::into_inner), end.clone());
        before.cancel();
        for checked in self.deployments.checked() {
            let (fleet, clock) = (self.deployments.fleet.clone(), self.clock.clone());
            self.tracker.spawn(check_health(checked, fleet, clock, end.clone()));
        }
    }
}

/// The paths of settings that differ; a deployment and a route by its name.
fn differences(before: &Config, after: &Config) -> Vec<String> {
    let mut paths = Vec::new();
    let tree = |config: &Config| toml::Value::try_from(config).unwrap_or(toml::Value::Table(toml::Table::new()));
    differ("", &tree(before), &tree(after), &mut paths);
    paths
}

fn differ(path: &str, before: &toml::Value, after: &toml::Value, into: &mut Vec<String>) {
    use toml::Value;
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (before, after) {
        (Value::Table(before), Value::Table(after)) => {
            let nothing = Value::Table(toml::Table::new());
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                differ(&below(key), before.get(key).unwrap_or(&nothing), after.get(key).unwrap_or(&nothing), into);
            }
        }
        (before, after) if before == after => {}
        (before, after) if ["deployment", "route", "guard"].contains(&path) => {
            let by_name = |list: &Value| -> std::collections::BTreeMap<String, Value> {
                let named = |item: &Value| Some((item.get("name")?.as_str()?.to_owned(), item.clone()));
                list.as_array().into_iter().flatten().filter_map(named).collect()
            };
            let (before, after) = (by_name(before), by_name(after));
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
            let count = into.len();
            into.extend(changed.map(|name| below(name)));
            if into.len() == count {
                // Only their order: the first upstream that lists a model gets it.
                into.push(path.to_owned());
            }
        }
        _ => into.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_its_path_and_deployments_by_their_names() {
        let config = |text: &str| -> Config { toml::from_str(text).unwrap() };
        let deployment = |name: &str, slots: u32| {
            format!("[[deployment]]\nname = \"{name}\"\nbackend = \"scripted\"\nslots = {slots}\n")
        };
        let before = config(&[deployment("a", 1), deployment("b", 1)].concat());
        let text = ["[limits]\nbody_bytes = 5\n", &deployment("a", 2), &deployment("c", 1)].concat();
        let paths = differences(&before, &config(&text));
        assert_eq!(paths, ["deployment.a", "deployment.b", "deployment.c", "limits.body_bytes"]);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
    }
}
