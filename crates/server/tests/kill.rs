//! `kill -9` in mid-text: nothing that was acknowledged is lost, and no client sees a word twice.
//!
//! `make test` kills five times; `make soak` sets `TIDEWIRE_TEST_KILLS=200`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use std::time::Duration;
use support::{PATIENCE, Server, number_from_env, script_text, scripted, task};
use tidewire_client::{Answer, Filter, Follow, Session};
use tidewire_testkit::random::Random;
use tokio::sync::watch;

const SLOTS: usize = 24;
const TASKS: usize = 40;
const TOKENS: usize = 40;
/// So many are in mid-text when the server is killed.
const AT_ONCE: usize = 20;

/// How far a reader has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    MidText,
    Ended,
}

/// Follows to the end, and tells on the way that text has come. Returns the text and the events, counted twice:
/// as they came, and as the last offset says.
async fn read(mut log: Follow, stage: watch::Sender<Stage>) -> (String, u64, u64, serde_json::Value) {
    let mut answer = Answer::default();
    let (mut came, mut next) = (0, 0);
    while let Some(batch) = log.next().await {
        let batch = batch.expect("the session outlives the server");
        assert!(!batch.starts_over, "a durable log was not resumed");
        assert_eq!(batch.from, next, "a gap, a double or a step back");
        for event in batch.events().unwrap() {
            assert_eq!(event.offset, next);
            next = event.next();
            came += event.count;
            answer.apply(&event);
        }
        if !answer.text().is_empty() {
            stage.send_replace(if answer.end().is_none() { Stage::MidText } else { Stage::Ended });
        }
    }
    stage.send_replace(Stage::Ended);
    (answer.text().to_owned(), came, next, answer.end().cloned().expect("every acknowledged task ends"))
}

/// All at once, so that the last ones wait while the first ones run.
async fn submit_all(session: &Session, round: usize) -> Vec<(String, Follow, String)> {
    let submit = async |number| {
        let seed = format!("r{round}t{number}-");
        let script = serde_json::json!({ "tokens": TOKENS, "delay_ms": 15, "seed": seed });
        let submitted = session.submit(task(script)).await.unwrap();
        (submitted.ack.task, submitted.log, seed)
    };
    futures_util::future::join_all((0..TASKS).map(submit)).await
}

/// Waits until at least 20 tasks are in mid-text. `false` where a slow machine let the moment pass: then so many have
/// ended that it does not come again.
async fn mid_text(mut stages: Vec<watch::Receiver<Stage>>) -> bool {
    loop {
        let count = |wanted| stages.iter().filter(|stage| *stage.borrow() == wanted).count();
        if count(Stage::MidText) >= AT_ONCE {
            return true;
        }
        if count(Stage::Ended) > TASKS - AT_ONCE {
            return false;
        }
        // A reader that has ended changes no more, and would be ready at once.
        let waiting = stages.iter_mut().filter(|stage| *stage.borrow() != Stage::Ended);
        let changes: Vec<_> = waiting.map(|stage| Box::pin(stage.changed())).collect();
        let _ = futures_util::future::select_all(changes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_mid_text_loses_nothing_that_it_acknowledged() {
    let kills = number_from_env("TIDEWIRE_TEST_KILLS", 5);
    let mut random = Random::new(0x5EED_1E55);
    let mut server = Server::start(&scripted(SLOTS));
    let (mut second_attempts, mut others_queued) = (0, 0);
    let (mut round, mut missed) = (0, 0);
    while round < kills {
        let session = server.session().await;
        let tasks = submit_all(&session, round).await;
        let queued = server.http().tasks(&Filter { state: Some("queued".into()), ..Filter::default() }).await.unwrap();
        let (mut flags, mut readers) = (Vec::new(), Vec::new());
        for (id, log, seed) in tasks {
            let (flag, seen) = watch::channel(Stage::Before);
            flags.push(seen);
            readers.push((id, seed, tokio::spawn(read(log, flag))));
        }
        if !tokio::time::timeout(PATIENCE, mid_text(flags)).await.expect("20 tasks come into mid-text") {
            for (id, _, reader) in readers {
                tokio::time::timeout(PATIENCE, reader).await.unwrap_or_else(|_| panic!("{id} ends")).unwrap();
            }
            missed += 1;
            assert!(missed <= 10 + kills, "the machine is too slow for this test");
            continue;
        }
        round += 1;
        others_queued += usize::from(!queued.tasks.is_empty());
        // Not to wait for anything: the moment of the kill is what this test varies.
        tokio::time::sleep(Duration::from_micros(random.below(200_000))).await;
        server.kill();
        server.restart();
        for (id, seed, reader) in readers {
            let (text, came, next, end) = tokio::time::timeout(PATIENCE, reader).await.expect("the task ends").unwrap();
            assert_eq!(text, script_text(&seed, TOKENS), "{id}");
            assert_eq!(came, next, "{id}: events lost or doubled");
            assert_eq!(end["state"], "done", "{id}: {end}");
            second_attempts += usize::from(end["attempts"].as_u64() > Some(1));
        }
        let counts = session.counts();
        assert_eq!((counts.gaps, counts.duplicates, counts.started_over), (0, 0, 0), "{counts:?}");
        assert!(counts.reconnects > 0, "the kill was noticed");
    }
    println!("{kills} kills, {second_attempts} tasks in the middle of their text: nothing is lost or doubled");
    // Not in every round: on a busy machine the last of them may have begun by then.
    assert!(others_queued > 0, "others queued meanwhile");
    assert!(second_attempts > 0, "some task was in the middle of its text");
}
