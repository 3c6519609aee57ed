//! Models that only embed, small enough for every build: tables of vectors.

use crate::config::DeploymentConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidewire_backends::wordllama::WordLlama;
use tidewire_core::port::Backend;
use tidewire_worker::embeddings::Embeds;

/// Requests at once. Each computes on the thread that runs it and waits for nothing: more at once end no sooner, fewer
/// would let threads idle while a task's beginning and end are written.
const SLOTS: usize = 64;

/// A backend, and how many requests it takes at once.
type Slotted = (Arc<dyn Backend>, usize);

/// The deployment that embeds without any configuration.
#[cfg(feature = "local")]
pub(super) const BUILT_IN: &str = crate::config::BUILT_IN[1];

/// A deployment that needs no configuration, and its backend.
#[cfg(feature = "local")]
pub(super) type BuiltIn = (tidewire_core::catalog::Deployment, Arc<dyn Backend>);

/// The one that comes with the built-in model, where it was fetched.
#[cfg(feature = "local")]
pub(super) fn built_in() -> Result<Option<BuiltIn>, String> {
    use crate::config;
    use tidewire_core::catalog::Deployment;
    let weights = config::cache().join(config::EMBEDDINGS);
    if !weights.exists() {
        tracing::warn!("the built-in model for embeddings is not here: `make model` fetches it");
        return Ok(None);
    }
    let name = BUILT_IN;
    let price = Some(tidewire_core::Price::default());
    let record = Deployment { slots: SLOTS, price, ..Deployment::by_name(name) };
    Ok(Some((record, backend(name, &weights)?)))
}

/// The weights of a deployment, where they are of this kind.
fn weights(deployment: &DeploymentConfig) -> Option<&PathBuf> {
    deployment.weights.as_ref().filter(|path| path.extension().is_some_and(|is| is == "safetensors"))
}

/// Whether a deployment is of this kind.
pub(super) fn embeds(deployment: &DeploymentConfig) -> bool {
    weights(deployment).is_some()
}

/// A deployment's, where its weights are of this kind.
pub(super) fn deployment(deployment: &DeploymentConfig) -> Option<Result<Slotted, String>> {
    let weights = weights(deployment)?;
    let model = deployment.model.as_ref().unwrap_or(&deployment.name);
    Some(backend(model, weights).map(|backend| (backend, SLOTS)))
}

fn backend(name: &str, weights: &Path) -> Result<Arc<dyn Backend>, String> {
    let model = WordLlama::new(name, weights).map_err(|error| format!("the model `{name}`: {error}"))?;
    let model = Arc::new(model);
    // No batcher before it: a call of many saves nothing here, and alone each caller's tokens are counted exactly.
    Ok(Arc::new(Embeds::new(model.clone(), model)))
}
