//! Operators sign in at a provider: who gets in and as what, and every way in that must be shut.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::keyed::{ADMIN, make_tenant, start, with_key};
use support::provider::{Provider, Signed, section};
use support::{Server, ask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SECRET: &str = "the server's own: secret";
const BEGIN: &str = "/v1/session/oidc";

/// A server with its provider.
struct World {
    server: Server,
    provider: Provider,
    files: [tempfile::TempDir; 2],
}

async fn world() -> World {
    let provider = Provider::start(SECRET).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let secret = format!("client_secret_file = \"{}\"", file.display());
    let (server, secrets) = start(&format!("session_minutes = 30\n{}", section(&provider.issuer, &secret)));
    World { server, provider, files: [secrets, dir] }
}

/// What a server answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// A browser, as far as cookies go.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn ask(&mut self, server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncookie: {}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            server.address(),
            cookies.join("; "),
            body.len(),
        );
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        tokio::time::timeout(support::PATIENCE, reading).await.expect("an answer in time").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        for cookie in head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")) {
            let (pair, rules) = cookie.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if rules.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&mut self, server: &Server, path: &str) -> Answer {
        self.ask(server, "GET", path, "", "").await
    }

    /// Begins, and signs in at the provider: the callback that it is sent to.
    async fn begin(&mut self, world: &World) -> String {
        let away = self.get(&world.server, BEGIN).await;
        assert_eq!(away.status, 303, "{away:?}");
        world.provider.sign_in(away.header("location").unwrap()).await
    }

    /// All of it.
    async fn sign_in(&mut self, world: &World) -> Answer {
        let back = self.begin(world).await;
        self.get(&world.server, &back).await
    }

    fn is_signed_in(&self) -> bool {
        self.cookies.contains_key("tidewire_session")
    }
}

/// Nobody got in, and it says why.
fn is_refused(answer: &Answer, browser: &Browser, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {answer:?}");
    assert!(!browser.is_signed_in() && !answer.head.contains("tidewire_session="), "{what}: a session");
    assert_eq!(answer.header("cache-control"), Some("private, no-store"), "{what}");
}

async fn reload(world: &World, change: impl Fn(String) -> String) -> Value {
    let file = world.server.dir.path().join("tidewire.toml");
    std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
    let (status, reloaded) = with_key(&world.server, ADMIN, "POST", "/v1/admin/reload", &Value::Null).await;
    assert_eq!(status, 200, "{reloaded}");
    reloaded
}

#[tokio::test]
async fn an_operator_signs_in_at_the_provider_and_has_the_role_of_their_group() {
    let world = world().await;
    let (server, mut browser) = (&world.server, Browser::default());
    let ways = browser.get(server, "/v1/session/ways").await.json();
    assert_eq!(ways, json!({ "needed": true, "ways": ["key", "oidc"] }));
    let away = browser.get(server, BEGIN).await;
    let cookie = away.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && cookie.contains("; Max-Age=600;"), "{cookie}");
    let state = away.header("location").unwrap().split("&state=").nth(1).unwrap().split('&').next().unwrap();
    assert!(!browser.cookies["tidewire_sign_in"].contains(state.trim_start_matches("st_")), "apart from the state");

    let back = browser.begin(&world).await;
    let answer = browser.get(server, &back).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains(r#"http-equiv="refresh" content="0;url=/""#), "{answer:?}");
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{answer:?}");
    let session = answer.head.lines().find(|line| line.contains("tidewire_session=")).unwrap();
    assert!(session.contains("; Max-Age=1800; HttpOnly; SameSite=Strict"), "{session}");
    assert!(!browser.cookies.contains_key("tidewire_sign_in"), "used up");
    let who = browser.get(server, "/v1/session").await.json();
    assert_eq!((&who["role"], &who["tenant"]), (&json!("read-only"), &json!("default")), "{who}");
    assert_eq!(who["name"], "ann@example.com (oidc:248289761001)", "{who}");
    assert!(who.get("key").is_none() && who["expires_at"].is_number(), "{who}");
    assert_eq!(browser.get(server, "/v1/admin/keys").await.status, 200, "who may see sees");
    let refused = browser.ask(server, "POST", "/v1/admin/keys", "", r#"{"name":"x"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "and changes nothing");

    world.provider.act(|acts| acts.groups = json!(["eyes", "admins"]));
    let mut admin = Browser::default();
    assert_eq!(admin.sign_in(&world).await.status, 200);
    let made = admin.ask(server, "POST", "/v1/admin/keys", "", r#"{"name":"x"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(admin.ask(server, "DELETE", "/v1/session", "", "").await.status, 204);
    assert!(!admin.is_signed_in());

    let (_, page) = with_key(server, ADMIN, "GET", "/v1/admin/audit", &Value::Null).await;
    let entries: Vec<(&Value, &Value)> =
        page["entries"].as_array().unwrap().iter().map(|entry| (&entry["action"], &entry["detail"])).collect();
    assert_eq!(entries[0], (&json!("signed in"), &json!("by OpenID Connect, as `read-only`")), "{page}");
    assert_eq!(entries[1], (&json!("signed in"), &json!("by OpenID Connect, as `admin`")), "{page}");
    assert_eq!(page["entries"][2]["who"], "ann@example.com (oidc:248289761001)", "{page}");
}

#[tokio::test]
async fn signing_out_ends_the_session_and_people_go_on_only_to_pages_of_this_server() {
    let world = world().await;
    let (server, mut browser) = (&world.server, Browser::default());
    let away = browser.get(server, &format!("{BEGIN}?return_to=/console%3Fa%3D1%26b%3D2")).await;
    let back = world.provider.sign_in(away.header("location").unwrap()).await;
    let answer = browser.get(server, &back).await;
    assert!(answer.body.contains(r#"content="0;url=/console?a=1&amp;b=2""#), "{answer:?}");
    let session = browser.cookies["tidewire_session"].clone();
    assert_eq!(browser.ask(server, "DELETE", "/v1/session", "", "").await.status, 204);
    let held = format!("cookie: tidewire_session={session}\r\n");
    assert_eq!(ask(server, "GET", "/v1/session", &held, "").await.0, 401, "also for one who kept the cookie");
    for foreign in ["//evil.example", "https://evil.example", "/%5Cevil.example", "%09//evil.example", ""] {
        let answer = Browser::default().get(server, &format!("{BEGIN}?return_to={foreign}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{foreign}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{foreign}");
    }
}

#[tokio::test]
async fn a_callback_that_this_browser_did_not_begin_or_used_already_is_refused() {
    let world = world().await;
    let (server, provider) = (&world.server, &world.provider);
    let mut victim = Browser::default();

    // Another browser follows the victim's link: without a cookie, and with one of its own.
    let back = victim.begin(&world).await;
    let mut other = Browser::default();
    is_refused(&other.get(server, &back).await, &other, 400, "sign_in_stale", "no cookie");
    is_refused(&victim.get(server, &back).await, &victim, 400, "sign_in_stale", "the one use is over");
    let (back, _) = (victim.begin(&world).await, other.begin(&world).await);
    is_refused(&other.get(server, &back).await, &other, 400, "sign_in_stale", "another browser's cookie");
    // A state that is none, and none at all.
    let (back, own) = (victim.begin(&world).await, victim.cookies.clone());
    let wrong = back.replace("state=st_", "state=st_0");
    is_refused(&victim.get(server, &wrong).await, &victim, 400, "sign_in_stale", "a wrong state");
    victim.cookies = own;
    let none = back.split("&state=").next().unwrap().to_owned();
    is_refused(&victim.get(server, &none).await, &victim, 400, "sign_in_stale", "no state");
    assert_eq!(provider.asked(), 0, "for none of these the provider was asked");

    // A stolen code, brought with a state of the thief's own: only whoever began it has the verifier.
    let stolen = victim.begin(&world).await;
    let mut thief = Browser::default();
    let own = thief.begin(&world).await;
    let code = |path: &str| path.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let mixed = own.replace(&code(&own), &code(&stolen));
    is_refused(&thief.get(server, &mixed).await, &thief, 401, "sign_in_refused", "another's code");
    assert_eq!(provider.asked(), 1);

    // What the provider says without a code, and what another one says.
    let back = victim.begin(&world).await;
    let denied = back.replace(&format!("code={}", code(&back)), "error=access_denied");
    is_refused(&victim.get(server, &denied).await, &victim, 401, "sign_in_refused", "the person said no");
    let back = victim.begin(&world).await;
    let nameless = back.split("&iss=").next().unwrap().to_owned();
    is_refused(&victim.get(server, &nameless).await, &victim, 401, "sign_in_refused", "nobody's answer");
    let back = victim.begin(&world).await.replace("&iss=http", "&iss=https");
    is_refused(&victim.get(server, &back).await, &victim, 401, "sign_in_refused", "another provider's answer");

    // And a callback that was used for good opens nothing again, even with the cookie of then.
    let back = victim.begin(&world).await;
    let then = victim.cookies.clone();
    assert_eq!(victim.get(server, &back).await.status, 200);
    let mut again = Browser { cookies: then };
    is_refused(&again.get(server, &back).await, &again, 400, "sign_in_stale", "a replay");
}

#[tokio::test]
async fn an_id_token_that_is_forged_stale_or_for_somebody_else_opens_no_session() {
    let world = world().await;
    let client = support::provider::CLIENT;
    let claims = [
        (json!({ "nonce": "no_0123456789abcdef" }), "another sign-in's nonce"),
        (json!({ "nonce": null }), "no nonce"),
        (json!({ "aud": "another" }), "another audience"),
        (json!({ "aud": null }), "no audience"),
        (json!({ "aud": [client, "another"] }), "several audiences, given to nobody"),
        (json!({ "aud": [client, "another"], "azp": "another" }), "several audiences, given to another"),
        (json!({ "azp": "another" }), "given to another"),
        (json!({ "iss": "https://evil.example" }), "another issuer"),
        (json!({ "iss": null }), "no issuer"),
        (json!({ "exp": 1_700_000_000 }), "expired"),
        (json!({ "exp": null }), "no expiry"),
        (json!({ "nbf": 4_000_000_000_u64 }), "not valid yet"),
    ];
    for (change, what) in claims {
        world.provider.act(|acts| acts.claims = change);
        let mut browser = Browser::default();
        is_refused(&browser.sign_in(&world).await, &browser, 401, "sign_in_refused", what);
    }
    world.provider.be_honest();
    for signed in [Signed::WithoutAnyKey, Signed::WithThePublicKey, Signed::WithAnotherKey, Signed::ByAnUnknownName] {
        world.provider.act(|acts| acts.signed = signed);
        let mut browser = Browser::default();
        is_refused(&browser.sign_in(&world).await, &browser, 401, "sign_in_refused", &format!("{signed:?}"));
    }
    world.provider.be_honest();
    world.provider.act(|acts| acts.claims = json!({ "aud": ["another", client], "azp": client }));
    assert_eq!(Browser::default().sign_in(&world).await.status, 200, "several audiences, given to this server");
}

#[tokio::test]
async fn whoever_has_no_role_here_is_told_so_on_a_page_or_as_json() {
    let world = world().await;
    for groups in [json!(["everybody"]), json!([]), json!(null), json!("admin"), json!({ "admins": 1 })] {
        world.provider.act(|acts| acts.groups = groups.clone());
        let mut browser = Browser::default();
        is_refused(&browser.sign_in(&world).await, &browser, 403, "forbidden", &groups.to_string());
    }
    let mut browser = Browser::default();
    let back = browser.begin(&world).await;
    let page = browser.ask(&world.server, "GET", &back, "accept: text/html,*/*;q=0.8\r\n", "").await;
    assert_eq!(page.status, 403);
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.body.contains("`groups`") && page.body.contains("<code>forbidden</code>"), "{page:?}");
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"), "{page:?}");
    assert!(!browser.is_signed_in());
}

#[tokio::test]
async fn a_provider_that_is_away_or_talks_nonsense_lets_nobody_in_and_the_answer_says_when_to_try_again() {
    let mut world = world().await;
    let tokens = [
        (500, String::new(), "a fault"),
        (401, r#"{"error":"invalid_client"}"#.to_owned(), "another secret"),
        (302, String::new(), "a redirect"),
        (200, "<html>".to_owned(), "no JSON"),
        (200, r#"{"access_token":"x"}"#.to_owned(), "no ID token"),
        (200, format!(r#"{{"id_token":"{}"}}"#, "x".repeat(200_000)), "far too much"),
    ];
    for (status, text, what) in tokens {
        world.provider.act(|acts| acts.token = Some((status, text)));
        let mut browser = Browser::default();
        let answer = browser.sign_in(&world).await;
        is_refused(&answer, &browser, 502, "provider_unavailable", what);
        assert!(answer.header("retry-after").is_some(), "{what}: {answer:?}");
    }
    world.provider.be_honest();
    // A reload forgets what is known of the provider, so that it is asked again.
    for text in ["nonsense", r#"{"keys":[]}"#] {
        reload(&world, |text| text).await;
        world.provider.act(|acts| acts.keys = Some(text.to_owned()));
        let mut browser = Browser::default();
        is_refused(&browser.sign_in(&world).await, &browser, 502, "provider_unavailable", text);
    }
    world.provider.be_honest();
    let slash = format!("{}/", world.provider.issuer);
    for (change, what) in [
        (json!({ "issuer": "https://evil.example" }), "it says to be another"),
        (json!({ "issuer": slash }), "to the letter"),
        (json!({ "token_endpoint": "http://evil.example/token" }), "the code would go out in the clear"),
        (json!({ "jwks_uri": null }), "no keys"),
    ] {
        reload(&world, |text| text).await;
        world.provider.act(|acts| acts.discovery = change);
        let mut browser = Browser::default();
        is_refused(&browser.get(&world.server, BEGIN).await, &browser, 502, "provider_unavailable", what);
        assert!(browser.cookies.is_empty(), "{what}: nothing was begun");
    }
    world.provider.be_honest();
    reload(&world, |text| text).await;
    let mut browser = Browser::default();
    let back = browser.begin(&world).await;
    let other = Provider::start(SECRET).await;
    // It goes away for good, between the two; its port is free, and nobody answers there.
    drop(std::mem::replace(&mut world.provider, other));
    is_refused(&browser.get(&world.server, &back).await, &browser, 502, "provider_unavailable", "it is away");
    assert_eq!(with_key(&world.server, ADMIN, "GET", "/v1/tasks", &Value::Null).await.0, 200, "keys work as before");
}

#[tokio::test]
async fn a_reload_changes_who_gets_in_and_ends_what_it_takes_away() {
    let world = world().await;
    let (server, mut browser) = (&world.server, Browser::default());
    assert_eq!(browser.sign_in(&world).await.status, 200);
    let reloaded = reload(&world, |text| text.replace("session_minutes = 30", "session_minutes = 5")).await;
    assert_eq!(reloaded, json!({ "changed": ["identity.session_minutes"], "needs_restart": [] }));
    assert_eq!(browser.get(server, "/v1/session").await.status, 200, "nothing was taken away");
    let answer = Browser::default().sign_in(&world).await;
    assert!(answer.head.contains("; Max-Age=300; HttpOnly; SameSite=Strict"), "{answer:?}");

    make_tenant(server, "acme").await;
    let in_acme = |text: String| text.replace("leeway_s = 0", "leeway_s = 0\ntenant = \"acme\"");
    let reloaded = reload(&world, in_acme).await;
    assert_eq!(reloaded["changed"], json!(["oidc.tenant"]));
    assert_eq!(browser.get(server, "/v1/session").await.status, 401, "who came by the old terms comes again");
    assert_eq!(browser.sign_in(&world).await.status, 200);
    assert_eq!(browser.get(server, "/v1/session").await.json()["tenant"], "acme");

    // Another first key: the old one opens nothing any more, nor does its session.
    let mut first = Browser::default();
    let sign_in = json!({ "key": ADMIN }).to_string();
    assert_eq!(first.ask(server, "POST", "/v1/session", "", &sign_in).await.status, 200);
    let key = "another-first-key-0123456789abcdef0123456789";
    std::fs::write(world.files[0].path().join("admin.key"), key).unwrap();
    reload(&world, |text| text).await;
    assert_eq!(first.get(server, "/v1/session").await.status, 401);
    assert_eq!(with_key(server, ADMIN, "GET", "/v1/tasks", &Value::Null).await.0, 401);
    assert_eq!(with_key(server, key, "GET", "/v1/tasks", &Value::Null).await.0, 200);
    assert_eq!(browser.get(server, "/v1/session").await.status, 200, "and nobody else's has ended");

    let file = server.dir.path().join("tidewire.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("roles = {", "roles = { all = \"king\",")).unwrap();
    let (status, refused) = with_key(server, key, "POST", "/v1/admin/reload", &Value::Null).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("invalid_request")), "{refused}");
    assert_eq!(browser.get(server, "/v1/session").await.status, 200, "a file that is wrong changes nothing");
    std::fs::write(&file, text.split("[oidc]").next().unwrap()).unwrap();
    assert_eq!(with_key(server, key, "POST", "/v1/admin/reload", &Value::Null).await.0, 200);
    assert_eq!(browser.get(server, "/v1/session").await.status, 401, "without a provider nobody comes from one");
    let answer = browser.get(server, BEGIN).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    assert_eq!(browser.get(server, "/v1/session/ways").await.json()["ways"], json!(["key"]));
}
