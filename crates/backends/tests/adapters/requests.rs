//! What is sent: one conversation in each API's words, and what differs from model to model.

use super::runs::request;
use serde_json::{Value, json};
use tidewire_backends::{anthropic, gemini};
use tidewire_core::port::{BackendError, Fault, Request};

type Body = fn(&Request) -> Result<String, BackendError>;

fn sent(body: Body, model: &str, input: &str) -> Value {
    let body = body(&Request { model: model.into(), ..request(input) }).unwrap();
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// What is sent for one message with these fields beside it.
fn with(body: Body, model: &str, fields: &Value) -> Value {
    let mut input = json!({"messages": [{"role": "user", "content": "a"}]});
    input.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    sent(body, model, &input.to_string())
}

#[test]
fn one_conversation_in_the_words_of_each() {
    let conversation = include_str!("../transcripts/conversation.json");
    let expected: Value = serde_json::from_str(include_str!("../transcripts/conversation_anthropic.json")).unwrap();
    assert_eq!(sent(anthropic::body, "claude-sonnet-4-5", conversation), expected);
    let expected: Value = serde_json::from_str(include_str!("../transcripts/conversation_gemini.json")).unwrap();
    assert_eq!(sent(gemini::body, "gemini-2.5-flash", conversation), expected);
}

#[test]
fn anthropics_own_fields_pass_as_they_are() {
    let fields = json!({
        "thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5, "mcp_servers": [{"a": 1}],
        "service_tier": "standard_only", "metadata": {"user_id": "u", "other": "x"}, "output_config": {"effort": "low"},
        "tool_choice": {"type": "any"}, "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    });
    let sent = with(anthropic::body, "claude-sonnet-4-5", &fields);
    for name in ["thinking", "top_k", "mcp_servers", "service_tier", "output_config", "tool_choice", "tools"] {
        assert_eq!(sent[name], fields[name], "{name}");
    }
    assert_eq!(sent["metadata"], json!({"user_id": "u"}));
    assert_eq!(
        with(anthropic::body, "claude-sonnet-4-5", &json!({"service_tier": "flex"}))["service_tier"],
        Value::Null
    );
    let parts = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"role": "assistant", "content": "b", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]},
        {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]},
    ]});
    let sent = sent_parts(&parts);
    assert_eq!(sent[0]["content"][0], parts["messages"][0]["content"][0]);
    assert_eq!(sent[1]["content"][0], parts["messages"][1]["thinking_blocks"][0]);
    assert_eq!(sent[2]["content"][0], parts["messages"][2]["content"][0]);
}

fn sent_parts(input: &Value) -> Value {
    sent(anthropic::body, "claude-sonnet-4-5", &input.to_string())["messages"].clone()
}

#[test]
fn anthropics_thinking_is_asked_for_as_the_model_takes_it() {
    let thinking = |model: &str, fields: Value| {
        let sent = with(anthropic::body, model, &fields);
        (sent["thinking"].clone(), sent["output_config"].clone(), sent["temperature"].clone())
    };
    let asked = json!({"reasoning_effort": "high", "temperature": 0.5});
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let effort = json!({"effort": "high"});
    assert_eq!(thinking("claude-opus-4-6", asked.clone()), (adaptive.clone(), effort.clone(), json!(0.5)));
    // From here on there is no temperature.
    assert_eq!(thinking("claude-opus-4-8", asked.clone()), (adaptive, effort, Value::Null));
    let budget = json!({"type": "enabled", "budget_tokens": 16384});
    assert_eq!(thinking("claude-sonnet-4-5", asked.clone()), (budget, Value::Null, Value::Null));
    assert_eq!(thinking("claude-3-5-haiku-latest", asked).0, Value::Null);
    let short = json!({"reasoning_effort": "high", "max_tokens": 3000});
    assert_eq!(thinking("claude-sonnet-4-5", short).0["budget_tokens"], 2999);
    let tiny = json!({"reasoning_effort": "high", "max_tokens": 100});
    assert_eq!(thinking("claude-sonnet-4-5", tiny).0, Value::Null);
    let none = json!({"reasoning_effort": "none"});
    assert_eq!(thinking("claude-opus-4-6", none.clone()).0, json!({"type": "disabled"}));
    assert_eq!(thinking("claude-sonnet-4-5", none).0, Value::Null);
    // Thoughts that the client did not keep can't be shown again.
    let called = json!({"reasoning_effort": "high", "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "x", "content": ""},
    ]});
    assert_eq!(thinking("claude-sonnet-4-5", called).0, Value::Null);
}

#[test]
fn an_answer_to_anthropic_always_has_a_limit() {
    let limit = |model: &str, fields: Value| with(anthropic::body, model, &fields)["max_tokens"].clone();
    assert_eq!(limit("claude-3-haiku-20240307", json!({})), 4096);
    assert_eq!(limit("claude-3-5-sonnet-latest", json!({})), 8192);
    assert_eq!(limit("claude-opus-4-6", json!({})), 32_000);
    assert_eq!(limit("claude-opus-4-6", json!({"max_tokens": 5})), 5);
    assert_eq!(limit("claude-opus-4-6", json!({"max_tokens": 5, "max_completion_tokens": 6})), 6);
}

#[test]
fn geminis_own_fields_pass_and_count_more() {
    let fields = json!({
        "safetySettings": [{"category": "x"}], "cachedContent": "cachedContents/1", "temperature": 0.5, "max_tokens": 9,
        "generationConfig": {"temperature": 1.25, "mediaResolution": "LOW"}, "tools": [{"googleSearch": {}}],
        "toolConfig": {"retrievalConfig": {}},
    });
    let sent = with(gemini::body, "gemini-2.5-flash", &fields);
    for name in ["safetySettings", "cachedContent", "tools", "toolConfig"] {
        assert_eq!(sent[name], fields[name], "{name}");
    }
    let config = json!({"maxOutputTokens": 9, "temperature": 1.25, "mediaResolution": "LOW"});
    assert_eq!(sent["generationConfig"], config);
}

#[test]
fn geminis_thinking_and_signatures_follow_the_generation() {
    let config = |model: &str, effort: &str| {
        with(gemini::body, model, &json!({"reasoning_effort": effort}))["generationConfig"]["thinkingConfig"].clone()
    };
    assert_eq!(config("gemini-2.5-flash", "medium"), json!({"thinkingBudget": 8192, "includeThoughts": true}));
    assert_eq!(config("gemini-2.5-flash", "none"), json!({"thinkingBudget": 0}));
    assert_eq!(config("gemini-3-pro-preview", "medium"), json!({"thinkingLevel": "medium", "includeThoughts": true}));
    assert_eq!(config("models/gemini-3.1-pro", "none"), json!({"thinkingLevel": "low"}));
    let called = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "y", "content": [{"type": "text", "text": "[1]"}]},
    ]});
    let parts = |model: &str| sent(gemini::body, model, &called.to_string())["contents"].clone();
    assert_eq!(parts("gemini-2.5-flash")[1]["parts"][0]["thoughtSignature"], Value::Null);
    let newer = parts("gemini-3-pro-preview");
    assert_eq!(newer[1]["parts"][0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(newer[1]["parts"][1]["thoughtSignature"], Value::Null);
    assert_eq!(newer[2]["parts"][0]["functionResponse"]["response"], json!({"result": "[1]"}));
    assert_eq!(newer[2]["parts"][0]["functionResponse"]["name"], "g");
}

#[test]
fn choices_of_tools_are_translated() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let choice = |body: Body, model: &str, name: &str, choice: Value| {
        with(body, model, &json!({"tools": tools, "tool_choice": choice}))[name].clone()
    };
    let named = json!({"type": "function", "function": {"name": "f"}});
    let of = |value| choice(anthropic::body, "claude-opus-4-6", "tool_choice", value);
    assert_eq!(of(json!("none")), json!({"type": "none"}));
    assert_eq!(of(json!("required")), json!({"type": "any"}));
    assert_eq!(of(named.clone()), json!({"type": "tool", "name": "f"}));
    let of = |value| choice(gemini::body, "gemini-2.5-pro", "toolConfig", value)["functionCallingConfig"].clone();
    assert_eq!(of(json!("none")), json!({"mode": "NONE"}));
    assert_eq!(of(json!("required")), json!({"mode": "ANY"}));
    assert_eq!(of(named), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
}

#[test]
fn what_an_api_does_not_have_is_refused() {
    let refused = |body: Body, model: &str, input: &str| {
        let error = body(&Request { model: model.into(), ..request(input) }).unwrap_err();
        assert_eq!(error.fault, Fault::InvalidRequest, "{input}");
    };
    for input in [
        "no",
        "[]",
        "{}",
        r#"{"messages":1}"#,
        r#"{"messages":[1]}"#,
        r#"{"messages":[{"role":"function","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":1}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,x"}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
        r#"{"messages":[{"role":"tool","content":"a"}]}"#,
        r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"[1"}}]}]}"#,
        r#"{"messages":[],"n":2}"#,
        r#"{"messages":[],"response_format":{"type":"json_schema"}}"#,
        r#"{"messages":[],"tools":[1]}"#,
    ] {
        refused(anthropic::body, "claude-opus-4-6", input);
        refused(gemini::body, "gemini-2.5-pro", input);
    }
    for input in [
        r#"{"messages":[],"logprobs":true}"#,
        r#"{"messages":[],"response_format":{"type":"json_object"}}"#,
        r#"{"messages":[],"max_tokens":"many"}"#,
    ] {
        refused(anthropic::body, "claude-opus-4-6", input);
    }
}
