//! The items of a response's input as the messages of a chat, and back.

use crate::refusal::Refusal;
use serde_json::{Map, Value, json};
use tidewire_proto::Code;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

/// What the system says first.
pub(super) fn instructions(instructions: Value) -> Result<Value, Refusal> {
    match instructions {
        Value::String(text) => Ok(json!({ "role": "system", "content": text })),
        _ => Err(invalid("`instructions` is a text")),
    }
}

/// An input's messages. Items of reasoning are left out: a chat has no place for them, and they are no part of an answer.
pub(super) fn messages(input: &Value) -> Result<Vec<Value>, Refusal> {
    let items = match input {
        Value::String(text) => return Ok(vec![json!({ "role": "user", "content": text })]),
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => return Err(invalid("`input` is empty")),
        _ => return Err(invalid("`input` is a text or a list of items")),
    };
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let named = |refusal: Refusal| invalid(format!("`input[{index}]`: {}", refusal.0.message));
        push(&mut messages, item).map_err(named)?;
    }
    if messages.is_empty() {
        return Err(invalid("`input` has no message"));
    }
    Ok(messages)
}

fn text<'a>(item: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    item.get(name).and_then(Value::as_str).ok_or_else(|| invalid(format!("it needs `{name}`, a text")))
}

fn push(messages: &mut Vec<Value>, item: &Value) -> Result<(), Refusal> {
    match item.get("type").and_then(Value::as_str).unwrap_or("message") {
        "message" => messages.push(message(item)?),
        "function_call" => {
            let function = json!({ "name": text(item, "name")?, "arguments": text(item, "arguments")? });
            let call = json!({ "id": text(item, "call_id")?, "type": "function", "function": function });
            // Calls belong to what the assistant said right before them.
            let said = messages.last_mut().filter(|last| last["role"] == "assistant").and_then(Value::as_object_mut);
            let Some(said) = said else {
                messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
                return Ok(());
            };
            match said.entry("tool_calls").or_insert_with(|| json!([])) {
                Value::Array(calls) => calls.push(call),
                other => *other = json!([call]),
            }
        }
        "function_call_output" => {
            let output = item.get("output").ok_or_else(|| invalid("it needs `output`"))?;
            messages
                .push(json!({ "role": "tool", "tool_call_id": text(item, "call_id")?, "content": content(output)? }));
        }
        "reasoning" => {}
        other => return Err(invalid(format!("items of the type `{other}` are not taken"))),
    }
    Ok(())
}

fn message(item: &Value) -> Result<Value, Refusal> {
    let role = text(item, "role")?;
    if !matches!(role, "user" | "assistant" | "system" | "developer") {
        return Err(invalid(format!("the role `{role}` is not known")));
    }
    let said = content(item.get("content").ok_or_else(|| invalid("it needs `content`"))?)?;
    let said = match said {
        // An assistant's words are one text in a chat.
        Value::Array(parts) if role == "assistant" => {
            let texts = parts.iter().map(|part| part["text"].as_str().or(part["refusal"].as_str()).unwrap_or_default());
            Value::String(texts.collect())
        }
        said => said,
    };
    Ok(json!({ "role": role, "content": said }))
}

/// A text, or parts.
fn content(content: &Value) -> Result<Value, Refusal> {
    match content {
        Value::String(_) => Ok(content.clone()),
        Value::Array(parts) => parts.iter().map(part).collect::<Result<Vec<_>, _>>().map(Value::Array),
        _ => Err(invalid("its content is a text or a list of parts")),
    }
}

fn part(part: &Value) -> Result<Value, Refusal> {
    match part.get("type").and_then(Value::as_str).unwrap_or_default() {
        "input_text" | "output_text" | "text" => Ok(json!({ "type": "text", "text": text(part, "text")? })),
        "refusal" => Ok(json!({ "type": "refusal", "refusal": text(part, "refusal")? })),
        "input_image" => {
            let url = text(part, "image_url").map_err(|_| {
                invalid("an `input_image` needs its `image_url`: a URL, or the bytes as `data:image/png;base64,…`")
            })?;
            let mut image = json!({ "url": url });
            if let Some(detail) = part.get("detail").filter(|detail| !detail.is_null()) {
                image["detail"] = detail.clone();
            }
            Ok(json!({ "type": "image_url", "image_url": image }))
        }
        "input_file" => {
            let known = ["file_id", "file_data", "file_url", "filename"];
            let fields =
                known.iter().filter_map(|name| Some((*name, part.get(*name).filter(|value| !value.is_null())?)));
            let file: Map<String, Value> = fields.map(|(name, value)| (name.to_owned(), value.clone())).collect();
            Ok(json!({ "type": "file", "file": file }))
        }
        "input_audio" => Ok(json!({ "type": "input_audio", "input_audio": part.get("input_audio") })),
        other => Err(invalid(format!("parts of the type `{other}` are not taken"))),
    }
}

/// Messages as items, each with an id that begins so.
pub(super) fn of_messages(messages: &[Value], id: &str) -> Vec<Value> {
    let mut items = Vec::with_capacity(messages.len());
    for message in messages {
        let said = &message["content"];
        if message["role"] == "tool" {
            let output = if said.is_string() { said.clone() } else { parts_of(said, "input_text") };
            items.push(json!({ "type": "function_call_output", "call_id": message["tool_call_id"], "output": output,
                "status": "completed" }));
            continue;
        }
        let kind = if message["role"] == "assistant" { "output_text" } else { "input_text" };
        if !said.is_null() {
            items.push(json!({ "type": "message", "role": message["role"], "content": parts_of(said, kind),
                "status": "completed" }));
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            items.push(json!({ "type": "function_call", "call_id": call["id"], "name": call["function"]["name"],
                "arguments": call["function"]["arguments"], "status": "completed" }));
        }
    }
    for (index, item) in items.iter_mut().enumerate() {
        let prefix = match item["type"].as_str() {
            Some("function_call") => "fc",
            Some("function_call_output") => "fco",
            _ => "msg",
        };
        item["id"] = format!("{prefix}_{id}_in{index}").into();
    }
    items
}

fn parts_of(said: &Value, kind: &str) -> Value {
    let text = |text: &Value| match kind {
        "output_text" => json!({ "type": kind, "text": text, "annotations": [] }),
        _ => json!({ "type": kind, "text": text }),
    };
    let Value::Array(parts) = said else { return json!([text(said)]) };
    let part = |part: &Value| match part["type"].as_str() {
        Some("text") => text(&part["text"]),
        Some("image_url") => {
            let detail = part["image_url"].get("detail").cloned().unwrap_or_else(|| json!("auto"));
            json!({ "type": "input_image", "image_url": part["image_url"]["url"], "detail": detail })
        }
        Some("file") => {
            let mut file = part["file"].clone();
            file["type"] = json!("input_file");
            file
        }
        _ => part.clone(),
    };
    parts.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_messages_and_come_back() {
        let items = json!([
            { "role": "user", "content": [{ "type": "input_text", "text": "what is it?" },
                { "type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low" },
                { "type": "input_file", "file_id": "file-1" }] },
            { "type": "reasoning", "id": "rs_1", "summary": [] },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look." }] },
            { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}" },
            { "type": "function_call", "call_id": "c2", "name": "look", "arguments": "{\"a\":1}" },
            { "type": "function_call_output", "call_id": "c1", "output": "a cat" },
            { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "a dog" }] },
        ]);
        let said = messages(&items).unwrap();
        let call = |id: &str, arguments: &str| {
            json!({ "id": id, "type": "function",
            "function": { "name": "look", "arguments": arguments } })
        };
        assert_eq!(
            said,
            [
                json!({ "role": "user", "content": [{ "type": "text", "text": "what is it?" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==", "detail": "low" } },
                    { "type": "file", "file": { "file_id": "file-1" } }] }),
                json!({ "role": "assistant", "content": "I look.", "tool_calls": [call("c1", "{}"), call("c2", "{\"a\":1}")] }),
                json!({ "role": "tool", "tool_call_id": "c1", "content": "a cat" }),
                json!({ "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "a dog" }] }),
            ]
        );
        let back = of_messages(&said, "x");
        assert_eq!(messages(&Value::Array(back.clone())).unwrap(), said, "what comes back means the same");
        assert_eq!(back[2]["id"], "fc_x_in2");
    }

    #[test]
    fn what_can_not_be_said_in_a_chat_is_refused_by_its_place() {
        let refused = |input: Value| messages(&input).unwrap_err().0.message;
        assert!(
            refused(json!([{ "role": "user", "content": "a" }, { "type": "item_reference", "id": "x" }]))
                .contains("`input[1]`: items of the type `item_reference`")
        );
        assert!(
            refused(json!([{ "role": "user", "content": [{ "type": "input_image", "file_id": "f" }] }]))
                .contains("image_url")
        );
        assert!(refused(json!([{ "role": "critic", "content": "a" }])).contains("critic"));
        assert_eq!(refused(json!([])), "`input` is empty");
    }
}
