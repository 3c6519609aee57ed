//! Upstreams: deployments that other servers answer for.

use crate::config::{BackendKind, DeploymentConfig, variable};
use std::sync::Arc;
use tidewire_backends::anthropic::{self, Anthropic};
use tidewire_backends::gemini::Gemini;
use tidewire_backends::openai::OpenAi;
use tidewire_backends::{BadSettings, Settings};
use tidewire_core::port::{Backend, Embedder};

/// One upstream, by its two faces.
pub(super) struct Upstream {
    pub(super) backend: Arc<dyn Backend>,
    /// None where its API has no vectors.
    pub(super) embedder: Option<Arc<dyn Embedder>>,
}

impl Upstream {
    /// `None` for a kind that answers in this process.
    pub(super) fn of(deployment: &DeploymentConfig) -> Result<Option<Self>, String> {
        let name = &deployment.name;
        let settings = || {
            Ok::<_, String>(Settings {
                url: deployment.url.clone().unwrap_or_default(),
                key: key(deployment)?,
                headers: deployment.headers.clone().into_iter().collect(),
            })
        };
        let bad = |error: BadSettings| format!("the deployment `{name}`: {error}");
        match deployment.backend {
            BackendKind::Openai => Ok(Some(Self::both(OpenAi::with(&settings()?).map_err(bad)?))),
            BackendKind::Azure => {
                let made = OpenAi::azure(&settings()?, deployment.api_version.as_deref());
                Ok(Some(Self::both(made.map_err(bad)?)))
            }
            BackendKind::Gemini => Ok(Some(Self::both(Gemini::new(&settings()?).map_err(bad)?))),
            BackendKind::Anthropic => {
                let options = anthropic::Options {
                    api_version: deployment.api_version.clone(),
                    max_tokens: deployment.max_tokens,
                };
                let made = Anthropic::new(&settings()?, options).map_err(bad)?;
                Ok(Some(Self { backend: Arc::new(made), embedder: None }))
            }
            BackendKind::Local | BackendKind::Scripted => Ok(None),
        }
    }

    fn both(made: impl Backend + Embedder + 'static) -> Self {
        let made = Arc::new(made);
        Self { backend: made.clone(), embedder: Some(made) }
    }
}

/// The key, from its variable or its file.
fn key(deployment: &DeploymentConfig) -> Result<Option<String>, String> {
    let name = &deployment.name;
    if let Some(key_env) = &deployment.key_env {
        let key = variable(key_env);
        return key
            .map(Some)
            .ok_or_else(|| format!("the deployment `{name}` wants its key in {key_env}, which is not set"));
    }
    let Some(path) = &deployment.key_file else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    let key = read.map_err(|error| {
        format!("the deployment `{name}` wants its key in {}, which can't be read: {error}", path.display())
    })?;
    if key.trim().is_empty() {
        return Err(format!("the deployment `{name}` wants its key in {}, which is empty", path.display()));
    }
    Ok(Some(key))
}
