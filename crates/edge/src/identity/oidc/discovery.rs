//! What the provider says of itself (OIDC Discovery 1.0): fetched at the first sign-in, and from time to time.

use super::super::jwt::{Algorithm, Check, Expected, Fetch, FetchError, Fetching, PATIENCE, Source};
use super::url;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Clock;

/// How often it is fetched: providers move their endpoints with months of notice.
const FRESH: Duration = Duration::from_hours(1);

/// How soon it is asked again after it failed: strangers can begin sign-ins, and must not make this server flood it.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// The largest document: those of the large providers have some 10 KiB.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A provider that can be asked.
pub(super) struct Discovered {
    /// Where people say who they are.
    pub(super) authorize: String,
    /// Where codes are exchanged.
    pub(super) token: String,
    /// Whether it takes this server's secret in a header; else in the form.
    pub(super) takes_basic: bool,
    /// Whether its answers name it.
    pub(super) names_itself: bool,
    /// Checks its ID tokens.
    pub(super) check: Check,
}

struct Looked {
    at: Duration,
    went_well: bool,
    found: Option<Arc<Discovered>>,
}

/// What is known of the provider.
pub(super) struct Discovery {
    algorithm: Algorithm,
    leeway: Duration,
    /// Held over the fetch: whoever comes meanwhile waits for the same answer.
    looked: tokio::sync::Mutex<Option<Looked>>,
}

impl Discovery {
    pub(super) fn new(algorithm: Algorithm, leeway: Duration) -> Self {
        Self { algorithm, leeway, looked: tokio::sync::Mutex::default() }
    }

    /// The provider as it was last seen, asked again where it is time; or why it is of no use.
    pub(super) async fn look(
        &self,
        issuer: &str,
        client_id: &str,
        fetch: &Arc<dyn Fetch>,
        clock: &dyn Clock,
    ) -> Result<Arc<Discovered>, String> {
        let mut looked = self.looked.lock().await;
        let now = clock.monotonic();
        let known = match &*looked {
            Some(last) if now.saturating_sub(last.at) < if last.went_well { FRESH } else { AGAIN } => {
                return last.found.clone().ok_or_else(|| "it failed a moment ago".to_owned());
            }
            Some(last) => last.found.clone(),
            None => None,
        };
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let fetched = until_late(fetch.get(&address, MAX_BYTES), clock).await;
        let fetched = fetched.map_err(|error| error.to_string());
        let read = fetched.and_then(|bytes| self.read(&bytes, issuer, client_id, fetch));
        let went_well = read.is_ok();
        // An old one serves, while there is no new one.
        let found = match (read, known) {
            (Ok(found), _) => Ok(Arc::new(found)),
            (Err(_), Some(known)) => Ok(known),
            (Err(reason), None) => Err(reason),
        };
        *looked = Some(Looked { at: clock.monotonic(), went_well, found: found.clone().ok() });
        found
    }

    fn read(&self, bytes: &[u8], issuer: &str, client_id: &str, fetch: &Arc<dyn Fetch>) -> Result<Discovered, String> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| format!("its /.well-known/openid-configuration can't be read: {error}"))?;
        // To the letter, as the specification wants it: else one provider's document could speak for another.
        if document.issuer != issuer {
            return Err(format!("it says to be `{}`, and `oidc.issuer` is `{issuer}`", document.issuer));
        }
        for address in [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri] {
            if !url::is_trusted(address) {
                return Err(format!("it names `{address}`, which is not https"));
            }
        }
        let expected = Expected {
            algorithm: self.algorithm,
            issuer: issuer.to_owned(),
            audience: client_id.to_owned(),
            leeway: self.leeway,
        };
        let methods = document.token_endpoint_auth_methods_supported;
        Ok(Discovered {
            check: Check::new(expected, Source::Url { url: document.jwks_uri, fetch: fetch.clone() }),
            authorize: document.authorization_endpoint,
            token: document.token_endpoint,
            // The default where it says nothing.
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

/// What a provider answers, where it does in time.
pub(super) async fn until_late(asking: Fetching, clock: &dyn Clock) -> Result<Vec<u8>, FetchError> {
    tokio::select! {
        answer = asking => answer,
        () = clock.sleep(PATIENCE) => Err(FetchError::Failed("no answer in time".to_owned())),
    }
}
