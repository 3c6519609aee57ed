//! A sign-in provider that speaks the protocol over loopback HTTP, checks what a real one checks, and can be told to lie.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The server's name at the provider.
pub const CLIENT: &str = "tidewire: the server";
/// Where the provider sends browsers back to. Tests take the path, and ask the server under its own address.
pub const REDIRECT: &str = "http://127.0.0.1:9/v1/session/oidc/callback";

/// The server's settings for it.
pub fn section(issuer: &str, secret: &str) -> String {
    format!(
        "[oidc]\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\n{secret}\nredirect_url = \"{REDIRECT}\"\n\
         algorithm = \"ES256\"\nleeway_s = 0\nroles = {{ eyes = \"read-only\", admins = \"admin\" }}\n"
    )
}

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Well,
    WithAnotherKey,
    WithoutAnyKey,
    /// HS256, with the public key as the secret.
    WithThePublicKey,
    /// Well, and names a key that is not there.
    ByAnUnknownName,
}

/// What the provider does other than an honest one.
pub struct Acts {
    /// Claims in the place of its own; null leaves one out.
    pub claims: Value,
    pub signed: Signed,
    /// Entries of the discovery document in the place of its own.
    pub discovery: Value,
    /// What the token endpoint answers, whatever it is asked.
    pub token: Option<(u16, String)>,
    /// What lies where the keys should.
    pub keys: Option<String>,
    /// Who comes to it.
    pub groups: Value,
    /// Its refusals repeat what it was sent.
    pub tells_the_secret: bool,
}

impl Default for Acts {
    fn default() -> Self {
        Self {
            claims: json!({}),
            signed: Signed::Well,
            discovery: json!({}),
            token: None,
            keys: None,
            groups: json!(["everybody", "eyes"]),
            tells_the_secret: false,
        }
    }
}

struct Grant {
    challenge: String,
    nonce: String,
    redirect: String,
}

struct Held {
    issuer: String,
    secret: String,
    key: EcdsaKeyPair,
    other: EcdsaKeyPair,
    grants: Mutex<HashMap<String, Grant>>,
    acts: Mutex<Acts>,
    codes: AtomicUsize,
    asked: AtomicUsize,
}

/// A running provider.
pub struct Provider {
    pub issuer: String,
    held: Arc<Held>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ES256, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ES256, document.as_ref(), &random).unwrap()
}

impl Provider {
    /// One at which the server has this secret.
    pub async fn start(secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::new(Held {
            issuer: issuer.clone(),
            secret: secret.to_owned(),
            key: key(),
            other: key(),
            grants: Mutex::default(),
            acts: Mutex::default(),
            codes: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .with_state(held.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, held, task }
    }

    /// Changes what it does.
    pub fn act(&self, change: impl FnOnce(&mut Acts)) {
        change(&mut self.held.acts.lock().unwrap());
    }

    /// It is honest again.
    pub fn be_honest(&self) {
        self.act(|acts| *acts = Acts::default());
    }

    /// How often its token endpoint was asked.
    pub fn asked(&self) -> usize {
        self.held.asked.load(Ordering::SeqCst)
    }

    /// A person signs in at the page that this URL is of: the path and query that the browser is sent back to.
    pub async fn sign_in(&self, location: &str) -> String {
        let path = location.strip_prefix(&self.issuer).expect("the provider's own page");
        let address = self.issuer.trim_start_matches("http://");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let (status, head, body) = super::exchange(address, &request).await.unwrap();
        assert_eq!(status, 303, "{body}");
        let back = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
        back.strip_prefix("http://127.0.0.1:9").expect("the callback").to_owned()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn fields(form: &str) -> HashMap<String, String> {
    form.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn patch(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

async fn discovery(State(held): State<Arc<Held>>) -> Json<Value> {
    let issuer = &held.issuer;
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "authorization_response_iss_parameter_supported": true,
    });
    Json(patch(document, &held.acts.lock().unwrap().discovery))
}

async fn keys(State(held): State<Arc<Held>>) -> Response {
    if let Some(text) = held.acts.lock().unwrap().keys.clone() {
        return text.into_response();
    }
    let point = held.key.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let key = json!({ "kty": "EC", "crv": "P-256", "kid": "now", "use": "sig", "alg": "ES256", "x": x, "y": y });
    Json(json!({ "keys": [key] })).into_response()
}

async fn authorize(State(held): State<Arc<Held>>, RawQuery(query): RawQuery) -> Response {
    let asked = fields(&query.unwrap());
    let is = |name: &str, wanted: &str| asked.get(name).is_some_and(|value| value == wanted);
    let fits = is("response_type", "code")
        && is("client_id", CLIENT)
        && is("redirect_uri", REDIRECT)
        && is("code_challenge_method", "S256")
        && asked["scope"].split(' ').any(|scope| scope == "openid");
    if !fits || asked["state"].len() < 32 || asked["nonce"].len() < 32 {
        return (StatusCode::BAD_REQUEST, format!("{asked:?}")).into_response();
    }
    let code = format!("code-{}", held.codes.fetch_add(1, Ordering::SeqCst));
    let grant = Grant {
        challenge: asked["code_challenge"].clone(),
        nonce: asked["nonce"].clone(),
        redirect: asked["redirect_uri"].clone(),
    };
    held.grants.lock().unwrap().insert(code.clone(), grant);
    let back = format!("{REDIRECT}?code={code}&state={}&iss={}", asked["state"], held.issuer);
    (StatusCode::SEE_OTHER, [(header::LOCATION, back)]).into_response()
}

async fn token(State(held): State<Arc<Held>>, headers: HeaderMap, body: Bytes) -> Response {
    held.asked.fetch_add(1, Ordering::SeqCst);
    let refuse = |status: u16, error: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        (status, Json(json!({ "error": error }))).into_response()
    };
    let acts = held.acts.lock().unwrap();
    if let Some((status, text)) = &acts.token {
        return (StatusCode::from_u16(*status).unwrap(), text.clone()).into_response();
    }
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let shown = shown.map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()).unwrap_or_default();
    let (client, secret) = shown.split_once(':').unwrap_or_default();
    if decoded(client) != CLIENT || decoded(secret) != held.secret {
        return refuse(401, "invalid_client");
    }
    if acts.tells_the_secret {
        return refuse(400, &format!("no {} by {}", decoded(secret), String::from_utf8_lossy(&body)));
    }
    let asked = fields(std::str::from_utf8(&body).unwrap());
    // A code is used up by any use.
    let Some(grant) = held.grants.lock().unwrap().remove(&asked["code"]) else { return refuse(400, "invalid_grant") };
    let proof = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, asked["code_verifier"].as_bytes()));
    let fits = asked["grant_type"] == "authorization_code" && asked["redirect_uri"] == grant.redirect;
    if !fits || proof != grant.challenge || asked["code_verifier"].len() < 43 {
        return refuse(400, "invalid_grant");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": held.issuer, "aud": CLIENT, "sub": "248289761001", "email": "ann@example.com", "nonce": grant.nonce,
        "iat": now, "exp": now + 300, "groups": acts.groups,
    });
    let token = held.signed(&patch(claims, &acts.claims), acts.signed);
    Json(json!({ "access_token": "unused", "token_type": "Bearer", "id_token": token })).into_response()
}

impl Held {
    fn signed(&self, claims: &Value, how: Signed) -> String {
        let header = match how {
            Signed::Well | Signed::WithAnotherKey => json!({ "alg": "ES256", "kid": "now" }),
            Signed::ByAnUnknownName => json!({ "alg": "ES256", "kid": "then" }),
            Signed::WithoutAnyKey => json!({ "alg": "none" }),
            Signed::WithThePublicKey => json!({ "alg": "HS256", "kid": "now" }),
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let by = |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec();
        let signature = match how {
            Signed::Well | Signed::ByAnUnknownName => by(&self.key),
            Signed::WithAnotherKey => by(&self.other),
            Signed::WithoutAnyKey => Vec::new(),
            Signed::WithThePublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
                hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
