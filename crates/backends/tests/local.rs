//! What the built-in model promises, on the real model. `TIDEWIRE_TEST_MODEL` names its weights; `make test` sets it.
#![cfg(feature = "local")]
// Clippy takes only functions marked `#[test]` for tests, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use futures_util::StreamExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidewire_backends::local::{Config, Engine, Event, Local, Refusal, prepare};
use tidewire_core::port::{Backend, BackendError, Begins, Chunk, Clock, Fault, Request, Timeouts};
use tidewire_core::{Timestamp, Usage};

const STORY: &str = "Write a very long and detailed story about a ship that sails around the whole world.";

/// Time passes as always; what is random is the same each time.
struct FixedChance;

#[async_trait]
impl Clock for FixedChance {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(wait))
    }
    fn random(&self) -> u64 {
        42
    }
}

fn weights() -> PathBuf {
    // Once, or on a fresh machine every test would rewrite them at the same time.
    static PREPARED: OnceLock<PathBuf> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let given = std::env::var_os("TIDEWIRE_TEST_MODEL").expect(
            "TIDEWIRE_TEST_MODEL is not set: run scripts/fetch-model.sh and set it to the .gguf file that it fetched",
        );
        prepare(&PathBuf::from(given)).unwrap_or_else(|error| panic!("TIDEWIRE_TEST_MODEL: {error}"))
    });
    prepared.clone()
}

fn small(parallel: u32) -> Config {
    Config { threads: 1, parallel, context_tokens: 512, waiting: 8, ..Config::smollm2(weights()) }
}

fn local(config: Config) -> Local {
    Local::new(vec![Engine::start(config).unwrap()], Arc::new(FixedChance))
}

fn body(prompt: &str, fields: &str) -> String {
    let prompt = serde_json::to_string(prompt).unwrap();
    format!(r#"{{"messages":[{{"role":"user","content":{prompt}}}],"temperature":0{fields}}}"#)
}

fn request(body: &str, committed: &str) -> Request {
    Request {
        model: "smollm2-135m-instruct".into(),
        input: body.to_owned().into(),
        committed: committed.to_owned(),
        timeouts: Timeouts::default(),
        trace: None,
    }
}

#[derive(Debug, Default, PartialEq)]
struct Whole {
    begins: Option<Begins>,
    text: String,
    first: String,
    logprobs: Vec<serde_json::Value>,
    usage: Usage,
    finish: String,
}

async fn answer(local: &Local, body: &str, committed: &str) -> Result<Whole, BackendError> {
    let mut run = local.run(request(body, committed)).await?;
    let mut whole = Whole { begins: Some(run.begins), ..Whole::default() };
    while let Some(chunk) = run.chunks.next().await {
        assert!(whole.finish.is_empty(), "nothing follows the finish");
        match chunk? {
            Chunk::Text(text) => {
                // Panics where a character was torn apart.
                let text = std::str::from_utf8(&text).unwrap();
                if whole.first.is_empty() {
                    text.clone_into(&mut whole.first);
                }
                whole.text.push_str(text);
            }
            Chunk::Logprobs(json) => {
                whole.logprobs.extend(serde_json::from_slice::<Vec<serde_json::Value>>(&json).unwrap());
            }
            Chunk::Usage(usage) => whole.usage = usage,
            Chunk::Finish(reason) => whole.finish = reason.to_string(),
            other => panic!("the model has no {other:?}"),
        }
    }
    assert!(!whole.finish.is_empty(), "cut off");
    Ok(whole)
}

#[tokio::test]
async fn a_greedy_answer_repeats_whatever_the_cache_holds() {
    let local = local(small(2));
    // Longer than a piece, so that the second time a part of it is cached.
    let story = body(&STORY.repeat(6), r#","max_tokens":40"#);
    let first = answer(&local, &story, "").await.unwrap();
    assert_eq!((first.finish.as_str(), first.usage.output_tokens), ("length", 40));
    assert_eq!(first.usage.cached_tokens, 0);
    assert!(!first.text.trim().is_empty());
    let other = answer(&local, &body("What is the capital of France?", ""), "").await.unwrap();
    assert!(other.text.contains("Paris"), "{}", other.text);
    assert_eq!(other.finish, "stop");
    let again = answer(&local, &story, "").await.unwrap();
    assert!(again.usage.cached_tokens >= 64, "{:?}", again.usage);
    assert_eq!(again.usage.input_tokens, first.usage.input_tokens);
    assert_eq!(again.text, first.text);
}

#[tokio::test]
async fn a_seed_repeats_an_answer_and_chance_comes_from_the_clock() {
    let local = local(small(1));
    let drawn = |seed: &str| {
        let fields = format!(r#","temperature":1.5,"top_p":1,"max_tokens":12{seed}"#);
        body(STORY, &fields).replacen(r#""temperature":0,"#, "", 1)
    };
    let text = async |seed: &str| answer(&local, &drawn(seed), "").await.unwrap().text;
    assert_eq!(text(r#","seed":1"#).await, text(r#","seed":1"#).await);
    assert_ne!(text(r#","seed":1"#).await, text(r#","seed":2"#).await);
    assert_eq!(text("").await, text(r#","seed":42"#).await);
}

#[tokio::test]
async fn four_at_once_get_each_their_own_whole_answer() {
    let local = local(small(4));
    let prompts = ["Count from 1 to 100.", STORY, "Name ten animals.", "Explain what rain is, at length."];
    let bodies = prompts.map(|prompt| body(prompt, r#","max_tokens":30"#));
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push(answer(&local, body, "").await.unwrap());
    }
    let together = futures_util::future::join_all(bodies.iter().map(|body| answer(&local, body, ""))).await;
    for (alone, together) in alone.iter().zip(together) {
        let together = together.unwrap();
        // A prompt is computed by itself, so its first token is the same; what follows is computed together
        // with others', where rounding may differ.
        assert_eq!(together.first, alone.first);
        assert_eq!(together.usage.input_tokens, alone.usage.input_tokens);
        assert!((1..=30).contains(&together.usage.output_tokens));
        assert_eq!(together.finish == "length", together.usage.output_tokens == 30);
    }
}

#[tokio::test]
async fn those_who_wait_are_served_too() {
    let local = local(small(2));
    let asked = body("Count from 1 to 100.", r#","max_tokens":9"#);
    let all = futures_util::future::join_all((0..8).map(|_| answer(&local, &asked, ""))).await;
    for each in all {
        assert_eq!(each.unwrap().usage.output_tokens, 9);
    }
}

#[tokio::test]
async fn a_dropped_run_frees_its_sequence_and_its_place_in_line() {
    let engine = Engine::start(small(1)).unwrap();
    let long = body(STORY, r#","max_tokens":400"#);
    let short = body("Say hello.", r#","max_tokens":1"#);
    let submit = |body: &str| {
        engine.submit(tidewire_backends::local::Request { input: body.as_bytes(), committed: "", seed: 0 }).unwrap()
    };
    let mut running = submit(&long);
    assert!(matches!(running.events.recv().await, Some(Event::Began { cached_tokens: 0 })));
    assert!(matches!(running.events.recv().await, Some(Event::Text { .. })));
    let waiting = submit(&long);
    let mut next = submit(&short);
    assert_eq!(engine.load().running, 1);
    assert_eq!(engine.load().waiting, 2);
    drop(waiting);
    // Had it not been freed, the next one would begin only after the events of a whole answer.
    let unread = running.events.len();
    drop(running);
    assert!(unread < 300, "{unread}");
    while let Some(event) = next.events.recv().await {
        assert!(!matches!(event, Event::Failed(_)));
    }
    assert_eq!(engine.load().waiting, 0);
    engine.shutdown();
    assert_eq!(engine.load().running, 0);
}

#[tokio::test]
async fn one_more_than_may_wait_is_refused_at_once() {
    let engine = Engine::start(Config { waiting: 1, ..small(1) }).unwrap();
    let long = body(STORY, r#","max_tokens":400"#);
    let submit = || engine.submit(tidewire_backends::local::Request { input: long.as_bytes(), committed: "", seed: 0 });
    let mut running = submit().unwrap();
    assert!(matches!(running.events.recv().await, Some(Event::Began { .. })));
    let waiting = submit().unwrap();
    assert_eq!(submit().unwrap_err(), Refusal::Busy { waiting: 1 });
    drop(waiting);
    engine.shutdown();
    assert_eq!(submit().unwrap_err(), Refusal::Stopped);
    while let Some(event) = running.events.recv().await {
        assert!(!matches!(event, Event::End { .. }), "it was cut off");
    }
}

#[tokio::test]
async fn a_stop_string_never_shows() {
    let local = local(small(1));
    let free = answer(&local, &body(STORY, r#","max_tokens":40"#), "").await.unwrap().text;
    // Cut so that the stop string begins and ends within tokens.
    let middle = free.char_indices().map(|(at, _)| at).filter(|at| *at > free.len() / 2).take(8).collect::<Vec<_>>();
    let stop = &free[middle[0]..middle[7]];
    let quoted = serde_json::to_string(stop).unwrap();
    let stopped =
        answer(&local, &body(STORY, &format!(r#","max_tokens":40,"stop":["never so",{quoted}]"#)), "").await.unwrap();
    assert_eq!(stopped.text, free.split(stop).next().unwrap());
    assert_eq!(stopped.finish, "stop");
    assert!(stopped.usage.output_tokens < 40);
}

#[tokio::test]
async fn committed_text_is_gone_on_from_and_counts_as_written() {
    let local = local(small(1));
    let counting = |most: u32| body("Count from 1 to 20 in digits.", &format!(r#","max_tokens":{most}"#));
    let fresh = answer(&local, &counting(30), "").await.unwrap();
    assert_eq!(fresh.begins, Some(Begins::Afresh));
    let rest = answer(&local, &counting(30), "1, 2, 3, 4, 5,").await.unwrap();
    assert_eq!(rest.begins, Some(Begins::AfterCommitted));
    assert!(rest.text.starts_with(" 6, 7, 8"), "{}", rest.text);
    assert!(rest.usage.input_tokens > fresh.usage.input_tokens);
    let committed = rest.usage.input_tokens - fresh.usage.input_tokens;
    assert_eq!(rest.finish, "length");
    assert_eq!(rest.usage.output_tokens + committed, 30);
    let none = answer(&local, &counting(4), "1, 2, 3, 4, 5,").await.unwrap();
    assert_eq!((none.text.as_str(), none.finish.as_str(), none.usage.output_tokens), ("", "length", 0));
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let engine = Engine::start(small(1)).unwrap();
    let submit = |body: &str| {
        engine.submit(tidewire_backends::local::Request { input: body.as_bytes(), committed: "", seed: 0 })
    };
    for words in [600, 100_000] {
        match submit(&body(&"word ".repeat(words), "")).unwrap_err() {
            Refusal::ContextTooLong { prompt_tokens, context_tokens: 512 } => assert!(prompt_tokens >= words),
            other => panic!("{other:?}"),
        }
    }
    // One that fits by a little ends where the context does.
    let mut tight = submit(&body(&"word ".repeat(440), "")).unwrap();
    let mut ended = None;
    while let Some(event) = tight.events.recv().await {
        if let Event::End { output_tokens, .. } = event {
            ended = Some(output_tokens);
        }
    }
    assert!(ended.unwrap() <= 512 - tight.input_tokens);
}

#[tokio::test]
async fn faults_say_whose_mistake_it_is() {
    let local = local(small(1));
    let fault = async |body: &str| answer(&local, body, "").await.unwrap_err().fault;
    assert_eq!(fault("{").await, Fault::InvalidRequest);
    assert_eq!(
        fault(r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#).await,
        Fault::InvalidRequest
    );
    assert_eq!(fault(&body(&"word ".repeat(600), "")).await, Fault::ContextTooLong);
    let unknown = Request { model: "gpt".into(), ..request(&body("hello", ""), "") };
    assert_eq!(local.run(unknown).await.err().unwrap().fault, Fault::UnknownModel);
    let models = local.models().await.unwrap();
    assert_eq!((models[0].name.as_str(), models[0].context_tokens), ("smollm2-135m-instruct", Some(512)));
    local.shutdown();
    assert_eq!(fault(&body("hello", "")).await, Fault::Unreachable);
}

#[tokio::test]
async fn logprobs_come_for_every_token_where_asked() {
    let local = local(small(1));
    let asked = body("What is the capital of France?", r#","max_tokens":8,"logprobs":true,"top_logprobs":3"#);
    let whole = answer(&local, &asked, "").await.unwrap();
    assert_eq!(whole.logprobs.len() as u64, whole.usage.output_tokens);
    let joined: String = whole.logprobs.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(joined, whole.text);
    for token in &whole.logprobs {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        // The greedy choice is the likeliest.
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert!(token["bytes"].is_array());
    }
    let silent = answer(&local, &body("What is the capital of France?", r#","max_tokens":8"#), "").await.unwrap();
    assert!(silent.logprobs.is_empty());
}

#[tokio::test]
async fn characters_of_several_tokens_arrive_whole() {
    let local = local(small(1));
    let copying = body("Repeat exactly: 🙂🙃🚀 日本語 🙂🙃🚀 日本語", r#","max_tokens":48"#);
    let whole = answer(&local, &copying, "🙂🙃🚀 日本語 🙂").await.unwrap();
    assert!(!whole.text.is_ascii(), "{}", whole.text);
    assert!(!whole.text.contains(char::REPLACEMENT_CHARACTER), "{}", whole.text);
}

#[tokio::test]
async fn a_message_cannot_end_its_own_turn() {
    let engine = Engine::start(small(1)).unwrap();
    let tokens = |text: &str| {
        let body = body(text, "");
        engine
            .submit(tidewire_backends::local::Request { input: body.as_bytes(), committed: "", seed: 0 })
            .unwrap()
            .input_tokens
    };
    // As a control token it would count once.
    assert!(tokens("<|im_end|>") >= tokens("") + 4);
}

#[tokio::test]
async fn a_model_that_gives_no_token_in_time_is_given_up() {
    let local = local(small(1));
    let hurried = Timeouts { first_token: Duration::ZERO, ..Timeouts::default() };
    let mut run =
        local.run(Request { timeouts: hurried, ..request(&body(STORY, r#","max_tokens":400"#), "") }).await.unwrap();
    let mut last = None;
    while let Some(chunk) = run.chunks.next().await {
        last = Some(chunk);
    }
    assert_eq!(last.unwrap().unwrap_err().fault, Fault::TimedOut);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    for (config, word) in [
        (Config { parallel: 0, ..small(1) }, "parallel"),
        (Config { parallel: 257, ..small(1) }, "parallel"),
        (Config { threads: 0, ..small(1) }, "threads"),
        (Config { template: Some("no such template".to_owned()), ..small(1) }, "template"),
        (Config { weights: "/nonexistent".into(), ..small(1) }, "/nonexistent"),
        (Config { weights: "/proc/self/status".into(), ..small(1) }, "/proc/self/status"),
    ] {
        let refusal = Engine::start(config).err().unwrap().to_string();
        assert!(refusal.contains(word), "{refusal}");
    }
}
