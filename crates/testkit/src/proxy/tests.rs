//! Each fault as the two ends of a connection see it.
#![allow(clippy::disallowed_methods, reason = "a test joins the tasks that it spawns, and reads the paused clock")]

use super::*;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Tells stuck from slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client and its target with a proxy between them.
struct Pair {
    client: TcpStream,
    target: TcpStream,
    proxy: Proxy,
}

async fn connected(plan: Plan) -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), move |_| plan).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (target, _) = listener.accept().await.unwrap();
    Pair { client, target, proxy }
}

/// All that comes until the end, and how the end was.
async fn read_all(from: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, from.read_to_end(&mut heard)).await.expect("it ends");
    (heard, end.map(drop))
}

#[tokio::test]
async fn without_a_fault_both_directions_pass_and_each_is_closed_by_its_own_end() {
    let mut pair = connected(Plan::default()).await;
    let long = vec![b'x'; 3 * 16 * 1024 + 1];
    pair.client.write_all(b"question").await.unwrap();
    pair.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut pair.target).await.0, b"question");
    let sent = async {
        pair.target.write_all(&long).await.unwrap();
        pair.target.shutdown().await.unwrap();
    };
    let ((), (heard, end)) = tokio::join!(sent, read_all(&mut pair.client));
    end.unwrap();
    assert_eq!(heard, long);
    assert_eq!(pair.proxy.counts(), Counts { connections: 1, ..Counts::default() });
    pair.proxy.shutdown().await;
}

#[tokio::test]
async fn a_cut_on_the_way_down_passes_so_many_bytes_and_closes_both_sides() {
    let mut pair = connected(Plan::down(Fault::cut_after(5))).await;
    pair.target.write_all(b"0123456789").await.unwrap();
    let (heard, end) = read_all(&mut pair.client).await;
    end.unwrap();
    assert_eq!(heard, b"01234");
    // What the target sent and nobody read may turn its end into a reset.
    assert_eq!(read_all(&mut pair.target).await.0, b"");
    assert_eq!(pair.proxy.counts().cuts, 1);
}

#[tokio::test]
async fn a_cut_on_the_way_up_passes_so_many_bytes_and_closes_both_sides() {
    let mut pair = connected(Plan::up(Fault::cut_after(3))).await;
    pair.client.write_all(b"abc").await.unwrap();
    let (heard, end) = read_all(&mut pair.target).await;
    end.unwrap();
    assert_eq!(heard, b"abc");
    assert_eq!(read_all(&mut pair.client).await.0, b"");
    assert_eq!(pair.proxy.counts().cuts, 1);
}

#[tokio::test]
async fn a_reset_is_a_reset_for_both_sides() {
    let mut pair = connected(Plan::down(Fault::reset_after(2))).await;
    pair.target.write_all(b"01").await.unwrap();
    let (_, at_client) = read_all(&mut pair.client).await;
    let (_, at_target) = read_all(&mut pair.target).await;
    assert_eq!(at_client.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(at_target.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(pair.proxy.counts().resets, 1);
}

#[tokio::test]
async fn a_half_open_connection_passes_nothing_and_closes_nothing_until_the_proxy_ends() {
    let mut pair = connected(Plan::down(Fault::silent_after(2))).await;
    pair.target.write_all(b"0123").await.unwrap();
    let mut heard = [0; 2];
    pair.client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"01");
    while pair.proxy.counts().silences == 0 {
        tokio::task::yield_now().await;
    }
    pair.client.write_all(b"are you there").await.unwrap();
    let mut at_client = tokio::spawn(async move { read_all(&mut pair.client).await });
    let mut at_target = tokio::spawn(async move { read_all(&mut pair.target).await });
    // As long as a test may watch for what must not happen; a slow machine can only make it pass.
    let silence = tokio::time::timeout(Duration::from_millis(50), async {
        tokio::select! { _ = &mut at_client => {} _ = &mut at_target => {} }
    });
    assert!(silence.await.is_err(), "a half-open connection was closed");
    pair.proxy.shutdown().await;
    assert_eq!(at_client.await.unwrap().0, b"", "and nothing was passed on");
    assert_eq!(at_target.await.unwrap().0, b"");
}

#[tokio::test(start_paused = true)]
async fn delay_and_bandwidth_take_the_time_that_they_say() {
    let second = Duration::from_secs(1);
    let slow = Way { delay: 2 * second, bytes_per_second: Some(10), fault: None };
    let mut pair = connected(Plan { down: slow, ..Plan::default() }).await;
    let began = tokio::time::Instant::now();
    pair.target.write_all(&[b'x'; 40]).await.unwrap();
    pair.target.shutdown().await.unwrap();
    let (heard, _) = read_all(&mut pair.client).await;
    assert_eq!(heard.len(), 40);
    // Paused time moves only when all wait: two seconds for the piece, four for its forty bytes.
    assert!(began.elapsed() >= 6 * second, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_target_that_is_not_there_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(nowhere, |_| Plan::default()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(read_all(&mut client).await.0, b"");
    proxy.shutdown().await;
}

#[tokio::test]
async fn each_connection_has_the_plan_of_its_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), |number| Plan::down(Fault::cut_after(number + 1)));
    let proxy = proxy.await.unwrap();
    for number in 0..3 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut target, _) = listener.accept().await.unwrap();
        target.write_all(b"0123456789").await.unwrap();
        assert_eq!(read_all(&mut client).await.0.len(), number + 1);
    }
    proxy.shutdown().await;
}
