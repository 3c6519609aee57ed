//! Who may ask: keys from the configuration, how tokens are checked, where operators sign in.

mod oidc;

use crate::config::{self, Config};
use crate::fetch::HttpFetch;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidewire_edge::identity::{Algorithm, Claims, Scopes, Settings, Source, Tokens};

/// The variable that holds the first key of a new server.
const ADMIN_KEY: &str = "TIDEWIRE_ADMIN_KEY";

/// The variable that holds the secret of HS256.
const JWT_SECRET: &str = "TIDEWIRE_JWT_SECRET";

/// Shorter secrets can be guessed: 32 characters of hexadecimal are 128 bits.
const MIN_SECRET_BYTES: usize = 32;

/// A month: a browser that is signed in for longer is one that nobody remembers.
const MAX_SESSION_MINUTES: u64 = 30 * 24 * 60;

type Refused = Box<dyn std::error::Error>;

/// What the configuration says of identity. Where others can reach the server, a key is needed whatever it says.
pub(crate) fn settings(config: &Config) -> Result<Settings, Refused> {
    let admin_key = match (&config.identity.admin_key_file, config::variable(ADMIN_KEY)) {
        (Some(file), _) => Some(secret_in(file)?),
        (None, variable) => variable.map(|key| key.trim().to_owned()),
    };
    if let Some(key) = &admin_key {
        long_enough("the admin key", key)?;
    }
    let required = config.identity.required || !config.listen.ip().is_loopback();
    let session_life = session_life(config.identity.session_minutes)?;
    Ok(Settings { required, admin_key, session_life, tokens: tokens(config)?, oidc: oidc::provider(config)? })
}

/// What to do about a server that others can reach, and that knows nobody.
pub(crate) fn nobody(config: &Config) -> String {
    format!(
        "`listen = \"{}\"` lets others reach the server, and there is no key yet to keep strangers out. Either listen on \
         127.0.0.1, or give it a first key and start it again: {ADMIN_KEY}=$(openssl rand -hex 32); with it, `tidewire \
         keys create` makes further ones. Or set [oidc], to let operators sign in at a provider, or [jwt], if your application \
         signs tokens",
        config.listen
    )
}

fn session_life(minutes: u64) -> Result<Duration, Refused> {
    if (1..=MAX_SESSION_MINUTES).contains(&minutes) {
        return Ok(Duration::from_secs(minutes * 60));
    }
    Err(format!("`identity.session_minutes` is 1 to {MAX_SESSION_MINUTES}, not {minutes}").into())
}

fn long_enough(what: &str, secret: &str) -> Result<(), Refused> {
    if secret.len() >= MIN_SECRET_BYTES {
        return Ok(());
    }
    Err(format!(
        "{what} has {} characters; it needs {MIN_SECRET_BYTES}: `openssl rand -hex 32` makes one",
        secret.len()
    )
    .into())
}

fn secret_in(file: &Path) -> Result<String, Refused> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn tokens(config: &Config) -> Result<Option<Tokens>, Refused> {
    let jwt = &config.jwt;
    if jwt.algorithm.is_empty() {
        return Ok(None);
    }
    let algorithm = Algorithm::parse(&jwt.algorithm)
        .ok_or_else(|| format!("`jwt.algorithm` is HS256, RS256 or ES256, not `{}`", jwt.algorithm))?;
    if jwt.issuer.is_empty() || jwt.audience.is_empty() {
        return Err(
            "`jwt.issuer` and `jwt.audience` must be set: a token for another service must not open this one".into()
        );
    }
    let source = source(config, algorithm)?;
    source.check(algorithm).map_err(|reason| format!("[jwt]: {reason}"))?;
    let scopes = Scopes::parse(jwt.scopes.iter().map(String::as_str)).map_err(|unknown| {
        format!("`jwt.scopes`: `{unknown}` is no scope; there are {}", Scopes::ALL.names().join(", "))
    })?;
    Ok(Some(Tokens {
        algorithm,
        source,
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        leeway: Duration::from_secs(jwt.leeway_s),
        claims: Claims {
            tenant_claim: Some(jwt.tenant_claim.clone()).filter(|claim| !claim.is_empty()),
            tenant: jwt.tenant.clone(),
            user_claim: jwt.user_claim.clone(),
            scopes_claim: jwt.scopes_claim.clone(),
            scopes,
            routes_claim: jwt.routes_claim.clone(),
        },
    }))
}

fn source(config: &Config, algorithm: Algorithm) -> Result<Source, Refused> {
    let jwt = &config.jwt;
    if algorithm == Algorithm::Hs256 {
        let secret = match &jwt.key_file {
            Some(file) => secret_in(file)?,
            None => config::variable(JWT_SECRET)
                .ok_or_else(|| format!("HS256 needs a secret: set {JWT_SECRET}, or `jwt.key_file`"))?,
        };
        long_enough("the secret of HS256", &secret)?;
        return Ok(Source::Secret(secret.into_bytes()));
    }
    match (&jwt.key_file, jwt.jwks_url.as_str()) {
        (Some(_), url) if !url.is_empty() => Err("set one of `jwt.key_file` and `jwt.jwks_url`, not both".into()),
        (Some(file), _) => {
            let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let is_set = bytes.trim_ascii_start().first() == Some(&b'{');
            Ok(if is_set { Source::Set(bytes) } else { Source::Pem(bytes) })
        }
        (None, "") => Err(format!("{} needs a public key: set `jwt.key_file` or `jwt.jwks_url`", jwt.algorithm).into()),
        (None, url) => Ok(Source::Url { url: url.to_owned(), fetch: Arc::new(HttpFetch::new(&config.outgoing, url)?) }),
    }
}
