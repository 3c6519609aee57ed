//! Models that run in this process. They are loaded at the start or when a deployment first names them, and stay until the end.

use super::words;
use crate::config::{Config, DeploymentConfig};
use std::sync::Arc;
use tidewire_core::catalog::Deployment;
use tidewire_core::port::{Backend, Clock};

#[cfg(not(feature = "local"))]
pub(super) struct Local;

#[cfg(not(feature = "local"))]
impl Local {
    // The same face as with the model built in.
    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn start(_: &Config, _: &Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self)
    }

    #[allow(clippy::unused_self)] // The same face as with the model built in.
    pub(super) fn built_in(&self) -> &[(Deployment, Arc<dyn Backend>)] {
        &[]
    }

    #[allow(clippy::unused_self)] // The same face as with the model built in.
    pub(super) fn embeds(&self, _: &str) -> bool {
        false
    }

    #[allow(clippy::unused_self)] // The same face as with the model built in.
    pub(super) fn deployment(
        &self,
        _: &Config,
        deployment: &DeploymentConfig,
        _: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Backend>, usize), String> {
        if let Some(embeds) = words::deployment(deployment) {
            return embeds;
        }
        Err(format!(
            "the deployment `{}` wants a GGUF file, and this program was built without that: build it with \
             `--features local`, or use `make run`",
            deployment.name
        ))
    }

    #[allow(clippy::unused_self)] // The same face as with the model built in.
    pub(super) fn shutdown(&self) {}
}

#[cfg(feature = "local")]
pub(super) struct Local {
    built_in: Vec<words::BuiltIn>,
    all: std::sync::Mutex<Vec<Arc<tidewire_backends::local::Local>>>,
}

#[cfg(feature = "local")]
impl Local {
    /// Loads the built-in model, where it is there and wanted; with it comes one that embeds.
    pub(super) fn start(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        use tidewire_backends::local;
        let mut models = Self { built_in: Vec::new(), all: std::sync::Mutex::default() };
        if !config.built_in.enabled {
            return Ok(models);
        }
        let fetched = crate::config::cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
        let source = match &config.built_in.weights {
            Some(weights) => weights.clone(),
            None if fetched.exists() => fetched,
            None => {
                tracing::warn!("the built-in model's weights are not here: `make model` fetches them");
                return Ok(models);
            }
        };
        let weights = local::prepare(&source).map_err(|error| format!("the built-in model: {error}"))?;
        let mut settings = local::Config::smollm2(weights);
        if config.built_in.threads > 0 {
            settings.threads = config.built_in.threads;
        }
        settings.parallel = config.built_in.parallel;
        settings.context_tokens = config.built_in.context_tokens;
        let record = Deployment {
            built_in: true,
            slots: settings.parallel as usize,
            context_tokens: Some(settings.context_tokens),
            price: Some(tidewire_core::Price::default()),
            ..Deployment::by_name(&settings.name)
        };
        let backend = models.load(settings, clock)?;
        models.built_in.push((record, backend));
        models.built_in.extend(words::built_in()?);
        Ok(models)
    }

    pub(super) fn built_in(&self) -> &[words::BuiltIn] {
        &self.built_in
    }

    /// Whether a deployment that needs no configuration is there and makes vectors.
    pub(super) fn embeds(&self, name: &str) -> bool {
        name == words::BUILT_IN && self.built_in.iter().any(|(record, _)| *record.name == *name)
    }

    /// Loads a deployment's model. Its backend, and how many requests it takes at once.
    pub(super) fn deployment(
        &self,
        config: &Config,
        deployment: &DeploymentConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Backend>, usize), String> {
        use tidewire_backends::local;
        if let Some(embeds) = words::deployment(deployment) {
            return embeds;
        }
        let model = deployment.model.clone().unwrap_or_else(|| deployment.name.clone());
        let mut settings = local::Config::new(model, deployment.weights.clone().unwrap_or_default());
        settings.threads = deployment.threads.unwrap_or(settings.threads);
        settings.context_tokens = deployment.context_tokens.unwrap_or(config.built_in.context_tokens);
        settings.parallel = deployment.slots.and_then(|slots| u32::try_from(slots).ok()).unwrap_or(settings.parallel);
        let slots = settings.parallel as usize;
        Ok((self.load(settings, clock)?, slots))
    }

    fn load(
        &self,
        settings: tidewire_backends::local::Config,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Backend>, String> {
        use tidewire_backends::local;
        let name = settings.name.clone();
        let engine = local::Engine::start(settings).map_err(|error| format!("the model `{name}`: {error}"))?;
        let backend = Arc::new(local::Local::new(vec![engine], clock.clone()));
        super::deployments::lock(&self.all).push(backend.clone());
        Ok(backend)
    }

    pub(super) fn shutdown(&self) {
        for local in super::deployments::lock(&self.all).iter() {
            local.shutdown();
        }
    }
}
