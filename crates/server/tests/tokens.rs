//! Tokens that somebody else signs: those that are taken, and every kind of forgery.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::keyed::{ADMIN, connect, make_tenant, next, short, start, with_key};
use support::{Server, ask};

const SECRET: &str = "a-secret-that-the-application-shares-with-the-server";

/// An RSA key that signs nothing but this test's tokens: PKCS 8.
const RSA: &str = include_str!("tokens/rsa.pk8.base64");
/// Its public half.
const RSA_PUBLIC: &str = include_str!("tokens/rsa.pub.pem");

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token: its header, its claims, and how it is signed.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn rsa() -> RsaKeyPair {
    let der: String = RSA.split_whitespace().collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap()
}

fn rs256(key: &RsaKeyPair) -> impl Fn(&[u8]) -> Vec<u8> {
    |message| {
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }
}

fn es256(key: &EcdsaKeyPair) -> impl Fn(&[u8]) -> Vec<u8> {
    |message| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn ec_key() -> EcdsaKeyPair {
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let random = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(algorithm, EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap().as_ref(), &random)
        .unwrap()
}

/// What an honest application says.
fn claims() -> Value {
    json!({ "iss": "https://issuer.example", "aud": "tidewire", "sub": "ann", "exp": now_s() + 600 })
}

#[allow(clippy::needless_pass_by_value)] // Reads better at the call: `with(json!(...))`.
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn section(algorithm: &str, further: &str) -> String {
    format!(
        "[jwt]\nalgorithm = \"{algorithm}\"\nissuer = \"https://issuer.example\"\naudience = \"tidewire\"\nleeway_s = 0\n\
         {further}\n"
    )
}

fn start_with(algorithm: &str, key: &[u8], further: &str) -> (Server, [tempfile::TempDir; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, key).unwrap();
    let key_file = format!("key_file = \"{}\"\n{further}", file.display());
    let (server, secrets) = start(&section(algorithm, &key_file));
    (server, [secrets, dir])
}

async fn status(server: &Server, token: &str) -> u16 {
    with_key(server, token, "GET", "/v1/tasks", &Value::Null).await.0
}

/// A forgery is refused over every kind of face, in its own shape.
async fn is_refused(server: &Server, token: &str, what: &str) {
    let (status, answer) = with_key(server, token, "GET", "/v1/tasks", &Value::Null).await;
    assert_eq!(status, 401, "{what}: {answer}");
    let code = answer["error"]["code"].as_str().unwrap();
    assert!(matches!(code, "unauthorized" | "key_expired"), "{what}: {answer}");
    let chat = json!({ "messages": [{ "role": "user", "content": "go" }] });
    let (status, answer) = with_key(server, token, "POST", "/v1/chat/completions", &chat).await;
    assert_eq!((status, &answer["error"]["type"]), (401, &json!("authentication_error")), "{what}: {answer}");
    assert!(!answer.to_string().contains(token), "{what}: the token is in the answer");
}

#[tokio::test]
async fn a_shared_secrets_tokens_are_taken_and_forgeries_are_not() {
    let (server, _dirs) = start_with("HS256", SECRET.as_bytes(), "tenant_claim = \"org\"\n");
    make_tenant(&server, "acme").await;
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let sign = hs256(SECRET.as_bytes());
    let org = |further: Value| {
        let mut claims = with(further);
        claims["org"] = json!("acme");
        claims
    };
    let good = token(&header, &org(json!({})), &sign);
    assert_eq!(status(&server, &good).await, 200);
    assert_eq!(status(&server, &good).await, 200, "the second time it is known");
    let several = token(&header, &org(json!({ "aud": ["other", "tidewire"] })), &sign);
    assert_eq!(status(&server, &several).await, 200);

    let none = |name: &str| token(&json!({ "alg": name }), &org(json!({})), |_| Vec::new());
    let huge = org(json!({ "padding": "x".repeat(9000) }));
    let forgeries = [
        (none("none"), "alg none"),
        (none("None"), "alg None"),
        (none("HS256"), "no signature"),
        (good.rsplit_once('.').unwrap().0.to_owned() + ".", "the signature taken off"),
        (good.rsplit_once('.').unwrap().0.to_owned(), "two parts"),
        (token(&header, &org(json!({})), hs256(b"another-secret-that-is-long-enough")), "another secret"),
        (token(&header, &org(json!({})), hs256(b"")), "an empty secret"),
        (token(&json!({ "alg": "HS512" }), &org(json!({})), &sign), "another algorithm"),
        (token(&json!({ "alg": "RS256" }), &org(json!({})), &sign), "an algorithm of another family"),
        (token(&header, &org(json!({ "aud": "another" })), &sign), "another audience"),
        (token(&header, &org(json!({ "aud": null })), &sign), "no audience"),
        (token(&header, &org(json!({ "iss": "https://evil.example" })), &sign), "another issuer"),
        (token(&header, &org(json!({ "iss": null })), &sign), "no issuer"),
        (token(&header, &org(json!({ "exp": now_s() - 60 })), &sign), "expired"),
        (token(&header, &org(json!({ "exp": null })), &sign), "no expiry"),
        (token(&header, &org(json!({ "exp": "never" })), &sign), "an expiry that is none"),
        (token(&header, &org(json!({ "nbf": now_s() + 600 })), &sign), "not valid yet"),
        (token(&header, &org(json!({ "nbf": "soon" })), &sign), "a beginning that is none"),
        (token(&header, &claims(), &sign), "no tenant"),
        (token(&header, &with(json!({ "org": "nobody" })), &sign), "an unknown tenant"),
        (token(&header, &org(json!({ "sub": "x".repeat(300) })), &sign), "a user's name that is too long"),
        (token(&header, &huge, &sign), "a huge token"),
        ("a.b.c".to_owned(), "nonsense"),
        ("..".to_owned(), "nothing"),
    ];
    for (forgery, what) in &forgeries {
        is_refused(&server, forgery, what).await;
    }

    // What a token may do is what it says, and never what an operator may.
    let limited = token(&header, &org(json!({ "scope": "openid tasks:read admin:write" })), &sign);
    assert_eq!(status(&server, &limited).await, 200);
    assert_eq!(with_key(&server, &limited, "POST", "/v1/tasks", &short()).await.0, 403);
    assert_eq!(with_key(&server, &limited, "GET", "/v1/admin/keys", &Value::Null).await.0, 403);
    let routed = token(&header, &org(json!({ "routes": ["other"] })), &sign);
    assert_eq!(with_key(&server, &routed, "POST", "/v1/tasks", &short()).await.0, 404);
    let (_, who) = with_key(&server, &good, "GET", "/v1/session", &Value::Null).await;
    assert_eq!((&who["tenant"], &who["user"]), (&json!("acme"), &json!("ann")), "{who}");
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret_and_a_set_of_keys_is_searched_by_name_alone() {
    let key = rsa();
    let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
    let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
    let octets = URL_SAFE_NO_PAD.encode(SECRET);
    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "first", "use": "sig", "alg": "RS256", "n": n, "e": e },
        { "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": n, "e": e },
        { "kty": "oct", "kid": "secret", "k": octets },
        { "kty": "RSA", "kid": "second", "n": n, "e": e },
    ]});
    let (server, _dirs) = start_with("RS256", set.to_string().as_bytes(), "");
    let sign = rs256(&key);
    let named = |kid: Value| token(&json!({ "alg": "RS256", "kid": kid }), &claims(), &sign);
    assert_eq!(status(&server, &named(json!("first"))).await, 200);
    assert_eq!(status(&server, &named(json!("second"))).await, 200);
    for kid in ["", "third", "for-encryption", "secret", "../../etc/passwd", "first' OR '1'='1", "FIRST"] {
        is_refused(&server, &named(json!(kid)), &format!("kid `{kid}`")).await;
    }
    is_refused(&server, &named(json!(7)), "a number for a name").await;
    is_refused(&server, &token(&json!({ "alg": "RS256" }), &claims(), &sign), "no name among several").await;
    let brought = json!({ "alg": "RS256", "kid": "x", "jku": "http://evil.example/keys", "jwk": { "kty": "RSA", "n": n, "e": e } });
    is_refused(&server, &token(&brought, &claims(), &sign), "a token that brings its key along").await;
    for secret in [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim().as_bytes(), n.as_bytes(), SECRET.as_bytes()] {
        for kid in ["first", "secret"] {
            let confused = token(&json!({ "alg": "HS256", "kid": kid }), &claims(), hs256(secret));
            is_refused(&server, &confused, "the public key as a secret").await;
        }
    }
    let mut changed = named(json!("first"));
    let claims_at = changed.find('.').unwrap() + 5;
    let other = if &changed[claims_at..=claims_at] == "A" { "B" } else { "A" };
    changed.replace_range(claims_at..=claims_at, other);
    is_refused(&server, &changed, "claims that were changed").await;
}

#[tokio::test]
async fn keys_as_pem_serve_and_other_curves_and_other_keys_do_not() {
    let (server, _dirs) = start_with("RS256", RSA_PUBLIC.as_bytes(), "");
    let rsa = rsa();
    assert_eq!(status(&server, &token(&json!({ "alg": "RS256" }), &claims(), rs256(&rsa))).await, 200);
    let ec = ec_key();
    is_refused(&server, &token(&json!({ "alg": "ES256" }), &claims(), es256(&ec)), "another kind of key").await;

    // SubjectPublicKeyInfo of P-256 (RFC 5480): a fixed head, and the point.
    let head = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    let mut der = STANDARD.decode(head).unwrap();
    der.truncate(der.len() - 1);
    der.extend_from_slice(ec.public_key().as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    let (server, _dirs) = start_with("ES256", pem.as_bytes(), "");
    let header = json!({ "alg": "ES256" });
    assert_eq!(status(&server, &token(&header, &claims(), es256(&ec))).await, 200);
    is_refused(&server, &token(&header, &claims(), es256(&ec_key())), "another key of the curve").await;
    is_refused(&server, &token(&header, &claims(), |_| vec![0; 64]), "a signature of zeros").await;
    is_refused(&server, &token(&json!({ "alg": "HS256" }), &claims(), hs256(pem.as_bytes())), "HS256 with it").await;
    let digest = |message: &[u8]| digest::digest(&digest::SHA256, message).as_ref().to_vec();
    is_refused(&server, &token(&header, &claims(), digest), "a digest for a signature").await;
}

#[tokio::test]
async fn a_set_of_keys_is_fetched_and_an_open_socket_closes_when_its_token_expires() {
    let ec = ec_key();
    let point = ec.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "now", "x": x, "y": y }] });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/keys", axum::routing::get(async move || axum::Json(set.clone())));
    let issuer = tokio::spawn(async move { axum::serve(listener, router).await });
    let (server, _secrets) = start(&section("ES256", &format!("jwks_url = \"{url}\"")));
    let header = json!({ "alg": "ES256", "kid": "now" });
    // The set is fetched as the server starts, and may take its time.
    let good = token(&header, &claims(), es256(&ec));
    let fetched = async {
        while status(&server, &good).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, fetched).await.expect("the keys are fetched in time");
    let brief = token(&header, &with(json!({ "exp": now_s() + 3 })), es256(&ec));
    let mut socket = connect(&server, &brief).await;
    assert_eq!(next(&mut socket).await, Err((4502, "key_expired".to_owned())));
    let (status, answer) = with_key(&server, &brief, "GET", "/v1/tasks", &Value::Null).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("key_expired")));
    issuer.abort();
    // A key of ours opens as before.
    assert_eq!(ask(&server, "GET", "/v1/tasks", &format!("x-api-key: {ADMIN}\r\n"), "").await.0, 200);
}
