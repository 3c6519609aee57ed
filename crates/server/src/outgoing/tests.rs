//! What may be reached, and what is refused however it is named.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each question with the next of its answers.
struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

impl Scripted {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let answer = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(answer).collect())))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Lookup for Scripted {
    fn addresses(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let next = self.0.lock().unwrap().pop_front().expect("no further question");
        Box::pin(async move { Ok(next) })
    }
}

/// A server that answers each connection with this, and counts them.
async fn server(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
    #[allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = heard.send(());
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, hears, task)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

async fn get(outgoing: &Outgoing, url: &str) -> Result<u16, String> {
    let request = outgoing.request(http::Method::GET, url)?;
    let told = |error: reqwest::Error| {
        let mut all = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            all = format!("{all}: {error}");
            source = error.source();
        }
        all
    };
    request.send().await.map(|answer| answer.status().as_u16()).map_err(told)
}

#[test]
fn every_way_to_write_a_private_address_is_private() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "3fff::1",
        "fd00:ec2::254",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "8.8.8.8",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2001:4860::8888",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[tokio::test]
async fn an_address_in_the_place_of_a_name_is_refused_however_it_is_written() {
    let outgoing = Outgoing::new(&[], "https://issuer.example", Scripted::of(&[])).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "0",
    ] {
        let error = outgoing.request(http::Method::GET, &format!("http://{host}:1/")).unwrap_err();
        assert!(error.contains("which is not public"), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_and_nobody_is_called() {
    let (port, mut hears, task) = server(OK).await;
    let lookup = Scripted::of(&[&["127.0.0.1"], &["::ffff:127.0.0.1", "10.0.0.1"]]);
    let outgoing = Outgoing::new(&[], "https://issuer.example", lookup.clone()).unwrap();
    for _ in 0..2 {
        let error = get(&outgoing, &format!("http://issuer.example:{port}/")).await.unwrap_err();
        assert!(error.contains("which is not public"), "{error}");
    }
    assert!(lookup.left() == 0 && hears.try_recv().is_err());
    task.abort();
}

#[tokio::test]
async fn the_address_that_was_looked_at_is_the_one_that_is_called_and_a_second_one_is_looked_at_anew() {
    let (port, mut hears, task) = server(OK).await;
    // As a rebinding name does: an allowed address first, the metadata service next.
    let lookup = Scripted::of(&[&["10.255.255.1", "127.0.0.1"], &["169.254.169.254"]]);
    let outgoing = Outgoing::new(&["127.0.0.1/32".to_owned()], "https://issuer.example", lookup.clone()).unwrap();
    let url = format!("http://issuer.example:{port}/");
    assert_eq!(get(&outgoing, &url).await, Ok(200));
    assert_eq!((lookup.left(), hears.try_recv().is_ok()), (1, true), "one question, one call");
    let error = get(&outgoing, &url).await.unwrap_err();
    assert!(error.contains("169.254.169.254, which is not public"), "{error}");
    task.abort();
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (target, mut hears, aim) = server(OK).await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{target}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (port, _, task) = server(moved.leak()).await;
    // Even where the target itself could be called.
    let outgoing = Outgoing::new(&["127.0.0.0/8".to_owned()], "", Scripted::of(&[])).unwrap();
    assert_eq!(get(&outgoing, &format!("http://127.0.0.1:{port}/")).await, Ok(302));
    assert!(hears.try_recv().is_err());
    aim.abort();
    task.abort();
}

#[tokio::test]
async fn what_the_operator_has_named_is_meant_as_it_stands_and_nothing_beside_it() {
    let (port, _hears, task) = server(OK).await;
    let url = format!("http://127.0.0.1:{port}/keys");
    let outgoing = Outgoing::new(&[], &url, Scripted::of(&[])).unwrap();
    assert_eq!(get(&outgoing, &url).await, Ok(200));
    assert!(outgoing.request(http::Method::GET, "http://127.0.0.2/").is_err());
    let local = format!("http://localhost:{port}/");
    let outgoing = Outgoing::new(&[], &local, Scripted::of(&[&["127.0.0.1"], &["10.0.0.1"], &["127.0.0.1"]])).unwrap();
    assert_eq!(get(&outgoing, &local).await, Ok(200));
    assert!(get(&outgoing, &local).await.is_err(), "`localhost` is this machine and no other");
    assert!(get(&outgoing, &format!("http://other.example:{port}/")).await.is_err());
    task.abort();
}

#[test]
fn networks_are_read_and_hold_what_they_should() {
    let holds = |network: &str, address: &str| Network::parse(network).unwrap().holds(address.parse().unwrap());
    assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("0.0.0.0/0", "1.2.3.4") && holds("::/0", "::1") && !holds("::/0", "1.2.3.4"));
    assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
    assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
    for wrong in ["10.0.0.0/33", "10.0.0/8", "example.com", "::/129", ""] {
        assert!(Network::parse(wrong).is_none(), "{wrong}");
    }
}
