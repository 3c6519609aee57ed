//! What comes out of a guarded answer, whatever the chunks in which the model says it.

use super::*;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tidewire_core::guard::{Action, Rule, Spec};
use tidewire_core::port::NoMeter;
use tidewire_core::{Durability, TaskId, TenantId, Timestamp, Usage};

fn guard() -> Guard {
    let task = TaskRef { tenant: TenantId(1), task: TaskId::new(Timestamp::from_millis(1), 1, Durability::Durable) };
    Guard { task, route: "r".to_owned(), meter: Arc::new(NoMeter) }
}

fn rules(action: Action) -> Arc<Rules> {
    let rule = Rule::new(Spec {
        name: "aws".to_owned(),
        pattern: Err("aws_access_key".to_owned()),
        place: Place::Both,
        action,
        replacement: Some("\"key\"".to_owned()),
        routes: Vec::new(),
    });
    Arc::new(Rules::new(vec![Arc::new(rule.unwrap())], 64).unwrap())
}

/// Raised when the model stops.
struct Stopped(Arc<AtomicBool>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn masked(action: Action, said: Vec<Chunk>) -> Vec<Result<Chunk, BackendError>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let model = Stopped(stopped.clone());
    let chunks = stream::iter(said.into_iter().map(Ok)).chain(stream::pending());
    let chunks = chunks.map(move |chunk| {
        let _runs = &model;
        chunk
    });
    let mut masking = Masking::new(Box::pin(chunks), rules(action), "", guard());
    let mut out = Vec::new();
    while let Some(chunk) = masking.next().await {
        let blocked = chunk.is_err();
        out.push(chunk);
        assert!(!blocked || stopped.load(Ordering::SeqCst), "the upstream is closed when the error comes");
    }
    out
}

fn joined_of(out: &[Result<Chunk, BackendError>], of: impl Fn(&Chunk) -> Option<&Bytes>) -> String {
    let pieces = out.iter().filter_map(|chunk| of(chunk.as_ref().unwrap()));
    pieces.map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
}

fn text(chunk: &Chunk) -> Option<&Bytes> {
    if let Chunk::Text(text) = chunk { Some(text) } else { None }
}

fn reasoning(chunk: &Chunk) -> Option<&Bytes> {
    if let Chunk::Reasoning(text) = chunk { Some(text) } else { None }
}

/// The arguments of each call, joined as clients join them.
fn arguments(out: &[Result<Chunk, BackendError>], index: u64) -> String {
    let mut all = String::new();
    for chunk in out {
        let Ok(Chunk::ToolCall(json)) = chunk else { continue };
        let calls: Vec<Value> = serde_json::from_slice(json).unwrap();
        for call in calls.iter().filter(|call| call["index"] == index) {
            all.push_str(call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default());
        }
    }
    all
}

const KEY: &str = "AKIAABCDEFGHIJKLMNOP";

fn finish() -> Chunk {
    Chunk::Finish("stop".into())
}

fn piece(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn a_key_in_text_reasoning_or_arguments_is_masked_wherever_it_is_cut() {
    let said = format!("é {KEY}, x");
    for cut in (0..=said.len()).filter(|&at| said.is_char_boundary(at)) {
        let (first, second) = said.split_at(cut);
        let call = |arguments: &str, more: bool| {
            let mut call = json!({ "index": 0, "function": { "arguments": arguments } });
            if more {
                call["id"] = json!("call-1");
                call["function"]["name"] = json!("look");
            }
            // Another call, between the pieces of the first.
            let other = json!({ "index": 1, "function": { "arguments": "{}" } });
            Chunk::ToolCall(json!([call, other]).to_string().into())
        };
        let usage = Usage { output_tokens: 9, ..Usage::default() };
        let said = vec![
            Chunk::Reasoning(piece(first)),
            Chunk::Reasoning(piece(second)),
            Chunk::Text(piece(first)),
            call(first, true),
            call(second, false),
            Chunk::Text(piece(second)),
            Chunk::Usage(usage),
            finish(),
        ];
        let out = masked(Action::Mask, said).await;
        assert_eq!(joined_of(&out, text), "é \"key\", x", "text, cut at {cut}");
        assert_eq!(joined_of(&out, reasoning), "é \"key\", x", "reasoning, cut at {cut}");
        assert_eq!(arguments(&out, 0), "é \\\"key\\\", x", "arguments, cut at {cut}");
        assert_eq!(arguments(&out, 1), "{}{}", "the other call, cut at {cut}");
        assert_eq!(out.last().unwrap(), &Ok(finish()));
        assert!(out.contains(&Ok(Chunk::Usage(usage))), "the model's own count stays");
        let whole = format!("{out:?}");
        assert!(whole.contains("call-1") && whole.contains("look"));
    }
}

#[tokio::test]
async fn log_probabilities_come_with_their_text_and_never_for_a_hidden_one() {
    let logprobs = |token: &str| Chunk::Logprobs(json!([{ "token": token, "top_logprobs": [] }]).to_string().into());
    let said = ["so ", "AKIA", "ABCDEFGHIJKLMNOP", ", and ", "AK", "E", "."];
    let chunks = said.iter().flat_map(|token| [Chunk::Text(piece(token)), logprobs(token)]).chain([finish()]);
    let out = masked(Action::Mask, chunks.collect()).await;
    assert_eq!(joined_of(&out, text), "so \"key\", and AKE.");
    let told = joined_of(&out, |chunk| if let Chunk::Logprobs(json) = chunk { Some(json) } else { None });
    assert!(!told.contains("AKIA") && !told.contains("ABCD"), "{told}");
    let tokens: Vec<&str> = told.split("\"token\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(tokens, ["so ", ", and ", "AK", "E", "."]);
}

#[tokio::test]
async fn a_blocked_answer_ends_with_the_rules_name_and_the_model_stops() {
    let said = vec![Chunk::Text(piece("it is AKIAABCDEF")), Chunk::Text(piece("GHIJKLMNOP, you see")), finish()];
    let out = masked(Action::Block, said).await;
    assert_eq!(joined_of(&out[..1], text), "it is ");
    let error = out.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.fault, error.message.as_str()), (Fault::Blocked, "the rule `aws` forbids this answer"));
    assert!(!error.fault.is_passing() && error.fault.is_ours());
}

#[tokio::test]
async fn an_answer_that_breaks_off_tells_nothing_that_was_held() {
    let broken = BackendError::new(Fault::Broken, "gone");
    let said = stream::iter([Ok(Chunk::Text(piece("so AKIAABC"))), Err(broken.clone())]);
    let out: Vec<_> = Masking::new(Box::pin(said), rules(Action::Mask), "", guard()).collect().await;
    assert_eq!(out, [Ok(Chunk::Text(piece("so "))), Err(broken)]);
}
