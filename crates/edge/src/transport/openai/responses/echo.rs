//! A request as it is given back in its response: told by the chat JSON that it became, so that it is kept once, and gone
//! once that is erased.

use super::object::Kept;
use super::request::SAME;
use crate::transport::openai::raw::Fields;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire_core::Task;

/// The response's fields that come from its request.
pub(super) fn of(task: &Task, kept: &Kept) -> Fields {
    let chat = Fields::read(&task.spec.input).unwrap_or_default();
    let mut echo = kept.response.clone();
    for name in SAME {
        if let Some(value) = chat.raw(name) {
            echo.set_raw(name, value);
        }
    }
    if let Some(tokens) = chat.raw("max_completion_tokens") {
        echo.set_raw("max_output_tokens", tokens);
    }
    if let Some(choice) = chat.raw("tool_choice") {
        echo.set_raw("tool_choice", choice);
        if let Ok(Some(choice)) = chat.object("tool_choice") {
            let name = choice.object("function").ok().flatten().and_then(|function| function.get::<Value>("name").ok());
            echo.set("tool_choice", &json!({ "type": "function", "name": name }));
        }
    }
    let tools: Vec<Fields> = chat.list("tools").unwrap_or_default().iter().map(|tool| function(tool)).collect();
    echo.set("tools", &tools);
    echo.set("text", &text(&chat));
    let effort = chat.get::<Value>("reasoning_effort").ok().flatten();
    let summary = echo.get::<Value>("summary").ok().flatten();
    echo.remove("summary");
    echo.set("reasoning", &json!({ "effort": effort, "summary": summary }));
    let first = chat.list("messages").unwrap_or_default().into_iter().next().filter(|_| kept.instructed);
    let first = first.and_then(|first| Fields::read(first.get().as_bytes()).ok());
    if let Some(instructions) = first.as_ref().and_then(|first| first.raw("content")) {
        echo.set_raw("instructions", instructions);
    }
    match task.spec.metadata.as_ref().and_then(|metadata| RawValue::from_string(metadata.clone()).ok()) {
        Some(metadata) => echo.set_raw("metadata", &metadata),
        None => echo.set("metadata", &json!({})),
    }
    // OpenAI's clients read these, whether the request had them or not.
    echo.or_set("parallel_tool_calls", &true);
    echo.or_set("tool_choice", &"auto");
    echo.or_set("truncation", &"disabled");
    for name in ["instructions", "max_output_tokens", "previous_response_id", "temperature", "top_p", "user"] {
        echo.or_set(name, &Value::Null);
    }
    echo
}

/// A chat's tool as a response has it: its fields lie a level higher.
fn function(tool: &RawValue) -> Fields {
    let tool = Fields::read(tool.get().as_bytes()).unwrap_or_default();
    let mut function = tool.object("function").ok().flatten().unwrap_or_default();
    function.set("type", &"function");
    function.or_set("parameters", &Value::Null);
    function.or_set("strict", &false);
    function
}

fn text(chat: &Fields) -> Fields {
    let mut text = Fields::default();
    if let Some(verbosity) = chat.raw("verbosity") {
        text.set_raw("verbosity", verbosity);
    }
    let Ok(Some(format)) = chat.object("response_format") else {
        text.set("format", &json!({ "type": "text" }));
        return text;
    };
    let mut told = format.object("json_schema").ok().flatten().unwrap_or_default();
    if let Some(kind) = format.raw("type") {
        told.set_raw("type", kind);
    }
    text.set("format", &told);
    text
}
