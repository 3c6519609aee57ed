//! Azure's form of OpenAI's API: its own header for the key, and two forms of URL.

use super::OpenAi;
use super::places::Places;
use crate::upstream::{Auth, BadSettings, Settings, Upstream};

impl OpenAi {
    /// A resource of Azure by its endpoint (`https://NAME.openai.azure.com`).
    ///
    /// A dated API version (`2024-10-21`) means the older form, in which models are the resource's deployments and
    /// have a path each: `/openai/deployments/MODEL/chat/completions?api-version=...`. Any other (`preview`) or none
    /// means `/openai/v1`, where the model is named in the body.
    ///
    /// What Azure adds to an answer (how it judged the content, in chunks without choices) says nothing that the
    /// answer does not, and is passed over.
    pub fn azure(settings: &Settings, api_version: Option<&str>) -> Result<Self, BadSettings> {
        let dated = api_version.is_some_and(|version| version.starts_with(|char: char| char.is_ascii_digit()));
        let endpoint = settings.url.trim_end_matches('/');
        // Azure's own pages show the endpoint with either of these.
        let endpoint = endpoint.strip_suffix("/v1").unwrap_or(endpoint);
        let endpoint = endpoint.strip_suffix("/openai").unwrap_or(endpoint);
        let url = format!("{endpoint}/openai{}", if dated { "" } else { "/v1" });
        let upstream = Upstream::new(&Settings { url, ..settings.clone() }, Auth::Header("api-key"), &[])?;
        let query = api_version.map(|version| format!("api-version={version}")).unwrap_or_default();
        let places = if dated { Places::of_deployments(&upstream, &query)? } else { Places::fixed(&upstream, &query)? };
        Ok(Self { upstream, places })
    }
}
