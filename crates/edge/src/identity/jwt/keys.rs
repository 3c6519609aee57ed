//! What tokens are checked with: a secret, a public key, or a set of keys that is fetched again from time to time.

use super::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tidewire_core::port::Clock;

/// How often a set of keys is fetched.
const FRESH: Duration = Duration::from_mins(5);

/// How soon it is fetched again where a token names a key that is not in it, or the fetch failed: a stranger who makes
/// names up must not make this server flood the issuer.
const AGAIN: Duration = Duration::from_secs(30);

/// How long the issuer may take to answer.
pub(in crate::identity) const PATIENCE: Duration = Duration::from_secs(10);

/// The largest set of keys: ten have some 20 KiB.
const MAX_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set that are looked at.
const MAX_KEYS: usize = 64;

/// What an issuer answers, once it does.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send>>;

/// Asks an issuer. The server has an HTTP client, the edge has none.
pub trait Fetch: Send + Sync {
    /// The body of a successful answer, where it has at most so many bytes.
    fn get(&self, url: &str, most_bytes: usize) -> Fetching;

    /// The same of a form that is posted.
    fn post(&self, url: &str, form: Form, most_bytes: usize) -> Fetching;
}

/// What is posted to a token endpoint. It holds secrets, so it can't be printed.
pub struct Form {
    /// As `application/x-www-form-urlencoded`.
    pub body: String,
    /// The header `Authorization`, where there is one.
    pub authorization: Option<String>,
}

/// Why nothing was got. Nothing that was sent is in it, and nothing that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// There was an answer, with a status that is none of success.
    Status(u16),
    /// There was none, or one that can't be taken.
    Failed(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(to, "the answer has the status {status}"),
            Self::Failed(why) => to.write_str(why),
        }
    }
}

/// Where the keys come from.
pub enum Source {
    /// The secret of HS256.
    Secret(Vec<u8>),
    /// A public key as PEM.
    Pem(Vec<u8>),
    /// A set of public keys (RFC 7517).
    Set(Vec<u8>),
    /// A set that is fetched.
    Url {
        /// From where.
        url: String,
        /// By what.
        fetch: Arc<dyn Fetch>,
    },
}

impl Source {
    /// Whether there is a key in it that goes with the algorithm; what is wrong, if there is not.
    pub fn check(&self, algorithm: Algorithm) -> Result<(), String> {
        match self {
            Self::Url { .. } if algorithm == Algorithm::Hs256 => {
                Err("a secret is never fetched: HS256 takes one from a variable or a file".to_owned())
            }
            Self::Url { .. } => Ok(()),
            fixed => match read(algorithm, fixed) {
                Ok(keys) if keys.is_empty() => Err("there is no key in it that goes with the algorithm".to_owned()),
                Ok(_) => Ok(()),
                Err(reason) => Err(reason),
            },
        }
    }
}

type Named = Vec<(Option<String>, DecodingKey)>;

/// The keys that there are now.
pub(in crate::identity) struct Keys {
    algorithm: Algorithm,
    source: Source,
    held: RwLock<Named>,
    /// A token named one that is not there.
    missed: AtomicBool,
    /// When the set was last asked for, by the monotonic clock.
    asked: Mutex<Option<(Duration, bool)>>,
}

impl Keys {
    pub(super) fn new(algorithm: Algorithm, source: Source) -> Self {
        let held = match &source {
            Source::Url { .. } => Vec::new(),
            fixed => read(algorithm, fixed).unwrap_or_default(),
        };
        let (missed, asked) = (AtomicBool::new(false), Mutex::default());
        Self { algorithm, source, held: RwLock::new(held), missed, asked }
    }

    /// The key of this name. A single key needs no name; among several, one without a name is none.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<DecodingKey> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let named = matches!(self.source, Source::Set(_) | Source::Url { .. });
        let found = match kid.filter(|_| named) {
            Some(kid) => held.iter().find(|(name, _)| name.as_deref() == Some(kid)),
            None if held.len() == 1 => held.first(),
            None => None,
        };
        if found.is_none() {
            self.missed.store(true, Ordering::Relaxed);
        }
        found.map(|(_, key)| key.clone())
    }

    /// Goes on with the keys that were fetched from the same place, until they are fetched again.
    pub(super) fn inherit(&self, before: &Self) {
        if let (Source::Url { url, .. }, Source::Url { url: old, .. }) = (&self.source, &before.source)
            && url == old
            && self.algorithm == before.algorithm
        {
            let held = before.held.read().unwrap_or_else(PoisonError::into_inner).clone();
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        }
    }

    /// Whether there is none, not even an old one.
    pub(in crate::identity) fn is_empty(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Fetches the set anew, if it is time. `true` where it is another one now.
    pub(in crate::identity) async fn refresh(&self, clock: &dyn Clock) -> bool {
        let Source::Url { url, fetch } = &self.source else { return false };
        let now = clock.monotonic();
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match asked {
            None => true,
            Some((at, went_well)) => {
                let soon = !went_well || self.missed.load(Ordering::Relaxed);
                now.saturating_sub(at) >= if soon { AGAIN } else { FRESH }
            }
        };
        if !due {
            return false;
        }
        let got = tokio::select! {
            got = fetch.get(url, MAX_SET_BYTES) => got.map_err(|error| error.to_string()),
            () = clock.sleep(PATIENCE) => Err("no answer".to_owned()),
        };
        let keys = got.and_then(|bytes| set(self.algorithm, &bytes));
        self.missed.store(false, Ordering::Relaxed);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, keys.is_ok()));
        match keys {
            Ok(keys) => {
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = keys;
                true
            }
            Err(reason) => {
                tracing::warn!(url, reason, "the keys of tokens can't be fetched; those known go on");
                false
            }
        }
    }
}

fn read(algorithm: Algorithm, source: &Source) -> Result<Named, String> {
    let one = |key: jsonwebtoken::errors::Result<DecodingKey>| {
        key.map(|key| vec![(None, key)]).map_err(|error| format!("the key can't be read: {error}"))
    };
    match (source, algorithm) {
        (Source::Secret(secret), Algorithm::Hs256) => Ok(vec![(None, DecodingKey::from_secret(secret))]),
        (Source::Pem(pem), Algorithm::Rs256) => one(DecodingKey::from_rsa_pem(pem)),
        (Source::Pem(pem), Algorithm::Es256) => one(DecodingKey::from_ec_pem(pem)),
        (Source::Set(bytes), algorithm) => set(algorithm, bytes),
        _ => Err("a secret goes with HS256, a public key with RS256 and ES256".to_owned()),
    }
}

fn set(algorithm: Algorithm, bytes: &[u8]) -> Result<Named, String> {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| format!("it is no set of keys: {error}"))?;
    let fitting = set.keys.iter().take(MAX_KEYS).filter(|key| fits(algorithm, key));
    let named = fitting.filter_map(|key| Some((key.common.key_id.clone(), DecodingKey::from_jwk(key).ok()?)));
    Ok(named.collect())
}

/// Whether a key of a set is one for signatures by the algorithm. A shared secret is none: the set is public.
fn fits(algorithm: Algorithm, key: &Jwk) -> bool {
    let kind = match &key.algorithm {
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::Rs256,
        AlgorithmParameters::EllipticCurve(_) => algorithm == Algorithm::Es256,
        _ => false,
    };
    let use_fits = key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let named = key.common.key_algorithm.as_ref().map(ToString::to_string);
    kind && use_fits && named.is_none_or(|name| name == format!("{:?}", algorithm.of_library()))
}
