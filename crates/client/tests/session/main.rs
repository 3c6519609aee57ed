//! What a session promises, against a server that is cut, repeats itself, leaves things out and says no.
// Clippy knows functions marked as tests, not those that only tests call.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{EPOCH, LOG, Peer, Server, log_of, read, submitted, task, text_of};
use serde_json::{Value, json};
use std::time::Duration;
use tidewire_client::{Backoff, ConnectError, Over, Position, Session, SessionError, Status};

const WORDS: usize = 6;

/// Answers `follow`s from the log, two events a frame, until it has sent so many frames.
async fn serve(peer: &mut Peer, events: &[Value], mut frames: usize) {
    let follow = peer.expect("follow").await;
    let mut at = follow["after"].as_u64().map_or(0, |after| usize::try_from(after).unwrap() + 1);
    assert!(follow["after"].is_null() || follow["epoch"] == EPOCH, "{follow}");
    if frames == 0 {
        return;
    }
    peer.following(&follow, events.len() as u64).await;
    frames -= 1;
    while at < events.len() && frames > 0 {
        let to = (at + 2).min(events.len());
        peer.events(events, at, to).await;
        at = to;
        frames -= 1;
    }
    if frames > 0 {
        peer.ended().await;
    }
}

#[tokio::test]
async fn a_reader_that_is_cut_at_any_frame_misses_nothing() {
    let events = log_of(WORDS);
    for frames in 0..=6 {
        let server = Server::start().await;
        let (session, mut running, mut peer) = server.open(Backoff::none(3)).await;
        let server_side = async {
            serve(&mut peer, &events, frames).await;
            // Cut by force, in the middle of everything.
            drop(peer);
            if frames < 6 {
                let mut peer = server.accept().await;
                serve(&mut peer, &events, usize::MAX).await;
                return Some(peer);
            }
            None
        };
        let client_side = async {
            let mut log = session.follow(LOG, None).await.unwrap();
            read(&mut log).await.unwrap()
        };
        let (answer, peer) = tokio::join!(client_side, server_side);
        assert_eq!(answer.text(), text_of(WORDS), "cut after {frames} frames");
        assert_eq!(answer.end().unwrap()["state"], "done");
        let counts = session.counts();
        assert_eq!((counts.gaps, counts.duplicates, counts.started_over), (0, 0, 0), "{counts:?}");
        drop((session, peer));
        if frames < 6 {
            assert_eq!(running.end().await, Over::Dropped);
        }
    }
}

#[tokio::test]
async fn a_gap_is_seen_and_read_again_from_before_it() {
    let events = log_of(WORDS);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let mut log = submitted(&session, &mut peer).await.log;
    let server_side = async {
        peer.events(&events, 0, 3).await;
        peer.events(&events, 4, 6).await;
        let follow = peer.expect("follow").await;
        assert_eq!((follow["after"].as_u64(), follow["epoch"].as_u64()), (Some(2), Some(EPOCH.into())));
        // Of the cursor before; the answer to the follow comes after it.
        peer.events(&events, 6, 7).await;
        peer.following(&follow, events.len() as u64).await;
        peer.events(&events, 3, events.len()).await;
        peer.ended().await;
    };
    let (answer, ()) = tokio::join!(read(&mut log), server_side);
    assert_eq!(answer.unwrap().text(), text_of(WORDS));
    assert_eq!(session.counts().gaps, 1);
}

#[tokio::test]
async fn a_gap_that_stays_ends_the_log_and_not_the_session() {
    let events = log_of(WORDS);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let mut log = submitted(&session, &mut peer).await.log;
    let server_side = async {
        peer.events(&events, 1, 3).await;
        loop {
            let asked = peer.hear().await.unwrap();
            if asked["op"] == "unfollow" {
                break;
            }
            assert_eq!(asked["after"], Value::Null);
            peer.following(&asked, 9).await;
            peer.say(json!({"op": "events", "log": LOG, "epoch": EPOCH + 1, "from": 0, "to": 1, "events": []})).await;
        }
        let ping = peer.expect("ping").await;
        peer.say(json!({"op": "pong", "ref": ping["ref"]})).await;
    };
    let client_side = async {
        assert_eq!(read(&mut log).await.unwrap_err(), SessionError::GapStays);
        session.ping().await.unwrap();
    };
    tokio::join!(client_side, server_side);
}

#[tokio::test]
async fn what_comes_twice_is_read_once() {
    let events = log_of(WORDS);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let mut log = submitted(&session, &mut peer).await.log;
    for (from, to) in [(0, 3), (0, 3), (1, 2), (3, 6), (4, 6), (6, events.len())] {
        peer.events(&events, from, to).await;
    }
    peer.ended().await;
    assert_eq!(read(&mut log).await.unwrap().text(), text_of(WORDS));
    assert_eq!(session.counts().duplicates, 3);
}

#[tokio::test]
async fn a_rewind_takes_back_the_text_of_the_attempt_that_failed() {
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let mut log = submitted(&session, &mut peer).await.log;
    let event = |offset: u64, kind: &str, data: Value| json!({"offset": offset, "type": kind, "at": 1, "data": data});
    let events = [
        event(0, "started", json!({"attempt": 1})),
        event(1, "text", json!("wrong")),
        event(2, "retry", json!({"attempt": 1, "code": "upstream_broken", "message": "", "after_ms": 0})),
        event(3, "rewind", json!({"to": 1})),
        event(4, "started", json!({"attempt": 2})),
        event(5, "text", json!("right")),
        event(6, "end", json!({"state": "done"})),
    ];
    peer.events(&events, 0, 2).await;
    peer.events(&events, 2, 7).await;
    peer.ended().await;
    assert_eq!(read(&mut log).await.unwrap().text(), "right");
}

#[tokio::test]
async fn a_submit_that_was_cut_before_its_ack_is_sent_again_with_the_same_key() {
    let events = log_of(WORDS);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let server_side = async {
        let first = peer.expect("submit").await;
        drop(peer);
        let mut peer = server.accept().await;
        let second = peer.expect("submit").await;
        assert!(first["task"]["idempotency_key"].as_str().unwrap().len() >= 32);
        assert_eq!(first, second);
        peer.acknowledge(&second, true).await;
        peer.events(&events, 0, events.len()).await;
        peer.ended().await;
        peer
    };
    let client_side = async {
        let mut submitted = session.submit(task()).await.unwrap();
        assert!(submitted.ack.known);
        read(&mut submitted.log).await.unwrap()
    };
    let (answer, _peer) = tokio::join!(client_side, server_side);
    assert_eq!(answer.text(), text_of(WORDS));
    assert_eq!(session.counts().resent, 1);
}

#[tokio::test]
async fn a_submit_that_a_draining_server_turns_away_goes_to_the_next_one() {
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let server_side = async {
        let submit = peer.expect("submit").await;
        peer.refuse(&submit, "shutting_down").await;
        peer.close(4000).await;
        let mut peer = server.accept().await;
        let again = peer.expect("submit").await;
        assert_eq!(submit, again);
        peer.acknowledge(&again, false).await;
        peer
    };
    let (submitted, _peer) = tokio::join!(session.submit(task()), server_side);
    assert_eq!(submitted.unwrap().ack.task, LOG);
}

#[tokio::test]
async fn a_code_in_the_terminal_range_ends_the_session() {
    for code in [4500, 4999, 1009, 1002] {
        let server = Server::start().await;
        let (session, mut running, mut peer) = server.open(Backoff::none(3)).await;
        let mut log = submitted(&session, &mut peer).await.log;
        peer.close(code).await;
        let over = running.end().await;
        assert_eq!(over, Over::Closed { code, reason: "for a reason".into() });
        assert_eq!(read(&mut log).await.unwrap_err(), SessionError::Over(over.clone()));
        assert_eq!(session.submit(task()).await.unwrap_err(), SessionError::Over(over.clone()));
        assert_eq!(*session.status().borrow(), Status::Over(over));
    }
}

#[tokio::test]
async fn a_code_that_allows_it_is_come_back_from() {
    for code in [1000, 1001, 1012, 4000, 4001, 4499] {
        let server = Server::start().await;
        let (session, _running, peer) = server.open(Backoff::none(3)).await;
        let server_side = async {
            peer.close(code).await;
            let mut peer = server.accept().await;
            let ping = peer.expect("ping").await;
            peer.say(json!({"op": "pong", "ref": ping["ref"]})).await;
            peer
        };
        let (pong, _peer) = tokio::join!(session.ping(), server_side);
        pong.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_can_t_be_resumed_is_read_from_its_start_and_its_reader_is_told() {
    let events = log_of(WORDS);
    for code in ["epoch_changed", "offset_in_future", "trimmed"] {
        let server = Server::start().await;
        let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
        let server_side = async {
            let follow = peer.expect("follow").await;
            assert_eq!((&follow["after"], &follow["epoch"]), (&json!(90), &json!(3)));
            peer.refuse(&follow, code).await;
            let again = peer.expect("follow").await;
            assert_eq!(again["after"], Value::Null);
            assert_eq!(again["epoch"], Value::Null);
            peer.following(&again, events.len() as u64).await;
            // What was trimmed away does not come.
            peer.events(&events, 1, events.len()).await;
            peer.ended().await;
        };
        let client_side = async {
            let mut log = session.follow(LOG, Some(Position { epoch: Some(3), offset: 90 })).await.unwrap();
            let first = log.next().await.unwrap().unwrap();
            assert!(first.starts_over);
            assert_eq!(first.from, 1);
        };
        tokio::join!(client_side, server_side);
        assert_eq!(session.counts().started_over, 1);
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_leaves_the_log_to_the_server_and_gets_all_of_it_later() {
    let events = log_of(60);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let mut log = submitted(&session, &mut peer).await.log;
    for at in 0..40 {
        peer.events(&events, at, at + 1).await;
    }
    peer.expect("unfollow").await;
    // Another call is answered meanwhile: a slow reader holds nobody up.
    let (pong, ()) = tokio::join!(session.ping(), async {
        let ping = peer.expect("ping").await;
        peer.say(json!({"op": "pong", "ref": ping["ref"]})).await;
    });
    pong.unwrap();
    let server_side = async {
        let follow = peer.expect("follow").await;
        let from = usize::try_from(follow["after"].as_u64().unwrap()).unwrap() + 1;
        peer.following(&follow, events.len() as u64).await;
        peer.events(&events, from, events.len()).await;
        peer.ended().await;
    };
    let (answer, ()) = tokio::join!(read(&mut log), server_side);
    assert_eq!(answer.unwrap().text(), text_of(60));
    assert_eq!((session.counts().fell_behind, session.counts().gaps), (1, 0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_is_unfollowed() {
    let events = log_of(WORDS);
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    drop(submitted(&session, &mut peer).await.log);
    peer.events(&events, 0, 2).await;
    assert_eq!(peer.expect("unfollow").await["log"], LOG);
}

#[tokio::test]
async fn a_refusal_reaches_the_call_that_it_answers() {
    let server = Server::start().await;
    let (session, _running, mut peer) = server.open(Backoff::none(3)).await;
    let server_side = async {
        for _ in 0..3 {
            let asked = peer.hear().await.unwrap();
            peer.refuse(&asked, &format!("no_{}", asked["op"].as_str().unwrap())).await;
        }
    };
    let (submit, follow, stop, ()) =
        tokio::join!(session.submit(task()), session.follow(LOG, None), session.stop(LOG), server_side);
    let code = |error: SessionError| match error {
        SessionError::Refused(error) => error.code,
        other => panic!("{other}"),
    };
    assert_eq!(code(submit.unwrap_err()), "no_submit");
    assert_eq!(code(follow.unwrap_err()), "no_follow");
    assert_eq!(code(stop.unwrap_err()), "no_stop");
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up_and_every_call_says_so() {
    let server = Server::start().await;
    let (session, mut running, peer) = server.open(Backoff::none(2)).await;
    drop((server, peer));
    let over = running.end().await;
    let Over::GaveUp { attempts: 2, last } = &over else { panic!("{over}") };
    assert!(last.contains("tidewire serve"), "{last}");
    assert_eq!(session.ping().await.unwrap_err(), SessionError::Over(over));
}

#[tokio::test]
async fn where_no_server_is_the_error_says_how_to_start_one() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    drop(server);
    let error = Session::open(&endpoint, tidewire_client::Options::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::NoServer { .. }));
    assert_eq!(error.to_string(), format!("no server at {}: start one with `tidewire serve`", endpoint.url()));
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let server = Server::start().await;
    let (session, _running, _peer) = server.open(Backoff::none(1)).await;
    let mut status = session.status();
    // Paused time leaps to the next timer when nothing else is left to do; so not before the handshake is over.
    tokio::time::pause();
    let silent = tokio::time::timeout(Duration::from_secs(61), status.changed());
    silent.await.unwrap().unwrap();
    let Status::Reconnecting { reason, .. } = status.borrow().clone() else { panic!("{status:?}") };
    assert!(reason.contains("silent"), "{reason}");
}
