//! Which backend answers for which model.

use super::guards::guards;
use super::local::Local;
use super::prices;
use super::upstreams::Upstream;
use super::words;
use crate::checker::Names;
use crate::config::{BackendKind, Config, DeploymentConfig, plan, record, variable};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_backends::openai::OpenAi;
use tidewire_backends::scripted::{Script, Scripted};
use tidewire_core::Catalog;
use tidewire_core::cache::REPLAY;
use tidewire_core::catalog::{Deployment, Takes};
use tidewire_core::port::{Backend, Clock, Embedder, Model};
use tidewire_core::route::{Fleet, Plan, Route};
use tidewire_worker::batcher::{self, Batcher};
use tidewire_worker::embeddings::Embeds;
use tidewire_worker::{Backends, Checked, Slots};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks at once at an upstream, unless set: more than one small upstream takes, and few enough that their
/// connections stay cheap.
const UPSTREAM_SLOTS: usize = 256;

/// Tasks at once of the scripted backend, which costs next to nothing.
const SCRIPTED_SLOTS: usize = 100_000;

/// Tasks at once that are replayed or ride on another one's answer: as many as there may be connections.
const REPLAYS: usize = 20_000;

/// How often upstreams are asked which models they have.
const LISTING: Duration = Duration::from_mins(1);

/// How soon again, while an upstream has not answered yet.
const FIRST_LISTING: Duration = Duration::from_secs(2);

/// What one configuration's deployments amount to.
struct Made {
    plan: Plan,
    /// The configured ones. One whose settings stay the same keeps its connections over a reload.
    configured: HashMap<Arc<str>, Configured>,
    /// The others: the built-in model's, and those of `--upstream`.
    others: HashMap<Arc<str>, Arc<dyn Backend>>,
    /// Deployments that are asked whether they are there.
    checked: Vec<Checked>,
    /// What a reload can't change.
    restart: Vec<String>,
}

/// A backend, and what it was made from.
#[derive(Clone)]
struct Configured {
    from: DeploymentConfig,
    backend: Arc<dyn Backend>,
    /// Requests at once, where the settings say nothing.
    slots: usize,
    /// It makes vectors.
    embeds: bool,
}

/// The deployments and the routes to them, as they are now. A reload exchanges them.
pub(crate) struct Deployments {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) backends: Arc<Backends>,
    configured: Mutex<HashMap<Arc<str>, Configured>>,
    checked: Mutex<Vec<Checked>>,
    upstreams: Vec<String>,
    clock: Arc<dyn Clock>,
    /// What tenants are called, for the checker.
    names: Names,
    /// Calls of many callers at once.
    calls: TaskTracker,
    /// Models that run in this process.
    local: Local,
}

impl Deployments {
    /// Makes the backends of the configuration, and of `--upstream` flags.
    pub(crate) fn make(
        config: &Config,
        upstreams: &[String],
        clock: &Arc<dyn Clock>,
        names: Names,
    ) -> Result<Self, String> {
        let deployments = Self {
            catalog: Arc::default(),
            fleet: Arc::default(),
            backends: Arc::default(),
            configured: Mutex::default(),
            checked: Mutex::default(),
            upstreams: upstreams.to_vec(),
            clock: clock.clone(),
            names,
            calls: TaskTracker::new(),
            local: Local::start(config, clock)?,
        };
        let made = deployments.of(config)?;
        deployments.put(made);
        Ok(deployments)
    }

    /// From now on these of the configuration. Tasks that run keep what they began with. Gives back what needs a restart;
    /// an error changes nothing.
    pub(crate) fn reload(&self, config: &Config) -> Result<Vec<String>, String> {
        let mut made = self.of(config)?;
        let restart = std::mem::take(&mut made.restart);
        self.put(made);
        Ok(restart)
    }

    fn put(&self, made: Made) {
        let Made { plan, configured, others, checked, restart: _ } = made;
        let mut backends = others;
        backends.extend(configured.iter().map(|(name, made)| (name.clone(), made.backend.clone())));
        *lock(&self.configured) = configured;
        *lock(&self.checked) = checked;
        // The backends before the plan: whoever reads the new plan finds them.
        self.backends.set(backends);
        self.fleet.forget(&plan);
        self.catalog.set_plan(plan);
    }

    /// How many tasks of each route run at once.
    pub(crate) fn slots(&self) -> Vec<Slots> {
        let plan = self.catalog.plan();
        let slots = |route: &Arc<Route>| Slots { capability: route.name.clone(), count: plan.slots(route) };
        // What is replayed, and what rides on another task's answer, asks no deployment.
        let replays = Slots { capability: REPLAY.into(), count: REPLAYS };
        plan.routes().iter().map(slots).chain([replays]).collect()
    }

    /// The deployments that are asked whether they are there.
    pub(crate) fn checked(&self) -> Vec<Checked> {
        lock(&self.checked).clone()
    }

    fn of(&self, config: &Config) -> Result<Made, String> {
        let mut records = Vec::new();
        let (mut configured, mut others) = (HashMap::new(), HashMap::new());
        let (mut checked, mut restart) = (Vec::new(), Vec::new());
        for (record, backend) in self.local.built_in() {
            others.insert(record.name.clone(), backend.clone());
            records.push(record.clone());
        }
        for deployment in &config.deployment {
            let name: Arc<str> = deployment.name.as_str().into();
            let made = self.configured(config, deployment, &mut restart)?;
            let mut record = record(deployment, made.slots);
            prices::complete(&mut record, deployment, self.clock.now());
            records.push(record);
            let every = Duration::from_millis(deployment.health_ms.unwrap_or(0));
            if !every.is_zero() {
                checked.push(Checked { deployment: name.clone(), backend: made.backend.clone(), every });
            }
            configured.insert(name, made);
        }
        for (name, url) in self.upstreams() {
            let backend = if let Some(backend) = self.backends.get(&name) {
                backend
            } else {
                let upstream = Arc::new(upstream(url)?);
                self.embeds(config, upstream.clone(), upstream)
            };
            others.insert(name.clone(), backend);
            records.push(Deployment { slots: UPSTREAM_SLOTS, ..Deployment::new(name, Takes::Any) });
        }
        let plan = plan(config, records).map_err(|error| error.to_string())?;
        self.check_semantic(&plan, &configured)?;
        let plan = plan.with_guards(guards(config, &self.names)?);
        Ok(Made { plan, configured, others, checked, restart })
    }

    /// Upstreams that are given by their URLs alone, and the names of their deployments.
    fn upstreams(&self) -> impl Iterator<Item = (Arc<str>, &str)> {
        let named = |index: usize| Arc::from(format!("upstream-{}", index + 1));
        self.upstreams.iter().enumerate().map(move |(index, url)| (named(index), url.as_str()))
    }

    /// A deployment's backend: the one that it has, where its settings are the same.
    fn configured(
        &self,
        config: &Config,
        deployment: &DeploymentConfig,
        restart: &mut Vec<String>,
    ) -> Result<Configured, String> {
        let known = lock(&self.configured).get(&*deployment.name).cloned();
        match known {
            // A key's file may have another key by now.
            Some(known) if of_backend(&known.from) == of_backend(deployment) && deployment.key_file.is_none() => {
                Ok(Configured { from: deployment.clone(), ..known })
            }
            // What a model in this process was loaded with stays.
            Some(known) if known.from.backend == BackendKind::Local && deployment.backend == BackendKind::Local => {
                restart.push(format!("deployment.{}", deployment.name));
                Ok(known)
            }
            _ => {
                let (backend, slots, embeds) = self.backend(config, deployment)?;
                Ok(Configured { from: deployment.clone(), backend, slots, embeds })
            }
        }
    }

    /// A deployment's backend, its slots, and whether it makes vectors.
    fn backend(
        &self,
        config: &Config,
        deployment: &DeploymentConfig,
    ) -> Result<(Arc<dyn Backend>, usize, bool), String> {
        Ok(match (Upstream::of(deployment)?, deployment.backend) {
            (Some(Upstream { backend, embedder: Some(embedder) }), _) => {
                (self.embeds(config, backend, embedder), UPSTREAM_SLOTS, true)
            }
            (Some(Upstream { backend, embedder: None }), _) => (backend, UPSTREAM_SLOTS, false),
            (None, BackendKind::Local) => {
                let (backend, slots) = self.local.deployment(config, deployment, &self.clock)?;
                (backend, slots, words::embeds(deployment))
            }
            (None, _) => {
                let scripted = Arc::new(Scripted::new(Script::default()));
                (self.embeds(config, scripted.clone(), scripted), SCRIPTED_SLOTS, true)
            }
        })
    }

    /// Checks that each semantic cache names a deployment that makes vectors.
    fn check_semantic(&self, plan: &Plan, configured: &HashMap<Arc<str>, Configured>) -> Result<(), String> {
        let embeds = |name: &str| match configured.get(name) {
            Some(made) => made.embeds,
            None => self.local.embeds(name),
        };
        for route in plan.routes() {
            let Some(semantic) = route.cache.as_ref().and_then(|cache| cache.semantic.as_ref()) else { continue };
            let (route, name) = (&route.name, &semantic.deployment);
            if embeds(name) {
                continue;
            }
            let known: Vec<String> = plan
                .deployments()
                .iter()
                .map(|known| known.name.as_ref())
                .filter(|known| embeds(known))
                .map(|known| format!("`{known}`"))
                .collect();
            let wrong = if plan.deployment(name).is_some() { "makes no vectors" } else { "is none" };
            let known = if known.is_empty() {
                "there is none yet".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(format!(
                "`semantic` of the cache of the route `{route}` wants vectors from the deployment `{name}`, which {wrong}: \
                 name a [[deployment]] that serves embeddings; {known}"
            ));
        }
        Ok(())
    }

    /// A backend that also makes vectors, of many callers' inputs at once.
    fn embeds(&self, config: &Config, backend: Arc<dyn Backend>, embedder: Arc<dyn Embedder>) -> Arc<dyn Backend> {
        let bounds = batcher::Bounds {
            inputs: config.embeddings.inputs,
            bytes: config.embeddings.bytes,
            wait: Duration::from_millis(config.embeddings.wait_ms),
        };
        let batcher = Batcher::new(embedder, self.clock.clone(), self.calls.clone(), bounds);
        Arc::new(Embeds::new(backend, Arc::new(batcher)))
    }

    /// Ends what backends run of their own.
    pub(crate) fn shutdown(&self) {
        self.local.shutdown();
    }
}

/// What a backend is made from: the settings without those of routing.
fn of_backend(deployment: &DeploymentConfig) -> DeploymentConfig {
    let is_local = deployment.backend == BackendKind::Local;
    DeploymentConfig {
        serves: None,
        has: Vec::new(),
        weight: None,
        region: None,
        requests_per_minute: None,
        tokens_per_minute: None,
        price_input: None,
        price_cached_input: None,
        price_cache_write: None,
        price_output: None,
        health_ms: None,
        model: deployment.model.clone().filter(|_| is_local),
        slots: deployment.slots.filter(|_| is_local),
        context_tokens: deployment.context_tokens.filter(|_| is_local),
        ..deployment.clone()
    }
}

pub(super) fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An upstream that is given by its URL alone.
fn upstream(url: &str) -> Result<OpenAi, String> {
    OpenAi::new(url, variable("OPENAI_API_KEY").as_deref()).map_err(|error| format!("the upstream {url}: {error}"))
}

/// The models of an upstream.
pub(crate) async fn models_of(url: &str) -> Result<Vec<Model>, String> {
    upstream(url)?.models().await.map_err(|error| error.to_string())
}

/// Upstreams that are asked for their models.
pub(crate) fn upstreams_for(deployments: &Deployments) -> Vec<(Arc<str>, Arc<dyn Backend>)> {
    let upstreams = deployments.upstreams();
    upstreams.filter_map(|(name, _)| Some((name.clone(), deployments.backends.get(&name)?))).collect()
}

/// Asks upstreams for their models from time to time, until `end`.
pub(crate) async fn listed_models(
    upstreams: Vec<(Arc<str>, Arc<dyn Backend>)>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    end: CancellationToken,
) {
    let mut heard_all = false;
    while !upstreams.is_empty() {
        let asking = async {
            let mut all = true;
            for (capability, backend) in &upstreams {
                match backend.models().await {
                    Ok(models) => catalog.set_listed(capability, models),
                    Err(error) => {
                        all = false;
                        tracing::warn!(upstream = %capability, %error, "the upstream does not say which models it has");
                    }
                }
            }
            all
        };
        tokio::select! {
            () = end.cancelled() => return,
            all = asking => heard_all |= all,
        }
        let wait = if heard_all { LISTING } else { FIRST_LISTING };
        tokio::select! {
            () = end.cancelled() => return,
            () = clock.sleep(wait) => {}
        }
    }
}
