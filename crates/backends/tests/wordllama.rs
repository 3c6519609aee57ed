//! What the built-in model for embeddings promises, on the real one. `TIDEWIRE_TEST_EMBEDDINGS` names its weights; `make test`
//! sets it.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

use serde::Deserialize;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tidewire_backends::wordllama::{MAX_TOKENS, WordLlama};
use tidewire_core::port::{
    Backend, BackendError, EmbedInput, EmbedRequest, Embedded, Embedder, Fault, Request, Timeouts,
};

const NAME: &str = "wordllama-l2-supercat-256";

fn weights() -> PathBuf {
    let given = std::env::var_os("TIDEWIRE_TEST_EMBEDDINGS").expect(
        "TIDEWIRE_TEST_EMBEDDINGS is not set: run scripts/fetch-model.sh and set it to the .safetensors file that it fetched",
    );
    given.into()
}

fn model() -> WordLlama {
    WordLlama::new(NAME, weights()).unwrap()
}

fn text(text: impl Into<String>) -> EmbedInput {
    EmbedInput::Text(text.into())
}

fn request(inputs: Vec<EmbedInput>, dimensions: Option<u32>) -> EmbedRequest {
    EmbedRequest { model: NAME.into(), inputs, dimensions, timeouts: Timeouts::default() }
}

async fn embed(inputs: Vec<EmbedInput>, dimensions: Option<u32>) -> Result<Embedded, BackendError> {
    model().embed(request(inputs, dimensions)).await
}

async fn one(input: &str) -> Vec<f32> {
    embed(vec![text(input)], None).await.unwrap().vectors.remove(0)
}

fn product(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[tokio::test]
async fn the_model_keeps_the_promises_of_an_embedder() {
    tidewire_testkit::embedder::check(&model(), NAME).await;
}

/// What Hugging Face's tokenizers 0.23.3 makes of the same texts with the same file.
#[derive(Deserialize)]
struct Known {
    text: String,
    tokens: Vec<u32>,
}

#[tokio::test]
async fn texts_have_the_tokens_that_the_models_own_tokenizer_gives_them() {
    let known: Vec<Known> = serde_json::from_str(include_str!("wordllama/tokens.json")).unwrap();
    for Known { text: words, tokens } in known {
        let embedded = embed(vec![text(&words), EmbedInput::Tokens(tokens.clone())], None).await.unwrap();
        assert_eq!(embedded.vectors[0], embedded.vectors[1], "{words:?}");
        assert_eq!(embedded.usage.input_tokens, 2 * tokens.len() as u64, "{words:?}");
    }
}

#[tokio::test]
async fn a_vector_is_what_numpy_computes_from_the_same_files() {
    let near = |vector: &[f32], expected: &[f32]| {
        let close = expected.iter().zip(vector).all(|(expected, number)| (expected - number).abs() < 1e-6);
        assert!(close, "{:?} is not {expected:?}", &vector[..expected.len()]);
    };
    near(&one("How do I reset my password?").await, &[0.228_506_82, 0.135_354_8, 0.108_870_42, -0.018_509_55]);
    let short = embed(vec![text("How do I reset my password?")], Some(64)).await.unwrap().vectors.remove(0);
    assert_eq!(short.len(), 64);
    near(&short, &[0.358_615_8, 0.212_424_16]);
}

#[tokio::test]
async fn vectors_have_length_one_and_a_batch_gives_the_same_as_each_alone() {
    let texts = ["The tide comes in.", "The tide goes out.", "漢字 🙂", "The tide comes in."];
    for dimensions in [None, Some(64)] {
        let all = embed(texts.map(text).into(), dimensions).await.unwrap().vectors;
        for (vector, words) in all.iter().zip(texts) {
            assert!((product(vector, vector) - 1.0).abs() < 1e-5, "{words}");
            assert_eq!(*vector, embed(vec![text(words)], dimensions).await.unwrap().vectors[0], "{words}");
        }
        assert_eq!(all[0], all[3]);
        assert_ne!(all[0], all[1]);
    }
}

#[tokio::test]
async fn a_question_is_nearer_to_its_paraphrase_than_to_another_question() {
    let asked = [
        ("How do I reset my password?", "I forgot my password, how can I set a new one?"),
        ("What is the capital of France?", "Which city is France's capital?"),
        ("My parcel has not arrived yet", "The package I ordered is still missing"),
        ("Write a short poem about the sea", "Compose a brief poem on the ocean"),
        ("How tall is Mount Everest?", "What is the height of Mount Everest?"),
    ];
    for (index, (question, paraphrase)) in asked.into_iter().enumerate() {
        let question = one(question).await;
        let own = product(&question, &one(paraphrase).await);
        for (other, (_, others)) in asked.into_iter().enumerate() {
            let distance = product(&question, &one(others).await);
            assert!(other == index || distance + 0.1 < own, "{paraphrase}: {own}, {others}: {distance}");
        }
    }
}

#[tokio::test]
async fn what_the_model_cannot_take_is_refused_and_says_why() {
    let refused = async |inputs, dimensions| {
        let error = embed(inputs, dimensions).await.unwrap_err();
        (error.fault, error.message)
    };
    // " a" is one token, and so is each after it.
    let fits = "a ".repeat(MAX_TOKENS - 1) + "a";
    let embedded = embed(vec![text(&fits)], None).await.unwrap();
    assert_eq!(embedded.usage.input_tokens, MAX_TOKENS as u64);
    let (fault, message) = refused(vec![text(fits + " a")], None).await;
    assert_eq!(fault, Fault::ContextTooLong);
    assert!(message.contains("8193") && message.contains("8192"), "{message}");
    // So long that nobody looks for its tokens.
    assert_eq!(refused(vec![text("a ".repeat(10_000_000))], None).await.0, Fault::ContextTooLong);
    assert_eq!(refused(vec![EmbedInput::Tokens(vec![1; MAX_TOKENS + 1])], None).await.0, Fault::ContextTooLong);
    let (fault, message) = refused(vec![EmbedInput::Tokens(vec![5, 32_000])], None).await;
    assert_eq!(fault, Fault::InvalidRequest);
    assert!(message.contains("32000"), "{message}");
    for dimensions in [0, 257] {
        let (fault, message) = refused(vec![text("a")], Some(dimensions)).await;
        assert_eq!(fault, Fault::InvalidRequest);
        assert!(message.contains("256"), "{message}");
    }
    let other = EmbedRequest { model: "other".into(), ..request(vec![text("a")], None) };
    assert_eq!(model().embed(other).await.unwrap_err().fault, Fault::UnknownModel);
}

#[tokio::test]
async fn a_call_of_many_texts_lets_others_run_between_them() {
    let model = model();
    model.embed(request(vec![text("a")], None)).await.unwrap();
    let words = text("a ".repeat(MAX_TOKENS / 2));
    let mut call = pin!(model.embed(request(vec![words; 20], None)));
    let mut turns = 0;
    let embedded = loop {
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(embedded) => break embedded.unwrap(),
            Poll::Pending => turns += 1,
        }
    };
    assert_eq!((embedded.vectors.len(), turns), (20, 20));
}

#[tokio::test]
async fn a_chat_is_refused_in_words_that_say_what_the_model_does() {
    let request = Request {
        model: NAME.into(),
        input: br#"{"messages":[]}"#.as_slice().into(),
        committed: String::new(),
        timeouts: Timeouts::default(),
        trace: None,
    };
    let error = model().run(request).await.err().unwrap();
    assert_eq!(error.fault, Fault::InvalidRequest);
    assert!(error.message.contains("only embeds"), "{}", error.message);
    let models = model().models().await.unwrap();
    assert_eq!((models[0].name.as_str(), models[0].context_tokens), (NAME, Some(8192)));
}

#[tokio::test]
async fn files_that_are_not_there_are_missed_at_the_start_and_damaged_ones_at_the_first_use() {
    let missing = WordLlama::new(NAME, "/nonexistent/model.safetensors").err().unwrap().to_string();
    assert!(missing.contains("fetch-model.sh"), "{missing}");
    let error = WordLlama::new(NAME, weights().with_file_name("tokenizer.json")).unwrap();
    let error = error.embed(request(vec![text("a")], None)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Broken);
    assert!(error.message.contains("safetensors"), "{}", error.message);
}
