//! Keys that rotate, by a clock turned by hand and an issuer that counts how often it is asked.

use super::*;
use crate::identity::record;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use tidewire_testkit::clock::HandClock;

/// Serves a set of keys, or fails.
#[derive(Default)]
struct Issuer {
    set: Mutex<Option<Vec<u8>>>,
    asked: Mutex<usize>,
}

impl Issuer {
    fn serves(&self, keys: &[(&str, &EcdsaKeyPair)]) {
        let keys: Vec<_> = keys.iter().map(|(kid, key)| jwk(kid, key)).collect();
        *self.set.lock().unwrap() = Some(json!({ "keys": keys }).to_string().into_bytes());
    }

    fn fails(&self) {
        *self.set.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Fetch for Issuer {
    fn get(&self, _: &str, _: usize) -> Fetching {
        *self.asked.lock().unwrap() += 1;
        let set = self.set.lock().unwrap().clone();
        Box::pin(std::future::ready(set.ok_or(FetchError::Status(503))))
    }

    fn post(&self, _: &str, _: Form, _: usize) -> Fetching {
        Box::pin(std::future::ready(Err(FetchError::Status(405))))
    }
}

fn key() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
}

fn jwk(kid: &str, key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y })
}

struct World {
    clock: HandClock,
    issuer: Arc<Issuer>,
    verifier: Verifier,
    table: Table,
}

impl World {
    fn new() -> Self {
        let issuer = Arc::new(Issuer::default());
        let claims = Claims {
            tenant_claim: None,
            tenant: "default".to_owned(),
            user_claim: "sub".to_owned(),
            scopes_claim: "scope".to_owned(),
            scopes: Scopes::of(&[Scope::TasksRead]),
            routes_claim: "routes".to_owned(),
        };
        let tokens = Tokens {
            algorithm: Algorithm::Es256,
            source: Source::Url { url: "https://issuer.example/keys".to_owned(), fetch: issuer.clone() },
            issuer: "https://issuer.example".to_owned(),
            audience: "tidewire".to_owned(),
            leeway: Duration::ZERO,
            claims,
        };
        let verifier = Verifier::new(tokens, None);
        let tenants = vec![("default".to_owned(), record::Tenant::default_one())];
        let table = Table::new(0, tenants, Vec::new(), &Table::default());
        Self { clock: HandClock::new(1), issuer, verifier, table }
    }

    /// A token that is good for a day.
    fn token(&self, kid: &str, key: &EcdsaKeyPair) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let exp = self.clock.now().plus(Duration::from_hours(24)).as_millis() / 1000;
        let claims = json!({ "iss": "https://issuer.example", "aud": "tidewire", "sub": "ann", "exp": exp });
        let message = format!("{}.{}", part(json!({ "alg": "ES256", "kid": kid })), part(claims));
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn takes(&self, token: &str) -> bool {
        self.verifier.caller(token, &self.table, self.clock.now()).is_ok()
    }

    /// As [`Identity::keep`](crate::identity::Identity::keep) does it every two seconds, for so many seconds.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.verifier.refresh(&self.clock).await;
        }
    }
}

#[tokio::test]
async fn a_rotated_key_is_taken_once_its_set_is_fetched_again_and_the_old_one_is_no_more() {
    let (world, old, new) = (World::new(), key(), key());
    world.issuer.serves(&[("old", &old)]);
    world.verifier.refresh(&world.clock).await;
    let (by_old, by_new) = (world.token("old", &old), world.token("new", &new));
    assert!(world.takes(&by_old));
    assert!(!world.takes(&by_new), "its key is not known yet");

    world.issuer.serves(&[("new", &new)]);
    world.pass(29).await;
    assert_eq!(world.issuer.asked(), 1, "an unknown name does not make it ask sooner than after 30 s");
    assert!(!world.takes(&by_new));
    world.pass(1).await;
    assert_eq!(world.issuer.asked(), 2);
    assert!(world.takes(&by_new));
    assert!(!world.takes(&by_old), "also one whose signature was found good before");
    let forged = world.token("new", &old);
    assert!(!world.takes(&forged), "the old key under the new one's name");
}

#[tokio::test]
async fn names_that_nobody_has_make_it_ask_twice_a_minute_at_most_and_without_them_every_five_minutes() {
    let (world, held, other) = (World::new(), key(), key());
    world.issuer.serves(&[("held", &held)]);
    world.verifier.refresh(&world.clock).await;
    for second in 0..120 {
        for made_up in 0..10 {
            assert!(!world.takes(&world.token(&format!("{second}-{made_up}"), &other)));
        }
        world.pass(1).await;
    }
    assert_eq!(world.issuer.asked(), 1 + 4);
    assert!(world.takes(&world.token("held", &held)));
    world.pass(299).await;
    assert_eq!(world.issuer.asked(), 1 + 4, "nobody asked for another key meanwhile");
    world.pass(1).await;
    assert_eq!(world.issuer.asked(), 1 + 4 + 1);
}

#[tokio::test]
async fn an_issuer_that_is_away_takes_no_key_with_it_and_is_asked_again_after_30_s() {
    let (world, held, next) = (World::new(), key(), key());
    world.issuer.serves(&[("held", &held)]);
    world.verifier.refresh(&world.clock).await;
    world.issuer.fails();
    world.pass(300).await;
    assert_eq!(world.issuer.asked(), 2);
    assert!(world.takes(&world.token("held", &held)));
    world.issuer.serves(&[("held", &held), ("next", &next)]);
    world.pass(29).await;
    assert!(!world.takes(&world.token("next", &next)));
    world.pass(1).await;
    assert!(world.takes(&world.token("next", &next)) && world.takes(&world.token("held", &held)));
}
