//! Where an upstream takes what: most by one path each, older Azure by a path for each of its deployments.

use crate::upstream::{BadSettings, Upstream, invalid};
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use tidewire_core::port::BackendError;

/// What a path's segment may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The paths of one upstream.
#[derive(Debug)]
pub(super) struct Places {
    chat: Place,
    embeddings: Place,
    pub(super) models: Uri,
}

#[derive(Debug)]
enum Place {
    Fixed(Uri),
    /// Below the path of the deployment that is named as the model.
    OfDeployment {
        path: &'static str,
        query: String,
    },
}

impl Places {
    /// Below the base, as at OpenAI.
    pub(super) fn fixed(upstream: &Upstream, query: &str) -> Result<Self, BadSettings> {
        let at = |path| upstream.at(path, query);
        Ok(Self {
            chat: Place::Fixed(at("/chat/completions")?),
            embeddings: Place::Fixed(at("/embeddings")?),
            models: at("/models")?,
        })
    }

    /// Below each deployment, as at Azure before its `v1`.
    pub(super) fn of_deployments(upstream: &Upstream, query: &str) -> Result<Self, BadSettings> {
        let place = |path| Place::OfDeployment { path, query: query.to_owned() };
        Ok(Self {
            chat: place("/chat/completions"),
            embeddings: place("/embeddings"),
            models: upstream.at("/models", query)?,
        })
    }

    pub(super) fn chat(&self, upstream: &Upstream, model: &str) -> Result<Cow<'_, Uri>, BackendError> {
        self.chat.uri(upstream, model)
    }

    pub(super) fn embeddings(&self, upstream: &Upstream, model: &str) -> Result<Cow<'_, Uri>, BackendError> {
        self.embeddings.uri(upstream, model)
    }
}

impl Place {
    fn uri(&self, upstream: &Upstream, model: &str) -> Result<Cow<'_, Uri>, BackendError> {
        match self {
            Self::Fixed(uri) => Ok(Cow::Borrowed(uri)),
            Self::OfDeployment { path, query } => {
                if matches!(model, "" | "." | "..") {
                    return Err(invalid("the model's name is none that a URL can carry"));
                }
                let whole = format!("/deployments/{}{path}", utf8_percent_encode(model, SEGMENT));
                let uri = upstream.at(&whole, query);
                uri.map(Cow::Owned).map_err(|_| invalid("the model's name is none that a URL can carry"))
            }
        }
    }
}
