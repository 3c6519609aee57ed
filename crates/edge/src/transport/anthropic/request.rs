//! A Messages request, said once in chat JSON. What only Anthropic's API has goes along under `messages_api`, which other
//! backends leave out: each thing in it is there in a chat's words too, as near as those come.

use super::blocks;
use crate::refusal::Refusal;
use crate::transport::body;
use crate::transport::openai::raw::{self, Fields};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire_proto::Code;

/// Fields that have a chat's words.
const READ: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stop_sequences",
    "stream",
    "tools",
    "tool_choice",
    "metadata",
    "thinking",
    "output_config",
];

/// Up to how many tokens of thought an effort stands for, as Anthropic's adapter reads them the other way round.
const EFFORTS: [(u64, &str); 2] = [(2_048, "low"), (8_192, "medium")];

/// A request, translated.
pub(super) struct Asked {
    pub(super) input: Vec<u8>,
    pub(super) stream: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<&'a RawValue>,
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

impl Asked {
    /// Reads a request. One whose tokens are counted needs no `max_tokens`.
    pub(super) fn read(bytes: &[u8], answered: bool) -> Result<Self, Refusal> {
        let fields = Fields::read(bytes).map_err(|error| body::refused(bytes, &error))?;
        let mut chat = Fields::default();
        for (name, value) in fields.each() {
            if !READ.contains(&name) {
                chat.set_raw(name, value);
            }
        }
        if let Some(model) = fields.raw("model") {
            chat.set_raw("model", model);
        }
        match fields.get::<u64>("max_tokens")? {
            Some(0) => return Err(invalid("`max_tokens` is at least 1")),
            Some(tokens) => chat.set("max_completion_tokens", &tokens),
            None if answered => return Err(invalid("`max_tokens` is missing")),
            None => {}
        }
        if let Some(stop) = fields.raw("stop_sequences") {
            chat.set_raw("stop", stop);
        }
        if let Some(user) = fields.object("metadata")?.as_ref().and_then(|metadata| metadata.raw("user_id")) {
            chat.set_raw("user", user);
        }
        let mut messages = Vec::new();
        if let Some(system) = fields.raw("system") {
            messages.push(blocks::system(system)?);
        }
        let turns = fields.list("messages")?;
        if turns.is_empty() {
            return Err(invalid("`messages` is empty"));
        }
        for (index, turn) in turns.iter().enumerate() {
            let named = |refusal: Refusal| invalid(format!("`messages[{index}]`: {}", refusal.0.message));
            blocks::turn(&mut messages, turn).map_err(named)?;
        }
        chat.set("messages", &messages);
        tools(&fields, &mut chat)?;
        let own = thinking(&fields, &mut chat)?;
        chat.set("messages_api", &own);
        Ok(Self { input: raw::bytes(&chat), stream: fields.get("stream")?.unwrap_or(false) })
    }
}

fn tools(fields: &Fields, chat: &mut Fields) -> Result<(), Refusal> {
    let mut tools: Vec<Box<RawValue>> = Vec::new();
    for (index, tool) in fields.list("tools")?.into_iter().enumerate() {
        let named = |message: &str| invalid(format!("`tools[{index}]`: {message}"));
        let read = Fields::read(tool.get().as_bytes()).map_err(|_| named("it is no object"))?;
        if read.get::<String>("type")?.is_some_and(|kind| kind != "custom") {
            // Anthropic's own tools, which only its API runs: another one says that it has none such.
            tools.push(tool);
            continue;
        }
        let function = Function {
            name: read.raw("name").ok_or_else(|| named("it has no `name`"))?,
            description: read.raw("description"),
            parameters: read.raw("input_schema"),
            strict: read.raw("strict"),
        };
        let tool = Tool { kind: "function", function, cache_control: read.raw("cache_control") };
        tools.extend(serde_json::value::to_raw_value(&tool));
    }
    if !tools.is_empty() {
        chat.set("tools", &tools);
    }
    let Some(choice) = fields.get::<Value>("tool_choice")? else { return Ok(()) };
    let theirs = match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("auto"), _) => json!("auto"),
        (Some("any"), _) => json!("required"),
        (Some("none"), _) => json!("none"),
        (Some("tool"), Some(name)) => json!({ "type": "function", "function": { "name": name } }),
        _ => return Err(invalid("`tool_choice` is of the type `auto`, `any`, `none`, or `tool` with a `name`")),
    };
    chat.set("tool_choice", &theirs);
    if choice["disable_parallel_tool_use"] == true {
        chat.set("parallel_tool_calls", &false);
    }
    Ok(())
}

/// How the model is to think and in what form to answer, in a chat's words; and as the request says it.
fn thinking(fields: &Fields, chat: &mut Fields) -> Result<Fields, Refusal> {
    let mut own = Fields::default();
    let mut effort = None;
    if let Some(config) = fields.object("output_config")? {
        effort = config.get::<String>("effort")?;
        let mut rest = Fields::default();
        for (name, value) in config.each().filter(|(name, _)| *name != "format") {
            rest.set_raw(name, value);
        }
        own.set("output_config", &rest);
        if let Some(format) = config.object("format")? {
            let mut schema = Fields::default();
            schema.set("name", &"answer");
            if let Some(raw) = format.raw("schema") {
                schema.set_raw("schema", raw);
            }
            let mut asked = Fields::default();
            asked.set("type", &"json_schema");
            asked.set("json_schema", &schema);
            chat.set("response_format", &asked);
        }
    }
    if let Some(thinking) = fields.raw("thinking") {
        own.set_raw("thinking", thinking);
        let said: Value = fields.get("thinking")?.unwrap_or_default();
        effort = match said["type"].as_str() {
            Some("enabled") => {
                let budget = said["budget_tokens"].as_u64().unwrap_or(u64::MAX);
                let fitting = EFFORTS.iter().find(|(most, _)| budget <= *most).map_or("high", |(_, effort)| *effort);
                effort.or_else(|| Some(fitting.to_owned()))
            }
            Some("adaptive") => effort.or_else(|| Some("medium".to_owned())),
            Some("disabled") => effort,
            _ => return Err(invalid("`thinking` is of the type `enabled`, `adaptive` or `disabled`")),
        };
    }
    if let Some(effort) = effort {
        // The highest one has another name in a chat.
        chat.set("reasoning_effort", &if effort == "max" { "xhigh" } else { effort.as_str() });
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(request: &Value) -> Value {
        serde_json::from_slice(&Asked::read(request.to_string().as_bytes(), true).unwrap().input).unwrap()
    }

    #[test]
    fn a_request_is_said_in_chat_json() {
        let asked = chat(
            &json!({ "model": "m", "max_tokens": 9, "system": "Be brief.", "stop_sequences": ["x"], "top_k": 5,
            "metadata": { "user_id": "mo" }, "container": "c", "stream": true,
            "messages": [{ "role": "user", "content": "hi" }],
            "tools": [{ "name": "f", "description": "d", "input_schema": { "type": "object" }, "cache_control": { "type": "ephemeral" } },
                { "type": "web_search_20250305", "name": "web_search" }],
            "tool_choice": { "type": "tool", "name": "f", "disable_parallel_tool_use": true },
            "thinking": { "type": "enabled", "budget_tokens": 4096 },
            "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } } }),
        );
        assert_eq!(
            asked,
            json!({ "model": "m", "max_completion_tokens": 9, "stop": ["x"], "top_k": 5, "user": "mo", "container": "c",
                "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }],
                "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" } },
                    "cache_control": { "type": "ephemeral" } }, { "type": "web_search_20250305", "name": "web_search" }],
                "tool_choice": { "type": "function", "function": { "name": "f" } }, "parallel_tool_calls": false,
                "reasoning_effort": "medium",
                "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": { "type": "object" } } },
                "messages_api": { "thinking": { "type": "enabled", "budget_tokens": 4096 }, "output_config": {} } })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |request: &str| Asked::read(request.as_bytes(), true).err().unwrap().0.message;
        assert_eq!(refused(r#"{"messages":[{"role":"user","content":"a"}]}"#), "`max_tokens` is missing");
        assert_eq!(refused(r#"{"max_tokens":1,"messages":[]}"#), "`messages` is empty");
        assert!(refused(r#"{"max_tokens":1,"messages":[{"role":"critic","content":"a"}]}"#).contains("critic"));
        assert!(
            refused(r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"tools":[{}]}"#).contains("tools[0]")
        );
    }
}
