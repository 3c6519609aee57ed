//! A request in the words of `generateContent`.

use super::contents;
use crate::chat::{Asked, Format, Tool, ToolChoice};
use crate::json::{Array, Fields, Object, quoted};
use bytes::Bytes;
use tidewire_core::port::{BackendError, Request};

/// Thoughts where a model takes no effort but a budget of tokens: as Google's own OpenAI-compatible face has it.
const BUDGETS: [(&str, u32); 5] =
    [("none", 0), ("minimal", 1_024), ("low", 1_024), ("medium", 8_192), ("high", 24_576)];

/// Fields of the API's own in which ours are put.
const OWN_CONFIG: [&str; 2] = ["generationConfig", "generation_config"];
const OWN_TOOL_CONFIG: [&str; 2] = ["toolConfig", "tool_config"];

/// Whether this is a model of the third generation or a later one: they take a level of thinking in place of a
/// budget, and want the signature of each call of a tool back.
pub(super) fn is_of_third_generation(model: &str) -> bool {
    let tail = model.split_once("gemini-").map_or("", |(_, tail)| tail);
    let major = tail.split(['.', '-']).next().and_then(|number| number.parse::<u32>().ok());
    major.is_some_and(|major| major >= 3)
}

pub(super) fn body(request: &Request) -> Result<Bytes, BackendError> {
    let fields = Fields::of_request(&request.input)?;
    let asked = Asked::read(&fields)?;
    let is_newer = is_of_third_generation(&request.model);
    let mut said = contents::of(&asked.messages, is_newer)?;
    let mut body = Object::with_capacity(request.input.len() + 1024);
    body.named("contents", &said.contents()).maybe("systemInstruction", said.system().as_deref());
    tools(&mut body, &asked);
    let config = config(&asked, is_newer);
    if config != "{}" {
        body.named("generationConfig", &config);
    }
    for (name, value) in &asked.rest {
        let merged = OWN_CONFIG.contains(&&**name) || OWN_TOOL_CONFIG.contains(&&**name);
        let ours = matches!(&**name, "metadata" | "service_tier" | "contents" | "systemInstruction");
        if !merged && !ours {
            body.named(quoted(name).trim_matches('"'), value);
        }
    }
    Ok(body.end().into())
}

/// What the caller says in the API's own words counts more than what follows from OpenAI's.
fn config(asked: &Asked<'_>, is_newer: bool) -> String {
    let mut config = Object::default();
    config.maybe("maxOutputTokens", asked.max_tokens).maybe("temperature", asked.temperature);
    config.maybe("topP", asked.top_p).maybe("topK", asked.top_k).maybe("seed", asked.seed);
    config.maybe("presencePenalty", asked.presence_penalty).maybe("frequencyPenalty", asked.frequency_penalty);
    if !asked.stop.is_empty() {
        let mut stop = Array::default();
        stop.extend(&asked.stop);
        config.named("stopSequences", &stop.end());
    }
    if asked.logprobs {
        config.named("responseLogprobs", "true").maybe("logprobs", asked.top_logprobs);
    }
    match asked.format {
        Format::Text => {}
        Format::JsonObject => {
            config.text("responseMimeType", "application/json");
        }
        Format::JsonSchema(schema) => {
            config.text("responseMimeType", "application/json").named("responseJsonSchema", schema);
        }
    }
    if let Some(effort) = asked.effort.as_deref() {
        let mut thinking = Object::default();
        match BUDGETS.iter().find(|(name, _)| *name == effort) {
            // The newer ones always think: the lowest level is the nearest to none.
            Some(("none", _)) if is_newer => thinking.text("thinkingLevel", "low"),
            Some((_, tokens)) if !is_newer => thinking.named("thinkingBudget", &tokens.to_string()),
            _ => thinking.text("thinkingLevel", effort),
        };
        if effort != "none" {
            thinking.named("includeThoughts", "true");
        }
        config.named("thinkingConfig", &thinking.end());
    }
    let ours = config.end();
    match asked.own(&OWN_CONFIG).and_then(Fields::of) {
        Some(own) => merged(&ours, &own),
        None => ours,
    }
}

fn merged(ours: &str, own: &Fields<'_>) -> String {
    let mut whole = Object::default();
    for (name, value) in Fields::of(ours).iter().flat_map(Fields::each) {
        if own.get(&name).is_none() {
            whole.named(&name, value);
        }
    }
    for (name, value) in own.each() {
        whole.named(quoted(&name).trim_matches('"'), value);
    }
    whole.end()
}

fn tools(body: &mut Object, asked: &Asked<'_>) {
    let (mut functions, mut tools) = (Array::default(), Array::default());
    for tool in &asked.tools {
        match tool {
            Tool::Other(json) => tools.push(json),
            Tool::Function { function, .. } => {
                let mut said = Object::default();
                said.maybe("name", function.get("name")).maybe("description", function.get("description"));
                // Without this name for it the API would read its own dialect of a schema.
                functions.push(&said.maybe("parametersJsonSchema", function.get("parameters")).end());
            }
        }
    }
    if !functions.is_empty() {
        tools.push(&Object::default().named("functionDeclarations", &functions.end()).end());
    }
    if !tools.is_empty() {
        body.named("tools", &tools.end());
    }
    if let Some(own) = asked.own(&OWN_TOOL_CONFIG) {
        body.named("toolConfig", own);
        return;
    }
    if asked.tools.is_empty() {
        return;
    }
    let mut calling = Object::default();
    match &asked.tool_choice {
        None => return,
        Some(ToolChoice::Other(own)) => {
            body.named("toolConfig", own);
            return;
        }
        Some(ToolChoice::Auto) => calling.text("mode", "AUTO"),
        Some(ToolChoice::None) => calling.text("mode", "NONE"),
        Some(ToolChoice::Required) => calling.text("mode", "ANY"),
        Some(ToolChoice::Function(name)) => {
            let names = ["[", &quoted(name), "]"].concat();
            calling.text("mode", "ANY").named("allowedFunctionNames", &names)
        }
    };
    body.named("toolConfig", &Object::default().named("functionCallingConfig", &calling.end()).end());
}
