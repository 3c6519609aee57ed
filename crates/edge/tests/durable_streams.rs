//! The streams of `/v1/stream` where the protocol's own conformance tests do not look: makers and deleters that
//! die at any step, time that passes, and bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "durable_streams/given.rs"]
mod given;
#[path = "durable_streams/mortal.rs"]
mod mortal;

use given::{Asked, World};
use http::Method;
use mortal::Death;
use std::time::Duration;
use tidewire_core::port::{Directory, Expect, LogKeeping, Shelf};
use tidewire_core::{LogId, TenantId};

const TEXT: &[(&str, &str)] = &[("content-type", "text/plain")];
const CLOSED: &[(&str, &str)] = &[("content-type", "text/plain"), ("stream-closed", "true")];
/// Longer than a stream may be in the making.
const LONG: Duration = Duration::from_secs(20);

fn put<'a>(path: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Asked<'a> {
    Asked { method: Method::PUT, path, headers, body }
}

fn post<'a>(path: &'a str, body: &'a str) -> Asked<'a> {
    Asked { method: Method::POST, path, headers: TEXT, body }
}

fn get(path: &str) -> Asked<'_> {
    Asked { method: Method::GET, path, headers: &[], body: "" }
}

fn delete(path: &str) -> Asked<'_> {
    Asked { method: Method::DELETE, path, headers: &[], body: "" }
}

/// What the engine holds for streams: their logs, their records, and the notes of forks.
async fn held(world: &World) -> (Vec<LogId>, usize, usize) {
    let logs = LogKeeping::list(&*world.engine, TenantId::DEFAULT, None, 100).await.unwrap();
    let count = async |shelf| Directory::list(&*world.engine, TenantId::DEFAULT, shelf, None, 100).await.unwrap().len();
    (logs, count(Shelf::Streams).await, count(Shelf::Forks).await)
}

/// Runs `act` on a server that dies at its first change, then on one that dies at its second, and so on, until it
/// lives to the end; `check` sees each of the worlds that are left, on a server that lives.
async fn at_every_death<T>(
    before: impl AsyncFn(&World) -> T,
    act: impl AsyncFn(&World) -> u16,
    check: impl AsyncFn(&World, T, bool),
) {
    for death in [Death::BeforeTheChange, Death::AfterTheChange] {
        for changes in 0.. {
            assert!(changes < 40, "it never comes to its end");
            let world = World::new();
            let known = before(&world).await;
            world.dies_after(changes, death);
            let lived = act(&world).await < 500;
            let world = world.restarted();
            check(&world, known, lived).await;
            if lived {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_whose_maker_dies_is_whole_or_not_there_and_leaves_nothing_behind() {
    at_every_death(
        async |_| (),
        async |world| world.ask(put("a", CLOSED, "all of it")).await.status,
        async |world, (), lived| {
            let seen = world.ask(get("a")).await;
            match seen.status {
                200 => assert_eq!((seen.body.as_str(), seen.header("stream-closed")), ("all of it", Some("true"))),
                404 => assert!(!lived, "an acknowledged stream is there"),
                other => panic!("{other}: {}", seen.body),
            }
            world.clock.advance(LONG);
            // The client that got no answer asks again.
            let again = world.ask(put("a", CLOSED, "all of it")).await;
            assert_eq!(again.status, if seen.status == 200 { 200 } else { 201 });
            assert_eq!(world.ask(get("a")).await.body, "all of it");
            assert_eq!(held(world).await.0.len(), 1, "no log is left over");
            assert_eq!(world.ask(delete("a")).await.status, 204);
            assert_eq!(held(world).await, (Vec::new(), 0, 0));
        },
    )
    .await;
}

#[tokio::test]
async fn what_a_dead_maker_left_is_swept() {
    at_every_death(
        async |world| {
            world.ask(put("source", TEXT, "abc")).await;
        },
        async |world| world.ask(put("fork", &[("stream-forked-from", "/v1/stream/source")], "def")).await.status,
        async |world, (), lived| {
            let seen = world.ask(get("fork")).await;
            assert!(seen.status == 404 || seen.body == "abcdef", "{}: {}", seen.status, seen.body);
            assert!(seen.status == 200 || !lived);
            world.clock.advance(LONG);
            world.sweep().await;
            let forks = usize::from(seen.status == 200);
            let (logs, records, notes) = held(world).await;
            assert_eq!((logs.len(), records, notes), (1 + forks, 1 + forks, forks));
            assert_eq!(world.ask(get("source")).await.body, "abc");
        },
    )
    .await;
}

#[tokio::test]
async fn a_deletion_that_dies_on_its_way_is_finished_by_the_sweep() {
    at_every_death(
        async |world| {
            world.ask(put("source", TEXT, "abc")).await;
            world.ask(put("fork", &[("stream-forked-from", "/v1/stream/source")], "def")).await;
            assert_eq!(world.ask(delete("source")).await.status, 204);
            assert_eq!(world.ask(get("source")).await.status, 410);
        },
        async |world| world.ask(delete("fork")).await.status,
        async |world, (), lived| {
            let seen = world.ask(get("fork")).await;
            match seen.status {
                200 => assert_eq!(seen.body, "abcdef", "a stream that is there is whole"),
                404 | 410 => {}
                other => panic!("{other}: {}", seen.body),
            }
            assert!(!lived || seen.status == 404);
            if seen.status == 200 {
                assert_eq!(world.ask(delete("fork")).await.status, 204);
            }
            world.sweep().await;
            world.sweep().await;
            assert_eq!(held(world).await, (Vec::new(), 0, 0), "its source goes with its last fork");
            assert_eq!(world.ask(put("source", TEXT, "")).await.status, 201, "the path is free again");
        },
    )
    .await;
}

#[tokio::test]
async fn a_maker_that_was_given_up_makes_nothing_when_it_comes_back() {
    let world = World::new();
    world.mortal.hold_creates();
    let slow = {
        let world = world.clone();
        tokio::spawn(async move { world.ask(put("a", TEXT, "slow")).await })
    };
    world.mortal.create_is_held().await;
    assert_eq!(world.ask(get("a")).await.status, 404, "nobody sees what is being made");
    world.clock.advance(LONG);
    world.mortal.let_creates_pass();
    assert_eq!(world.ask(put("a", TEXT, "quick")).await.status, 201);
    world.mortal.release_held();
    assert_eq!(slow.await.unwrap().status, 503);
    assert_eq!(world.ask(get("a")).await.body, "quick");
    let (logs, records, _) = held(&world).await;
    assert_eq!((logs.len(), records), (1, 1));
}

#[tokio::test]
async fn of_makers_at_once_one_makes_and_the_rest_find() {
    let world = World::new();
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.ask(put("a", TEXT, "same")).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for asked in asking {
        let mut asked = Box::pin(asked);
        // Those that wait for the maker wait on the clock.
        loop {
            tokio::select! {
                status = &mut asked => break statuses.push(status.unwrap()),
                () = tokio::task::yield_now() => world.clock.advance(Duration::from_millis(25)),
            }
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    assert_eq!(held(&world).await.0.len(), 1);
}

#[tokio::test]
async fn a_ttl_counts_from_the_last_use_and_a_restart_ends_nothing_early() {
    let world = World::new();
    let hour = Duration::from_hours(1);
    world.ask(put("a", &[("stream-ttl", "3600")], "x")).await;
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(3599));
        assert_eq!(world.ask(get("a")).await.status, 200, "each read begins the hour anew");
    }
    // A read that is too soon after the last one to be written down, and then the server dies.
    world.clock.advance(Duration::from_secs(400));
    assert_eq!(world.ask(get("a")).await.status, 200);
    let world = world.restarted();
    world.clock.advance(Duration::from_secs(3599));
    world.sweep().await;
    let head = Asked { method: Method::HEAD, path: "a", headers: &[], body: "" };
    let seen = world.ask(head.clone()).await;
    assert_eq!((seen.status, seen.header("stream-ttl")), (200, Some("3600")));
    world.clock.advance(hour / 8 + Duration::from_secs(2));
    assert_eq!(world.ask(head).await.status, 404, "a look at its head is no use");
    assert_eq!(world.ask(post("a", "y")).await.status, 404);
    world.sweep().await;
    assert_eq!(held(&world).await, (Vec::new(), 0, 0));
    assert_eq!(world.ask(put("a", TEXT, "")).await.status, 201);
}

#[tokio::test]
async fn a_stream_that_somebody_waits_for_does_not_expire() {
    for live in ["long-poll", "sse"] {
        let world = World::new();
        world.ask(put("a", &[("stream-ttl", "8"), ("content-type", "text/plain")], "x")).await;
        let path = format!("a?offset=now&live={live}");
        let waiting = tokio::spawn({
            let world = world.clone();
            async move { world.ask(get(&path)).await }
        });
        for _ in 0..7 {
            world.until_somebody_sleeps().await;
            world.clock.advance(Duration::from_secs(4));
        }
        // Not by what this process has in mind alone.
        world.until_somebody_sleeps().await;
        assert_eq!(world.restarted().ask(get("a")).await.body, "x", "{live}");
        assert_eq!(world.ask(delete("a")).await.status, 204);
        assert_eq!(waiting.await.unwrap().status, if live == "sse" { 200 } else { 404 }, "and its end is told");
    }
}

#[tokio::test]
async fn an_expired_stream_with_forks_stays_for_them() {
    let world = World::new();
    let at = [("content-type", "text/plain"), ("stream-expires-at", "2025-06-15T16:00:00Z")];
    assert_eq!(world.ask(put("source", &at, "abc")).await.status, 201);
    let forked = [("stream-forked-from", "/v1/stream/source"), ("stream-ttl", "999999999")];
    assert_eq!(world.ask(put("fork", &forked, "")).await.status, 400, "ten years are the most");
    let forked = [("stream-forked-from", "/v1/stream/source"), ("stream-ttl", "99999999")];
    assert_eq!(world.ask(put("fork", &forked, "")).await.status, 201);
    world.clock.advance(Duration::from_hours(24));
    assert_eq!(world.ask(get("source")).await.status, 404);
    world.sweep().await;
    assert_eq!(world.ask(get("source")).await.status, 410);
    assert_eq!(world.ask(get("fork")).await.body, "abc");
    world.ask(delete("fork")).await;
    assert_eq!(held(&world).await, (Vec::new(), 0, 0));
}

#[tokio::test]
async fn what_is_too_much_is_refused_with_its_bound() {
    let world = World::with_limits(|limits| limits.streams = 2);
    let code = async |asked: Asked<'_>| {
        let seen = world.ask(asked).await;
        (seen.status, seen.code())
    };
    let long = "p".repeat(1001);
    assert_eq!(code(put(&long, TEXT, "")).await, (400, "invalid_request".into()));
    assert_eq!(code(put(&long[..1000], TEXT, "")).await.0, 201);
    assert_eq!(code(put("b", &[("content-type", "application/json")], "")).await.0, 201);
    assert_eq!(code(put("c", TEXT, "")).await, (429, "too_many_streams".into()));
    assert_eq!(code(put("b", &[("content-type", "application/json")], "")).await.0, 200, "one that is there");
    let json = [("content-type", "application/json")];
    let many = format!("[{}1]", "1,".repeat(16 * 1024));
    let asked = Asked { method: Method::POST, path: "b", headers: &json, body: &many };
    assert_eq!(code(asked).await, (413, "too_large".into()));
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let asked = Asked { method: Method::POST, path: "b", headers: &json, body: &large };
    assert_eq!(code(asked).await, (413, "too_large".into()));
    let id = "i".repeat(257);
    let headers = [json[0], ("producer-id", id.as_str()), ("producer-epoch", "0"), ("producer-seq", "0")];
    let asked = Asked { method: Method::POST, path: "b", headers: &headers, body: "1" };
    assert_eq!(code(asked).await, (400, "invalid_request".into()));
    assert_eq!(code(put("__ds/subscriptions/a", TEXT, "")).await, (404, "not_found".into()));
    assert_eq!(code(delete(&long[..1000])).await.0, 204);
    assert_eq!(code(put("c", TEXT, "")).await.0, 201, "there is room again");
}

#[tokio::test]
async fn a_chain_of_forks_is_bounded_and_reads_as_one() {
    let world = World::new();
    world.ask(put("f0", TEXT, "0")).await;
    let mut last = 0;
    let refused = loop {
        let (from, path) = (format!("/v1/stream/f{last}"), format!("f{}", last + 1));
        let seen = world.ask(put(&path, &[("stream-forked-from", &from)], "x")).await;
        if seen.status != 201 {
            break seen;
        }
        last += 1;
    };
    assert_eq!((refused.status, refused.code().as_str(), last), (400, "invalid_request", 64));
    assert_eq!(world.ask(get("f64")).await.body, format!("0{}", "x".repeat(64)));
    // From the oldest on: each stays for the next, and the last takes all along.
    for number in 0..=64 {
        assert_eq!(world.ask(delete(&format!("f{number}"))).await.status, 204);
    }
    assert_eq!(held(&world).await, (Vec::new(), 0, 0));
}

#[tokio::test]
async fn an_offset_of_another_stream_is_told() {
    let world = World::new();
    world.ask(put("a", TEXT, "1")).await;
    world.ask(put("b", TEXT, "2")).await;
    let offset = world.ask(get("a")).await.header("stream-next-offset").unwrap().to_owned();
    assert_eq!(world.ask(get(&format!("a?offset={offset}"))).await.status, 200);
    let seen = world.ask(get(&format!("b?offset={offset}"))).await;
    assert_eq!((seen.status, seen.code().as_str()), (409, "epoch_changed"));
    let seen = world.ask(get("a?offset=0000000000000009_0000000000000000")).await;
    assert_eq!((seen.status, seen.code().as_str()), (416, "offset_in_future"));
}

#[tokio::test]
async fn a_record_that_can_t_be_read_is_told_and_stops_no_sweep() {
    let world = World::new();
    let name =
        tidewire_core::port::RecordName { tenant: TenantId::DEFAULT, shelf: Shelf::Streams, name: "a".to_owned() };
    world.engine.put(name, "{".into(), Expect::Absent).await.unwrap();
    world.ask(put("b", &[("stream-ttl", "1")], "")).await;
    let seen = world.ask(get("a")).await;
    assert_eq!((seen.status, seen.code().as_str()), (500, "damaged"));
    world.clock.advance(LONG);
    world.sweep().await;
    assert_eq!(held(&world).await.1, 1, "the other one, which has expired, is gone");
}
