//! Sign-in of operators at a provider (OIDC Core 1.0, the authorization code flow, with PKCE of RFC 7636).
//!
//! ```text
//!  browser ──begin──▶ here ──(state, nonce, challenge)──▶ provider: who is it?
//!  browser ◀────────────────(code, state)──────────────── provider
//!  browser ──finish─▶ here ──(code, verifier, client secret)──▶ provider ──ID token──▶ role ──▶ session
//! ```
//!
//! What is believed comes from the provider itself, over a connection that this server opens, or is signed by its keys.
//! What the browser brings back is believed only where this server sent that very browser on its way, once.

mod discovery;
mod pending;
mod person;
mod url;

pub(super) use pending::Pending;
pub use url::is_trusted as is_trusted_url;

use super::caller::Caller;
use super::jwt::{Algorithm, Fault, Fetch, FetchError, Form};
use super::scope::Role;
use super::{Identity, Opened, no_store};
use crate::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use discovery::{Discovered, Discovery, until_late};
use pending::{Begun, SignIn};
use person::Terms;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Clock;
use tidewire_proto::Code;
use tokio::sync::Semaphore;

/// How long a person may be with the provider: a password, a second factor, a phone that lies elsewhere.
pub(crate) const SIGN_IN_LIFE: Duration = Duration::from_mins(10);

/// Where the provider sends people back to, below whatever a proxy puts before it.
pub const CALLBACK: &str = "/v1/session/oidc/callback";

/// Codes that are being exchanged at once. Each holds a connection to the provider for up to 10 s; more people than that
/// do not sign in within such a time, but a stranger could make this server flood the provider.
const MAX_EXCHANGES: usize = 32;

/// The largest answer of a token endpoint: ID tokens with hundreds of groups have some 20 KiB.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// The longest code that is passed on: those in use have less than 2 KiB.
const MAX_CODE_BYTES: usize = 4096;

/// What an operator sets. It holds a secret, so it can't be printed.
pub struct Oidc {
    /// Exactly as the provider writes it.
    pub issuer: String,
    /// The name that this server has at the provider.
    pub client_id: String,
    /// Its secret there; none for a public client, which PKCE alone protects.
    pub client_secret: Option<String>,
    /// This server's [`CALLBACK`], as browsers reach it and as the provider knows it.
    pub redirect_url: String,
    /// What the provider is asked for; `openid` among it.
    pub scopes: Vec<String>,
    /// How ID tokens are signed: never by a shared secret.
    pub algorithm: Algorithm,
    /// How far the provider's clock may be off.
    pub leeway: Duration,
    /// The tenant in which people work unless they say otherwise.
    pub tenant: String,
    /// The claim that names it, where each person has one of their own.
    pub tenant_claim: Option<String>,
    /// The claim that the audit log shows beside `sub`.
    pub name_claim: String,
    /// The claim that lists a person's groups: its name, or names with dots between for one within another.
    pub role_claim: String,
    /// Which group has which role.
    pub roles: BTreeMap<String, Role>,
    /// How the provider is asked.
    pub fetch: Arc<dyn Fetch>,
}

/// What a browser brings back from the provider.
#[derive(Default, Deserialize)]
pub(crate) struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// The provider, as this server knows it.
pub(super) struct Provider {
    client_id: String,
    client_secret: Option<String>,
    redirect_url: String,
    scopes: String,
    terms: Terms,
    fetch: Arc<dyn Fetch>,
    discovery: Discovery,
    exchanges: Semaphore,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// What is wrong is the provider's, or on the way to it: the same sign-in may work in a moment.
fn unavailable(what: &str) -> Refusal {
    Refusal::new(Code::ProviderUnavailable, format!("the sign-in provider {what}; try again in a moment"))
        .retry_after(discovery::AGAIN)
}

fn stale() -> Refusal {
    let message =
        "this sign-in was not begun in this browser, was used already, or is over 10 minutes old; sign in again";
    Refusal::new(Code::SignInStale, message)
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Code::SignInRefused, format!("the sign-in is refused: {why}"))
}

fn not_set() -> Refusal {
    Refusal::new(Code::NotFound, "there is no sign-in provider here; sign in with a key (`POST /v1/session`)")
}

impl Provider {
    pub(super) fn new(oidc: Oidc) -> Self {
        let terms = Terms {
            issuer: oidc.issuer,
            client_id: oidc.client_id.clone(),
            tenant: oidc.tenant,
            tenant_claim: oidc.tenant_claim,
            name_claim: oidc.name_claim,
            role_claim: oidc.role_claim,
            roles: oidc.roles,
        };
        Self {
            client_id: oidc.client_id,
            client_secret: oidc.client_secret,
            redirect_url: oidc.redirect_url,
            scopes: oidc.scopes.join(" "),
            discovery: Discovery::new(oidc.algorithm, oidc.leeway),
            terms,
            fetch: oidc.fetch,
            exchanges: Semaphore::new(MAX_EXCHANGES),
        }
    }

    /// Whether both let the same people in, as the same.
    pub(super) fn lets_in_whom(&self, other: &Self) -> bool {
        self.terms == other.terms
    }

    /// Where people go who named no place: the page, below the same prefix as the callback.
    fn home(&self) -> String {
        let path = url::path(&self.redirect_url);
        format!("{}/", path.strip_suffix(CALLBACK).unwrap_or_default())
    }

    async fn discovered(&self, clock: &dyn Clock) -> Result<Arc<Discovered>, Refusal> {
        let found = self.discovery.look(&self.terms.issuer, &self.client_id, &self.fetch, clock).await;
        found.map_err(|reason| {
            tracing::warn!(issuer = self.terms.issuer, reason, "the sign-in provider is of no use now");
            unavailable("does not answer, or not as the configuration says")
        })
    }

    /// The provider's page for a sign-in.
    fn authorize(&self, found: &Discovered, begun: &Begun) -> String {
        let challenge = ring::digest::digest(&ring::digest::SHA256, begun.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let parameters = url::form(&[
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_url),
            ("scope", &self.scopes),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let separator = if found.authorize.contains('?') { '&' } else { '?' };
        format!("{}{separator}{parameters}", found.authorize)
    }

    /// The ID token for a code.
    async fn exchange(
        &self,
        found: &Discovered,
        code: &str,
        verifier: &str,
        clock: &dyn Clock,
    ) -> Result<String, Refusal> {
        let busy = |_| Refusal::new(Code::Unavailable, "too many sign in at once").retry_after(discovery::AGAIN);
        let _permit = self.exchanges.try_acquire().map_err(busy)?;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_url),
            ("code_verifier", verifier),
        ];
        let mut authorization = None;
        match &self.client_secret {
            Some(secret) if found.takes_basic => {
                // Each is encoded as in a form first (RFC 6749, 2.3.1): a colon in one would else move the border.
                let pair = format!("{}:{}", url::encode(&self.client_id), url::encode(secret));
                authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => fields.extend([("client_id", self.client_id.as_str()), ("client_secret", secret)]),
            None => fields.push(("client_id", &self.client_id)),
        }
        let form = Form { body: url::form(&fields), authorization };
        let answer = until_late(self.fetch.post(&found.token, form, MAX_ANSWER_BYTES), clock).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(url = found.token, %error, "a sign-in's code was not exchanged");
            match error {
                FetchError::Status(400) => refused("the provider does not take its code"),
                FetchError::Status(_) => unavailable("refuses this server, or fails"),
                FetchError::Failed(_) => unavailable("does not answer"),
            }
        })?;
        let answer: Result<TokenAnswer, _> = serde_json::from_slice(&answer);
        // The error would show what was read.
        answer.map(|answer| answer.id_token).map_err(|_| unavailable("gives an answer without an ID token"))
    }

    /// What an ID token says of the person, where it is the provider's, for this server and for this sign-in.
    async fn claims(&self, found: &Discovered, token: &str, nonce: &str, clock: &dyn Clock) -> Result<Value, Refusal> {
        let known = found.check.knows_key_of(token);
        found.check.keys.refresh(clock).await;
        if !known && found.check.keys.is_empty() {
            return Err(unavailable("gives no keys to check its ID tokens with"));
        }
        let claims = found.check.claims(token, clock.now()).map_err(|fault| match fault {
            Fault::Refused(why) => refused(&format!("of the provider's ID token, {why}")),
            Fault::Expired => refused("the provider's ID token has expired"),
        })?;
        if claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
            return Err(refused("the provider's ID token is of another sign-in"));
        }
        // For several at once, it must say to which of them it was given (OpenID Connect Core 1.0, 3.1.3.7).
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        let party = claims.get("azp");
        if (several || party.is_some()) && party.and_then(Value::as_str) != Some(&self.client_id) {
            return Err(refused("the provider's ID token was given to somebody else"));
        }
        Ok(claims)
    }
}

/// Where a browser is sent, and what it holds until it comes back.
pub(crate) struct Away {
    pub(crate) location: String,
    pub(crate) cookie: String,
    /// People come back over TLS.
    pub(crate) over_tls: bool,
}

/// A person who came back and was let in.
pub(crate) struct Back {
    pub(crate) opened: Opened,
    pub(crate) return_to: String,
    pub(crate) over_tls: bool,
}

impl Identity {
    /// Sends a browser to the provider. `return_to`: where it goes afterwards, a path of this server.
    pub(crate) async fn begin_sign_in(&self, return_to: Option<&str>) -> Result<Away, Refusal> {
        let rules = self.rules();
        let (Some(provider), Some(clock)) = (&rules.oidc, &self.clock) else { return Err(not_set()) };
        let return_to = match return_to {
            Some(path) if url::is_local(path) => path.to_owned(),
            Some(_) => {
                let message = "`return_to` is a path of this server, such as `/`";
                return Err(Refusal::new(Code::InvalidRequest, message));
            }
            None => provider.home(),
        };
        let found = provider.discovered(&**clock).await?;
        let begun = self.pending.begin(return_to, &**clock);
        let location = provider.authorize(&found, &begun);
        Ok(Away { location, cookie: begun.cookie, over_tls: url::is_tls(&provider.redirect_url) })
    }

    /// Opens a session for whoever comes back with this, in the browser that holds this cookie.
    pub(crate) async fn finish_sign_in(&self, cookie: Option<&str>, answer: Answer) -> Result<Back, Refusal> {
        let rules = self.rules();
        let Some(provider) = &rules.oidc else { return Err(not_set()) };
        let Some(clock) = self.clock.as_deref() else { return Err(no_store()) };
        let state = answer.state.as_deref().unwrap_or_default();
        // Whatever becomes of it, it was this state's one use.
        let SignIn { nonce, verifier, return_to, .. } =
            self.pending.take(state, cookie.unwrap_or_default(), clock.now()).ok_or_else(stale)?;
        if let Some(error) = &answer.error {
            tracing::info!(error, "the provider ended a sign-in");
            return Err(refused(pending::told(error)));
        }
        let found = provider.discovered(clock).await?;
        // Who sends the answer says so (RFC 9207): one of another provider must not be taken to this one.
        let missing = found.names_itself && answer.iss.is_none();
        if missing || answer.iss.is_some_and(|iss| iss != provider.terms.issuer) {
            return Err(refused("the answer is another provider's"));
        }
        let fits = |code: &&str| (1..=MAX_CODE_BYTES).contains(&code.len());
        let code = answer.code.as_deref().filter(fits).ok_or_else(|| refused("the answer has no code"))?;
        let token = provider.exchange(&found, code, &verifier, clock).await?;
        let claims = provider.claims(&found, &token, &nonce, clock).await?;
        let caller: Caller = provider.terms.admit(&claims, &self.table())?;
        caller.check(clock.now())?;
        let opened = self.open_session(&caller, rules.session_life, clock)?;
        // A reload meanwhile may let other people in, and has ended only the sessions that it saw.
        if !self.rules().lets_in_whom(&rules) {
            self.sessions.take(&opened.session, clock.now());
            return Err(stale());
        }
        Ok(Back { opened, return_to, over_tls: url::is_tls(&provider.redirect_url) })
    }
}
