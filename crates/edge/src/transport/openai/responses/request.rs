//! What a request for a response asks for, said once in chat JSON. Nothing that would change the answer is passed over: a
//! field is translated, passed on, kept to be given back, or refused.

use super::items;
use crate::refusal::Refusal;
use crate::transport::body;
use crate::transport::openai::raw::{self, Fields};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire_proto::Code;

/// Fields that mean the same in a chat, and are given back too.
pub(super) const SAME: &[&str] = &[
    "temperature",
    "top_p",
    "top_logprobs",
    "user",
    "parallel_tool_calls",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Fields that only describe the request: kept and given back.
const KEPT: &[&str] = &["metadata", "store", "background", "previous_response_id", "max_tool_calls"];

/// Fields that are read here.
const READ: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "text",
    "reasoning",
    "tools",
    "tool_choice",
    "include",
    "truncation",
];

/// Fields that ask for what this server has not, or that are a chat's and have another name here.
const REFUSED: &[(&str, &str)] = &[
    ("conversation", "go on with `previous_response_id`"),
    ("prompt", "there are no stored prompts: send `input` and `instructions`"),
    ("context_management", "nothing is compacted: send what the model is to read"),
    ("moderation", "the operator's guardrails are set by the operator"),
    ("image", "images are not made here"),
    ("access_programs", "this server has none"),
    ("background_options", "this server has none"),
    ("prompt_cache_options", "this server has none"),
    ("messages", "its name is `input` here"),
    ("n", "a response is one answer"),
    ("max_tokens", "its name is `max_output_tokens` here"),
    ("max_completion_tokens", "its name is `max_output_tokens` here"),
    ("response_format", "its name is `text.format` here"),
    ("reasoning_effort", "its name is `reasoning.effort` here"),
    ("functions", "its name is `tools` here"),
];

/// A request, translated.
pub(super) struct Asked {
    /// Chat JSON without its messages.
    pub(super) chat: Fields,
    /// What the request says itself, as messages.
    pub(super) own: Vec<Value>,
    pub(super) instructions: Option<Value>,
    pub(super) previous: Option<String>,
    pub(super) stream: bool,
    pub(super) background: bool,
    /// It can be looked at later.
    pub(super) store: bool,
    pub(super) metadata: Option<Box<RawValue>>,
    /// What is to be given back and is neither in the chat nor in the task.
    pub(super) given: Fields,
}

/// A tool, as the request has it.
#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ChatTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<&'a RawValue>,
}

/// `text.format`, whose fields lie a level deeper in a chat.
#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: Named<'a>,
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

impl Asked {
    /// Reads a request.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::read(bytes).map_err(|error| body::refused(bytes, &error))?;
        for (name, instead) in REFUSED {
            if fields.has(name) {
                return Err(invalid(format!("`{name}` is not taken: {instead}")));
            }
        }
        if fields.get::<String>("truncation")?.is_some_and(|truncation| truncation != "disabled") {
            return Err(invalid("`truncation` is `disabled`: nothing that the model is to read is left out"));
        }
        let input: Value = fields.get("input")?.ok_or_else(|| invalid("a response needs `input`"))?;
        let mut asked = Self {
            own: items::messages(&input)?,
            instructions: fields.get::<Value>("instructions")?.map(items::instructions).transpose()?,
            previous: fields.get("previous_response_id")?,
            stream: fields.get("stream")?.unwrap_or(false),
            background: fields.get("background")?.unwrap_or(false),
            store: fields.get("store")?.unwrap_or(true),
            metadata: fields.raw("metadata").map(RawValue::to_owned),
            chat: Fields::default(),
            given: Fields::default(),
        };
        if asked.background && !asked.store {
            return Err(invalid("a background response is looked at later: it needs `store`"));
        }
        if let Some(calls) = fields.get::<u64>("max_tool_calls")? {
            asked.given.set("max_tool_calls", &calls);
        }
        if let Some(previous) = &asked.previous {
            asked.given.set("previous_response_id", previous);
        }
        asked.given.set("background", &asked.background);
        asked.given.set("store", &asked.store);
        asked.translate(&fields)?;
        Ok(asked)
    }

    fn translate(&mut self, fields: &Fields) -> Result<(), Refusal> {
        for (name, value) in fields.each() {
            // What the API does not have is for the backend, as it is in a chat.
            if !KEPT.contains(&name) && !READ.contains(&name) {
                self.chat.set_raw(name, value);
            }
        }
        for (name, theirs) in [("model", "model"), ("max_output_tokens", "max_completion_tokens")] {
            if let Some(value) = fields.raw(name) {
                self.chat.set_raw(theirs, value);
            }
        }
        for included in fields.get::<Vec<String>>("include")?.unwrap_or_default() {
            match included.as_str() {
                "message.output_text.logprobs" => self.chat.set("logprobs", &true),
                // There is no reasoning item with one: nothing is left out of the answer.
                "reasoning.encrypted_content" => {}
                other => return Err(invalid(format!("`include` of `{other}` is not taken"))),
            }
        }
        if fields.has("top_logprobs") {
            self.chat.set("logprobs", &true);
        }
        if let Some(text) = fields.object("text")? {
            self.text(&text)?;
        }
        if let Some(reasoning) = fields.object("reasoning")? {
            if let Some(effort) = reasoning.raw("effort") {
                self.chat.set_raw("reasoning_effort", effort);
            }
            for (name, value) in reasoning.each() {
                match (name, value.get()) {
                    ("effort", _) => {}
                    // What the model thought is shown as it came; nobody sums it up.
                    ("summary" | "generate_summary", "\"auto\"" | "\"concise\"" | "\"detailed\"") => {
                        self.given.set_raw("summary", value);
                    }
                    _ => return Err(invalid(format!("`reasoning.{name}` of {value} is not taken"))),
                }
            }
        }
        self.tools(fields)
    }

    fn text(&mut self, text: &Fields) -> Result<(), Refusal> {
        if let Some(verbosity) = text.raw("verbosity") {
            self.chat.set_raw("verbosity", verbosity);
        }
        let Some(format) = text.raw("format") else { return Ok(()) };
        let format: Format<'_> = serde_json::from_str(format.get())
            .map_err(|error| invalid(format!("`text.format` can't be read: {error}")))?;
        match format.kind.as_str() {
            "text" => {}
            "json_object" => self.chat.set("response_format", &json!({ "type": "json_object" })),
            "json_schema" => {
                let Format { name, description, schema, strict, .. } = format;
                let json_schema = Named { name, description, schema, strict };
                self.chat.set("response_format", &ResponseFormat { kind: "json_schema", json_schema });
            }
            other => return Err(invalid(format!("`text.format` of the type `{other}` is not taken"))),
        }
        Ok(())
    }

    fn tools(&mut self, fields: &Fields) -> Result<(), Refusal> {
        let tools = fields.list("tools")?;
        let mut all = Vec::with_capacity(tools.len());
        for (index, tool) in tools.iter().enumerate() {
            let tool: Tool<'_> = serde_json::from_str(tool.get())
                .map_err(|error| invalid(format!("`tools[{index}]` can't be read: {error}")))?;
            let name = match (tool.kind.as_str(), tool.name) {
                ("function", Some(name)) => name,
                ("function", None) => return Err(invalid(format!("`tools[{index}]` has no `name`"))),
                (kind, _) => {
                    let message = format!(
                        "`tools[{index}]` is of the type `{kind}`; this server takes tools of the type `function`"
                    );
                    return Err(invalid(message));
                }
            };
            let (description, parameters, strict) = (tool.description, tool.parameters, tool.strict);
            all.push(ChatTool { kind: "function", function: Function { name, description, parameters, strict } });
        }
        if !all.is_empty() {
            self.chat.set("tools", &all);
        }
        let Some(choice) = fields.get::<Value>("tool_choice")? else { return Ok(()) };
        let theirs = match (&choice, choice.get("type").and_then(Value::as_str), choice.get("name")) {
            (Value::String(_), ..) => choice,
            (_, Some("function"), Some(name)) => json!({ "type": "function", "function": { "name": name } }),
            _ => return Err(invalid("`tool_choice` is `auto`, `none`, `required`, or a function by its name")),
        };
        self.chat.set("tool_choice", &theirs);
        Ok(())
    }

    /// The chat JSON, after what was said before.
    pub(super) fn chat(&self, before: &[Value]) -> Vec<u8> {
        let mut chat = self.chat.clone();
        let messages: Vec<&Value> = self.instructions.iter().chain(before).chain(&self.own).collect();
        chat.set("messages", &messages);
        raw::bytes(&chat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(request: &str) -> String {
        String::from_utf8(Asked::read(request.as_bytes()).unwrap().chat(&[])).unwrap()
    }

    fn refused(request: &str) -> String {
        Asked::read(request.as_bytes()).err().unwrap().0.message
    }

    #[test]
    fn a_request_is_said_in_chat_json_and_a_schema_keeps_its_bytes() {
        let request = r#"{"model":"m","input":"hi","instructions":"Be brief.","max_output_tokens":7,"seed":3,"x":{"z":1,"a":2},
            "text":{"format":{"type":"json_schema","name":"s","strict":true,"schema":{"z":1,"a":1.00}}},
            "reasoning":{"effort":"low","summary":"auto"},"tool_choice":{"type":"function","name":"f"},
            "tools":[{"type":"function","name":"f","parameters":{"z":{},"a":{}},"strict":true}],
            "metadata":{"a":"b"},"store":false,"stream":true,"temperature":null}"#;
        let said: Value = serde_json::from_str(&chat(request)).unwrap();
        assert_eq!(
            said,
            json!({ "model": "m", "max_completion_tokens": 7, "seed": 3, "x": { "z": 1, "a": 2 }, "reasoning_effort": "low",
                "response_format": { "type": "json_schema",
                    "json_schema": { "name": "s", "strict": true, "schema": { "z": 1, "a": 1.0 } } },
                "tool_choice": { "type": "function", "function": { "name": "f" } },
                "tools": [{ "type": "function",
                    "function": { "name": "f", "parameters": { "z": {}, "a": {} }, "strict": true } }],
                "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }] })
        );
        assert!(chat(request).contains(r#""schema":{"z":1,"a":1.00}"#), "a schema's order is the order of the answer");
    }

    #[test]
    fn what_would_change_the_answer_is_refused_where_it_can_not_be_had() {
        assert!(refused(r#"{"input":"a","conversation":"c"}"#).contains("previous_response_id"));
        assert!(refused(r#"{"input":"a","truncation":"auto"}"#).contains("truncation"));
        assert!(refused(r#"{"input":"a","tools":[{"type":"web_search"}]}"#).contains("web_search"));
        assert!(refused(r#"{"input":"a","include":["file_search_call.results"]}"#).contains("file_search_call"));
        assert!(refused(r#"{"input":"a","background":true,"store":false}"#).contains("store"));
        assert!(refused(r#"{"messages":[]}"#).contains("input"));
        assert!(refused("{}").contains("input"));
        assert!(refused(r#"{"input":"a","reasoning":{"budget":1}}"#).contains("budget"));
    }
}
