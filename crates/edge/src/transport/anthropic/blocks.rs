//! Turns of content blocks as the messages of a chat. What tools answered is a message of its own there.

use super::request::invalid;
use crate::refusal::Refusal;
use crate::transport::openai::raw::Fields;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

type Json = Box<RawValue>;

/// What the system says.
pub(super) fn system(system: &RawValue) -> Result<Fields, Refusal> {
    let mut message = Fields::default();
    message.set("role", &"system");
    message.set_raw("content", system);
    if !is_text(system) && list(system).is_none() {
        return Err(invalid("`system` is a text or a list of blocks"));
    }
    Ok(message)
}

/// One turn, as one message or several.
pub(super) fn turn(messages: &mut Vec<Fields>, turn: &RawValue) -> Result<(), Refusal> {
    let turn = Fields::read(turn.get().as_bytes()).map_err(|_| invalid("it is no object"))?;
    let role: String = turn.get("role")?.ok_or_else(|| invalid("it has no `role`"))?;
    if !matches!(role.as_str(), "user" | "assistant") {
        return Err(invalid(format!("the role `{role}` is not known: there are `user` and `assistant`")));
    }
    let content = turn.raw("content").ok_or_else(|| invalid("it has no `content`"))?;
    if is_text(content) {
        messages.push(message(&role, content));
        return Ok(());
    }
    let blocks = list(content).ok_or_else(|| invalid("its `content` is a text or a list of blocks"))?;
    if role == "assistant" {
        messages.push(assistant(blocks)?);
        return Ok(());
    }
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        match kind(&block)?.as_str() {
            "tool_result" => messages.push(result(&block)?),
            _ => parts.push(part(block)?),
        }
    }
    if !parts.is_empty() {
        messages.push(message("user", &raw(&parts)));
    }
    Ok(())
}

fn message(role: &str, content: &RawValue) -> Fields {
    let mut message = Fields::default();
    message.set("role", &role);
    message.set_raw("content", content);
    message
}

fn assistant(blocks: Vec<Json>) -> Result<Fields, Refusal> {
    let (mut parts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut text, mut is_plain) = (String::new(), true);
    for block in blocks {
        let fields = fields(&block)?;
        match kind(&block)?.as_str() {
            "text" => {
                text.push_str(&fields.get::<String>("text")?.unwrap_or_default());
                is_plain &= !fields.has("cache_control") && !fields.has("citations");
                parts.push(block);
            }
            "tool_use" => calls.push(call(&fields)?),
            // Thoughts of another model, which this server gave: nobody can check them.
            "thinking" if fields.get::<String>("signature")?.is_none_or(|signature| signature.is_empty()) => {}
            "thinking" | "redacted_thinking" => thoughts.push(block),
            _ => {
                is_plain = false;
                parts.push(block);
            }
        }
    }
    let content = match (parts.is_empty(), is_plain) {
        (true, _) => RawValue::NULL.to_owned(),
        // One text, which every API takes.
        (false, true) => raw(&text),
        (false, false) => raw(&parts),
    };
    let mut message = message("assistant", &content);
    if !calls.is_empty() {
        message.set("tool_calls", &calls);
    }
    if !thoughts.is_empty() {
        message.set("thinking_blocks", &thoughts);
    }
    Ok(message)
}

fn call(block: &Fields) -> Result<Fields, Refusal> {
    let mut function = Fields::default();
    function.set_raw("name", block.raw("name").ok_or_else(|| invalid("a `tool_use` has no `name`"))?);
    function.set("arguments", &block.raw("input").map_or("{}", RawValue::get));
    let mut call = Fields::default();
    call.set_raw("id", block.raw("id").ok_or_else(|| invalid("a `tool_use` has no `id`"))?);
    call.set("type", &"function");
    call.set("function", &function);
    copy(block, &mut call, &["cache_control"]);
    Ok(call)
}

fn result(block: &RawValue) -> Result<Fields, Refusal> {
    let block = fields(block)?;
    let content = match block.raw("content") {
        None => raw(&""),
        Some(text) if is_text(text) => text.to_owned(),
        Some(blocks) => {
            let blocks =
                list(blocks).ok_or_else(|| invalid("a `tool_result`'s content is a text or a list of blocks"))?;
            raw(&blocks.into_iter().map(part).collect::<Result<Vec<_>, _>>()?)
        }
    };
    let mut message = message("tool", &content);
    let id = block.raw("tool_use_id").ok_or_else(|| invalid("a `tool_result` has no `tool_use_id`"))?;
    message.set_raw("tool_call_id", id);
    copy(&block, &mut message, &["is_error", "cache_control"]);
    Ok(message)
}

/// A block as a part of a message. What a chat has not stays as it is: only Anthropic's API takes it.
fn part(block: Json) -> Result<Json, Refusal> {
    let kind = kind(&block)?;
    if !matches!(kind.as_str(), "image" | "document") {
        return Ok(block);
    }
    let read = fields(&block)?;
    let source = read.object("source")?.ok_or_else(|| invalid(format!("an `{kind}` block has no `source`")))?;
    let text = |name: &str| source.get::<String>(name).map(Option::unwrap_or_default);
    let url = match text("type")?.as_str() {
        "base64" => format!("data:{};base64,{}", text("media_type")?, text("data")?),
        "url" => text("url")?,
        "text" if kind == "document" => {
            let mut part = Fields::default();
            part.set("type", &"text");
            part.set("text", &text("data")?);
            copy(&read, &mut part, &["cache_control"]);
            return Ok(raw(&part));
        }
        "file" if kind == "document" => {
            return Ok(raw(&json!({ "type": "file", "file": { "file_id": text("file_id")? } })));
        }
        other => return Err(invalid(format!("an `{kind}` block with a source of the type `{other}` is not taken"))),
    };
    let mut part = Fields::default();
    if kind == "image" {
        part.set("type", &"image_url");
        part.set("image_url", &json!({ "url": url }));
    } else {
        let mut file = Fields::default();
        file.set(if url.starts_with("data:") { "file_data" } else { "file_url" }, &url);
        match read.raw("title") {
            Some(title) => file.set_raw("filename", title),
            None => file.set("filename", &"document.pdf"),
        }
        part.set("type", &"file");
        part.set("file", &file);
    }
    copy(&read, &mut part, &["cache_control"]);
    Ok(raw(&part))
}

fn copy(from: &Fields, to: &mut Fields, names: &[&str]) {
    for name in names {
        if let Some(value) = from.raw(name) {
            to.set_raw(name, value);
        }
    }
}

fn kind(block: &RawValue) -> Result<String, Refusal> {
    fields(block)?.get("type")?.ok_or_else(|| invalid("a block has no `type`"))
}

fn fields(block: &RawValue) -> Result<Fields, Refusal> {
    Fields::read(block.get().as_bytes()).map_err(|_| invalid("a block is no object"))
}

fn is_text(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

fn list(value: &RawValue) -> Option<Vec<Json>> {
    serde_json::from_str(value.get()).ok()
}

fn raw(value: &(impl Serialize + ?Sized)) -> Json {
    // Strings and JSON that was parsed before: it can't fail.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn said(content: &Value, role: &str) -> Value {
        let mut messages = Vec::new();
        let turned = turn(&mut messages, &raw(&json!({ "role": role, "content": content })));
        assert!(turned.is_ok());
        serde_json::from_str(raw(&messages).get()).unwrap()
    }

    #[test]
    fn what_tools_answered_comes_before_what_the_user_says() {
        let content = json!([
            { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "7 m" }], "is_error": true },
            { "type": "text", "text": "and now?", "cache_control": { "type": "ephemeral" } },
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } },
            { "type": "document", "source": { "type": "url", "url": "https://a/b.pdf" }, "title": "b" },
        ]);
        assert_eq!(
            said(&content, "user"),
            json!([
                { "role": "tool", "tool_call_id": "t1", "content": [{ "type": "text", "text": "7 m" }], "is_error": true },
                { "role": "user", "content": [
                    { "type": "text", "text": "and now?", "cache_control": { "type": "ephemeral" } },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
                    { "type": "file", "file": { "file_url": "https://a/b.pdf", "filename": "b" } } ] },
            ])
        );
    }

    #[test]
    fn an_assistants_blocks_are_one_message() {
        let content = json!([
            { "type": "thinking", "thinking": "hm", "signature": "" },
            { "type": "thinking", "thinking": "hm", "signature": "s" },
            { "type": "text", "text": "I " }, { "type": "text", "text": "look." },
            { "type": "tool_use", "id": "t1", "name": "look", "input": { "z": 1, "a": 2 } },
        ]);
        assert_eq!(
            said(&content, "assistant"),
            json!([{ "role": "assistant", "content": "I look.",
                "tool_calls": [{ "id": "t1", "type": "function",
                    "function": { "name": "look", "arguments": json!({ "z": 1, "a": 2 }).to_string() } }],
                "thinking_blocks": [{ "type": "thinking", "thinking": "hm", "signature": "s" }] }])
        );
    }
}
