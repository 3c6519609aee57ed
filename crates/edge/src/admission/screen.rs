//! Guardrails at the door: how large a request is, which tools it names, what of it nobody may see, whether it goes round in a
//! circle. All of it before the request is stored.

use super::{Chat, invalid};
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tidewire_core::guard::{Action, Agent, Bounds, Over, Place, Policy, Verdict, capped, rewritten};
use tidewire_core::port::Measurement;
use tidewire_core::task::{Origin, Turn};
use tidewire_core::{Payer, Timestamp};
use tidewire_proto::Code;

/// A request of up to so many bytes is counted by its model's tokenizer, a longer one estimated: a quarter of a millisecond.
const COUNTED_BYTES: usize = 8 * 1024;

/// What was asked, under which name, and by which route it goes.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) model: &'a str,
    pub(super) route: &'a str,
}

/// A request that may go on.
pub(super) struct Screened {
    pub(super) input: Bytes,
    /// How many tokens the answer may have, where anything says so.
    pub(super) answer_tokens: Option<u64>,
}

fn did(edge: &Edge, rule: &str, action: &'static str) {
    edge.meter.record(Measurement::Guarded { rule, action });
    tracing::debug!(rule, action, "a guardrail");
}

fn refused(edge: &Edge, rule: &str, code: Code, message: String) -> Refusal {
    edge.meter.record(Measurement::Guarded { rule, action: "refuse" });
    tracing::info!(rule, "a guardrail refused a request");
    Refusal::new(code, message)
}

/// The request as it may be stored.
pub(super) fn screen(
    edge: &Edge,
    caller: &Caller,
    asked: &Asked<'_>,
    input: Bytes,
    (chat, text_bytes): (&Chat<'_>, u64),
) -> Result<Screened, Refusal> {
    let bounds = asked.policy.bounds(asked.model, asked.route).and(caller.bounds);
    if let Some(most) = bounds.input_bytes.filter(|most| input.len() as u64 > *most) {
        let message = format!("the request has {} bytes, and {most} are allowed", input.len());
        return Err(refused(edge, "input_bytes", Code::InputTooLarge, message));
    }
    if let Some(tools) = &caller.tools {
        check_tools(edge, &tools.iter().map(|name| &**name).collect::<Vec<_>>(), &input)?;
    }
    let input = without_what_is_forbidden(edge, asked, input)?;
    let mut screened = bounded_answer(edge, &bounds, input, chat)?;
    if let Some(most) = bounds.input_tokens {
        let tokens = tokens(edge, asked, &screened.input, text_bytes);
        if tokens > most {
            let message = format!("the request has about {tokens} tokens, and {most} are allowed");
            return Err(refused(edge, "input_tokens", Code::InputTooLarge, message));
        }
    }
    if chat.is_wordless() {
        screened.answer_tokens = Some(0);
    }
    Ok(screened)
}

fn tokens(edge: &Edge, asked: &Asked<'_>, input: &[u8], text_bytes: u64) -> u64 {
    let plan = edge.catalog.plan();
    let first = plan.route(asked.route).and_then(|route| plan.members(route).next().map(|(first, _)| first.clone()));
    let counted = text_bytes == 0 && input.len() <= COUNTED_BYTES;
    let exact = first.filter(|_| counted).and_then(|first| edge.counter.exact(&first.model(asked.model), input));
    exact.unwrap_or_else(|| edge.counter.estimate(asked.model, input, text_bytes))
}

/// Masks what is to be masked, in the texts of the request.
fn without_what_is_forbidden(edge: &Edge, asked: &Asked<'_>, input: Bytes) -> Result<Bytes, Refusal> {
    let Some(rules) = asked.policy.rules(asked.model, asked.route, Place::Prompt) else { return Ok(input) };
    let mut hits = Vec::new();
    let new = rewritten(&input, |text| rules.apply(text, &mut hits));
    for hit in hits.iter().filter(|hit| hit.action == Action::Mask) {
        did(edge, &hit.rule, hit.action.name());
    }
    match new {
        Ok(new) => Ok(new.map_or(input, Bytes::from)),
        Err(blocked) => {
            did(edge, &blocked.rule, Action::Block.name());
            tracing::info!(rule = %blocked.rule, "a guardrail refused a request");
            Err(Refusal::new(Code::GuardBlocked, format!("the rule `{}` forbids this prompt", blocked.rule)))
        }
    }
}

/// Makes the request ask for no longer an answer than it may have.
fn bounded_answer(edge: &Edge, bounds: &Bounds, input: Bytes, chat: &Chat<'_>) -> Result<Screened, Refusal> {
    let wanted = chat.answer_tokens();
    let Some(most) = bounds.output_tokens.filter(|_| !chat.is_wordless()) else {
        return Ok(Screened { input, answer_tokens: wanted });
    };
    if bounds.over == Over::Refuse && wanted.is_some_and(|wanted| wanted > most) {
        let message = format!("an answer has at most {most} tokens here: ask for so many in `max_tokens`, or for none");
        return Err(refused(edge, "output_tokens", Code::OutputTooLarge, message));
    }
    let capped = capped(&input, most).map_err(|error| invalid(format!("`input` can't be read: {error}")))?;
    if capped.is_some() && wanted.is_some() {
        did(edge, "output_tokens", "cap");
    }
    let input = capped.map_or(input, Bytes::from);
    Ok(Screened { input, answer_tokens: Some(wanted.map_or(most, |wanted| wanted.min(most))) })
}

#[derive(Deserialize)]
struct Tools {
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    functions: Option<Vec<Value>>,
}

/// Refuses a tool that the key may not name.
fn check_tools(edge: &Edge, allowed: &[&str], input: &[u8]) -> Result<(), Refusal> {
    let unreadable = |error| invalid(format!("`tools` and `functions` are lists of functions: {error}"));
    let named: Tools = serde_json::from_slice(input).map_err(unreadable)?;
    for tool in named.tools.iter().chain(&named.functions).flatten() {
        let name =
            ["/function/name", "/custom/name", "/name", "/type"].iter().find_map(|path| tool.pointer(path)?.as_str());
        let name = name.unwrap_or("unnamed");
        if !allowed.contains(&name) {
            let allowed = allowed.join("`, `");
            let message = format!("this key may not use the tool `{name}`; it may use `{allowed}`");
            return Err(refused(edge, "tools", Code::ToolNotAllowed, message));
        }
    }
    Ok(())
}

/// Puts a request off, or refuses it, whose agent goes round in a circle. `key`: its idempotency key.
pub(super) fn slow_down(
    edge: &Edge,
    (asked, input, chat): (&Asked<'_>, &[u8], &Chat<'_>),
    (tenant, payer): (tidewire_core::TenantId, &Payer),
    (origin, turn): (&Origin, &mut Turn),
    (key, now): (Option<&str>, Timestamp),
) -> Result<(), Refusal> {
    let runaway = &asked.policy.runaway;
    // The answers of one request are tasks of their own, and no repetition.
    if !runaway.is_on() || chat.was_looked_at() {
        return Ok(());
    }
    let agent = match (origin.root, turn.lane.as_deref()) {
        (Some(root), _) => Agent::Root(root),
        (None, Some(lane)) => Agent::Lane(lane),
        (None, None) => Agent::Payer(payer.key, payer.user.as_deref()),
    };
    match edge.loops.look(runaway, (tenant, agent), (asked.model, input), key, edge.clock.monotonic()) {
        Verdict::Goes => Ok(()),
        Verdict::Slowed { times, delay } => {
            did(edge, "runaway", "slow");
            tracing::info!(times, ?delay, "a request that repeats itself is put off");
            let start = now.plus(delay);
            turn.start_at = Some(turn.start_at.map_or(start, |asked| asked.max(start)));
            Ok(())
        }
        Verdict::Stopped { times } => {
            let window = runaway.window;
            let message = format!(
                "this looks like a loop: the same request, or the same tool call, for the {times}th time within {} s; \
                 change what is asked, or wait",
                window.as_secs()
            );
            Err(refused(edge, "runaway", Code::RunawayLoop, message).retry_after(window.max(Duration::from_secs(1))))
        }
    }
}
