//! Which backend answers for which model.

use super::upstreams::Upstream;
use crate::config::{BackendKind, Config, DeploymentConfig, variable};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidewire_backends::openai::OpenAi;
use tidewire_backends::scripted::{Script, Scripted};
use tidewire_core::Catalog;
use tidewire_core::catalog::{Deployment, Takes};
use tidewire_core::port::{Backend, Clock, Embedder, Model};
use tidewire_worker::Slots;
use tokio_util::sync::CancellationToken;

/// Tasks at once at an upstream, unless set: more than one small upstream takes, and few enough that their
/// connections stay cheap.
const UPSTREAM_SLOTS: usize = 256;

/// Tasks at once of the scripted backend, which costs next to nothing.
const SCRIPTED_SLOTS: usize = 100_000;

/// How often upstreams are asked which models they have.
const LISTING: Duration = Duration::from_mins(1);

/// How soon again, while an upstream has not answered yet.
const FIRST_LISTING: Duration = Duration::from_secs(2);

/// Backends, by capability, and the models that they have.
pub(crate) struct Deployments {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) backends: HashMap<Arc<str>, Arc<dyn Backend>>,
    /// Those of them that make vectors.
    #[allow(dead_code, reason = "the face for embeddings is the one to read it")]
    pub(crate) embedders: HashMap<Arc<str>, Arc<dyn Embedder>>,
    pub(crate) slots: Vec<Slots>,
    /// Upstreams that are asked for their models.
    pub(crate) listing: Vec<Arc<str>>,
    #[cfg(feature = "local")]
    local: Vec<Arc<tidewire_backends::local::Local>>,
}

impl Deployments {
    /// Makes the backends of the configuration, and of `--upstream` flags.
    pub(crate) fn make(config: &Config, upstreams: &[String], clock: &Arc<dyn Clock>) -> Result<Self, String> {
        let mut made = Self {
            catalog: Arc::default(),
            backends: HashMap::new(),
            embedders: HashMap::new(),
            slots: Vec::new(),
            listing: Vec::new(),
            #[cfg(feature = "local")]
            local: Vec::new(),
        };
        let mut deployments = Vec::new();
        made.built_in(config, clock, &mut deployments)?;
        for deployment in &config.deployment {
            made.deployment(config, deployment, clock, &mut deployments)?;
        }
        for (index, url) in upstreams.iter().enumerate() {
            let capability: Arc<str> = format!("upstream-{}", index + 1).into();
            let upstream = Arc::new(upstream(url)?);
            made.embedders.insert(capability.clone(), upstream.clone());
            made.add(&capability, upstream, UPSTREAM_SLOTS);
            made.listing.push(capability.clone());
            deployments.push(Deployment { capability, takes: Takes::Any, built_in: false, has: Vec::new() });
        }
        made.catalog = Arc::new(Catalog::new(deployments));
        Ok(made)
    }

    fn add(&mut self, capability: &Arc<str>, backend: Arc<dyn Backend>, count: usize) {
        self.backends.insert(capability.clone(), backend);
        self.slots.push(Slots { capability: capability.clone(), count });
    }

    fn deployment(
        &mut self,
        config: &Config,
        deployment: &DeploymentConfig,
        clock: &Arc<dyn Clock>,
        into: &mut Vec<Deployment>,
    ) -> Result<(), String> {
        let name: Arc<str> = deployment.name.as_str().into();
        let (backend, slots): (Arc<dyn Backend>, usize) = match (Upstream::of(deployment)?, deployment.backend) {
            (Some(upstream), _) => {
                self.embedders.extend(upstream.embedder.map(|embedder| (name.clone(), embedder)));
                (upstream.backend, UPSTREAM_SLOTS)
            }
            (None, BackendKind::Local) => self.local(config, deployment, clock)?,
            (None, _) => {
                let scripted = Arc::new(Scripted::new(Script::default()));
                self.embedders.insert(name.clone(), scripted.clone());
                (scripted, SCRIPTED_SLOTS)
            }
        };
        self.add(&name, backend, deployment.slots.unwrap_or(slots));
        let model = deployment.model.as_deref().unwrap_or(&deployment.name).into();
        let public = deployment.serves.as_deref().map_or_else(|| name.clone(), Arc::from);
        let takes = Takes::One { name: public, model };
        into.push(Deployment { capability: name, takes, built_in: false, has: deployment.has.clone() });
        Ok(())
    }
}

#[cfg(not(feature = "local"))]
impl Deployments {
    // The same face as with the model built in.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn built_in(&mut self, _: &Config, _: &Arc<dyn Clock>, _: &mut Vec<Deployment>) -> Result<(), String> {
        Ok(())
    }

    #[allow(clippy::unused_self)] // The same face as with the model built in.
    fn local(
        &mut self,
        _: &Config,
        deployment: &DeploymentConfig,
        _: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Backend>, usize), String> {
        Err(format!(
            "the deployment `{}` wants a GGUF file, and this program was built without that: build it with \
             `--features local`, or use `make run`",
            deployment.name
        ))
    }

    /// Ends what backends run of their own.
    #[allow(clippy::unused_self)] // The same face as with the model built in.
    pub(crate) fn shutdown(&self) {}
}

#[cfg(feature = "local")]
impl Deployments {
    fn built_in(&mut self, config: &Config, clock: &Arc<dyn Clock>, into: &mut Vec<Deployment>) -> Result<(), String> {
        use tidewire_backends::local;
        if !config.built_in.enabled {
            return Ok(());
        }
        let fetched = crate::config::cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
        let source = match &config.built_in.weights {
            Some(weights) => weights.clone(),
            None if fetched.exists() => fetched,
            None => {
                tracing::warn!("the built-in model's weights are not here: `make model` fetches them");
                return Ok(());
            }
        };
        let weights = local::prepare(&source).map_err(|error| format!("the built-in model: {error}"))?;
        let mut settings = local::Config::smollm2(weights);
        if config.built_in.threads > 0 {
            settings.threads = config.built_in.threads;
        }
        settings.parallel = config.built_in.parallel;
        settings.context_tokens = config.built_in.context_tokens;
        let name: Arc<str> = settings.name.as_str().into();
        let slots = settings.parallel as usize;
        let backend = self.start(settings, clock)?;
        self.add(&name, backend, slots);
        let takes = Takes::One { name: name.clone(), model: name.clone() };
        into.push(Deployment { capability: name, takes, built_in: true, has: Vec::new() });
        Ok(())
    }

    fn local(
        &mut self,
        config: &Config,
        deployment: &DeploymentConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Backend>, usize), String> {
        use tidewire_backends::local;
        let model = deployment.model.clone().unwrap_or_else(|| deployment.name.clone());
        let mut settings = local::Config::new(model, deployment.weights.clone().unwrap_or_default());
        settings.threads = deployment.threads.unwrap_or(settings.threads);
        settings.context_tokens = deployment.context_tokens.unwrap_or(config.built_in.context_tokens);
        settings.parallel = deployment.slots.and_then(|slots| u32::try_from(slots).ok()).unwrap_or(settings.parallel);
        let slots = settings.parallel as usize;
        Ok((self.start(settings, clock)?, slots))
    }

    fn start(
        &mut self,
        settings: tidewire_backends::local::Config,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Backend>, String> {
        use tidewire_backends::local;
        let name = settings.name.clone();
        let engine = local::Engine::start(settings).map_err(|error| format!("the model `{name}`: {error}"))?;
        let backend = Arc::new(local::Local::new(vec![engine], clock.clone()));
        self.local.push(backend.clone());
        Ok(backend)
    }

    /// Ends what backends run of their own.
    pub(crate) fn shutdown(&self) {
        for local in &self.local {
            local.shutdown();
        }
    }
}

/// An upstream that is given by its URL alone.
fn upstream(url: &str) -> Result<OpenAi, String> {
    OpenAi::new(url, variable("OPENAI_API_KEY").as_deref()).map_err(|error| format!("the upstream {url}: {error}"))
}

/// The models of an upstream.
pub(crate) async fn models_of(url: &str) -> Result<Vec<Model>, String> {
    upstream(url)?.models().await.map_err(|error| error.to_string())
}

/// Upstreams, and the catalog that hears of their models.
pub(crate) fn upstreams_for(deployments: &Deployments) -> Vec<(Arc<str>, Arc<dyn Backend>)> {
    let backend = |capability: &Arc<str>| Some((capability.clone(), deployments.backends.get(capability)?.clone()));
    deployments.listing.iter().filter_map(backend).collect()
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
