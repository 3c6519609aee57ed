//! A request in the words of the Messages API.

use super::generation::Generation;
use super::turns::{self, Turns};
use crate::chat::{Asked, Format, Tool, ToolChoice};
use crate::json::{Array, Fields, Object, quoted};
use crate::upstream::invalid;
use bytes::Bytes;
use tidewire_core::port::{BackendError, Begins, Request};

/// Thoughts where the effort asked for must be said as a budget of tokens: what the API takes at least, then as
/// many as its own pages show for tasks of some and of great difficulty.
const BUDGETS: [(&str, u32); 5] =
    [("minimal", 1_024), ("low", 1_024), ("medium", 8_192), ("high", 16_384), ("xhigh", 24_576)];
/// The API takes no smaller budget.
const MIN_BUDGET: u32 = 1_024;

/// How the model is to think.
#[derive(PartialEq)]
enum Thinking<'a> {
    /// As it does when nobody says.
    Unsaid,
    Off,
    /// As the caller says, in the API's own words.
    Own(&'a str),
    Budget(u32),
    Effort(&'a str),
}

/// The body, and where the answer to it begins.
pub(super) fn body(request: &Request, max_tokens: Option<u32>) -> Result<(Bytes, Begins), BackendError> {
    let fields = Fields::of_request(&request.input)?;
    let asked = Asked::read(&fields)?;
    let generation = Generation::of(&request.model);
    if asked.logprobs {
        return Err(invalid("Anthropic's API gives no logprobs"));
    }
    let max_tokens = match asked.max_tokens.map(str::parse) {
        Some(Ok(tokens)) => tokens,
        Some(Err(_)) => return Err(invalid("max_tokens is no number that can be")),
        None => max_tokens.unwrap_or_else(|| generation.max_tokens()),
    };
    let mut turns = turns::of(&asked.messages)?;
    let thinking = thinking(&asked, generation, max_tokens, &turns);
    let begins = begin(&asked, generation, &thinking, &request.committed, &mut turns);

    let mut body = Object::with_capacity(request.input.len() + 1024);
    body.text("model", &request.model).named("max_tokens", &max_tokens.to_string());
    body.named("messages", &turns.messages()).named("stream", "true");
    body.maybe("system", turns.system().as_deref());
    sampling(&mut body, &asked, generation, &thinking);
    tools(&mut body, &asked);
    say_thinking(&mut body, &asked, &thinking)?;
    metadata(&mut body, &asked);
    for (name, value) in &asked.rest {
        let ours = matches!(&**name, "metadata" | "thinking" | "output_config" | "messages" | "system");
        // The other kinds of service have the same name and mean OpenAI's.
        let theirs = &**name == "service_tier" && !matches!(*value, "\"auto\"" | "\"standard_only\"");
        if !ours && !theirs {
            body.named(quoted(name).trim_matches('"'), value);
        }
    }
    Ok((body.end().into(), begins))
}

/// An answer that broke off goes on where the model can be given its beginning: not with thoughts, tools or a schema,
/// which would begin anew after it, and not after a space, which the API refuses.
fn begin(
    asked: &Asked<'_>,
    generation: Generation,
    thinking: &Thinking<'_>,
    committed: &str,
    turns: &mut Turns,
) -> Begins {
    let plain = asked.tools.is_empty() && asked.format == Format::Text;
    let unthinking = matches!(thinking, Thinking::Unsaid | Thinking::Off);
    let whole = !committed.is_empty() && !committed.ends_with(char::is_whitespace);
    if !(whole && plain && unthinking && generation.takes_a_beginning() && turns.end_with_the_user()) {
        return Begins::Afresh;
    }
    turns.begin_answer(committed);
    Begins::AfterCommitted
}

fn thinking<'a>(asked: &'a Asked<'_>, generation: Generation, max_tokens: u32, turns: &Turns) -> Thinking<'a> {
    if let Some(own) = asked.own(&["thinking"]) {
        return Thinking::Own(own);
    }
    // What came in the API's own words has said all there is to say; the effort beside it is for others.
    let effort = asked.effort.as_deref().filter(|_| asked.messages_api.is_none());
    let Some(effort) = effort else { return Thinking::Unsaid };
    if effort == "none" {
        return if generation.thinks_by_effort() { Thinking::Off } else { Thinking::Unsaid };
    }
    if generation.thinks_by_effort() {
        return Thinking::Effort(if effort == "minimal" { "low" } else { effort });
    }
    // The API takes no forced tool with thoughts, and wants the thoughts before an earlier call of a tool, which a
    // client that speaks OpenAI's form has not kept.
    let forced = matches!(asked.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)));
    let budget = BUDGETS.iter().find(|(name, _)| *name == effort).map(|(_, tokens)| *tokens);
    match budget.map(|tokens| tokens.min(max_tokens.saturating_sub(1))) {
        Some(tokens) if tokens >= MIN_BUDGET && generation.thinks_by_budget() && !forced && !turns.lack_thoughts() => {
            Thinking::Budget(tokens)
        }
        _ => Thinking::Unsaid,
    }
}

fn sampling(body: &mut Object, asked: &Asked<'_>, generation: Generation, thinking: &Thinking<'_>) {
    if !asked.stop.is_empty() {
        let mut stop = Array::default();
        stop.extend(&asked.stop);
        body.named("stop_sequences", &stop.end());
    }
    // With thoughts the older ones take no temperature, and the newest never do.
    if !generation.samples() || matches!(thinking, Thinking::Budget(_)) {
        return;
    }
    // OpenAI's scale ends at 2, this one at 1.
    let too_hot = asked.temperature.and_then(|text| text.parse::<f64>().ok()).is_some_and(|number| number > 1.0);
    body.maybe("temperature", if too_hot { Some("1") } else { asked.temperature });
    body.maybe("top_p", asked.top_p).maybe("top_k", asked.top_k);
}

fn tools(body: &mut Object, asked: &Asked<'_>) {
    if asked.tools.is_empty() {
        return;
    }
    let mut tools = Array::default();
    for tool in &asked.tools {
        match tool {
            Tool::Other(json) => tools.push(json),
            Tool::Function { function, outer } => {
                let mut said = Object::default();
                said.maybe("name", function.get("name")).maybe("description", function.get("description"));
                let schema = function.get("parameters").unwrap_or(r#"{"type":"object","properties":{}}"#);
                said.named("input_schema", schema).maybe("strict", function.get("strict").filter(|it| *it == "true"));
                said.maybe("cache_control", outer.get("cache_control").or_else(|| function.get("cache_control")));
                tools.push(&said.end());
            }
        }
    }
    body.named("tools", &tools.end());
    let mut choice = Object::default();
    match &asked.tool_choice {
        Some(ToolChoice::Other(own)) => {
            body.named("tool_choice", own);
            return;
        }
        Some(ToolChoice::None) => {
            body.named("tool_choice", r#"{"type":"none"}"#);
            return;
        }
        Some(ToolChoice::Required) => choice.text("type", "any"),
        Some(ToolChoice::Function(name)) => choice.text("type", "tool").text("name", name),
        Some(ToolChoice::Auto) => choice.text("type", "auto"),
        None if asked.one_call_at_a_time => choice.text("type", "auto"),
        None => return,
    };
    if asked.one_call_at_a_time {
        choice.named("disable_parallel_tool_use", "true");
    }
    body.named("tool_choice", &choice.end());
}

fn say_thinking(body: &mut Object, asked: &Asked<'_>, thinking: &Thinking<'_>) -> Result<(), BackendError> {
    match thinking {
        Thinking::Unsaid => {}
        Thinking::Off => {
            body.named("thinking", r#"{"type":"disabled"}"#);
        }
        Thinking::Own(own) => {
            body.named("thinking", own);
        }
        Thinking::Budget(tokens) => {
            body.named("thinking", &format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#));
        }
        // Without `display` the newest models think in silence.
        Thinking::Effort(_) => {
            body.named("thinking", r#"{"type":"adaptive","display":"summarized"}"#);
        }
    }
    let mut config = Object::default();
    for (name, value) in asked.own(&["output_config"]).and_then(Fields::of).iter().flat_map(Fields::each) {
        config.named(quoted(&name).trim_matches('"'), value);
    }
    if let Thinking::Effort(effort) = thinking {
        config.text("effort", effort);
    }
    match asked.format {
        Format::Text => {}
        Format::JsonObject => {
            return Err(invalid("Anthropic's API has no json_object: give a json_schema as the response_format"));
        }
        Format::JsonSchema(schema) => {
            let mut format = Object::default();
            config.named("format", &format.text("type", "json_schema").named("schema", schema).end());
        }
    }
    if !config.is_empty() {
        body.named("output_config", &config.end());
    }
    Ok(())
}

/// OpenAI's `metadata` is the caller's own; this API's has one field, for the user.
fn metadata(body: &mut Object, asked: &Asked<'_>) {
    let own = asked.own(&["metadata"]).and_then(Fields::of);
    if let Some(user) = own.as_ref().and_then(|own| own.get("user_id")).or(asked.user) {
        body.named("metadata", &Object::default().named("user_id", user).end());
    }
}
