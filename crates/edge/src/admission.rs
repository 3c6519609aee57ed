//! Turns what a client asks for into a task, or says what is wrong with it.

mod cache;
mod chat;
mod origin;
mod screen;
mod turn;

pub(crate) use cache::{announce, cache_control, entered, refused};
pub(crate) use chat::Chat;

use crate::Edge;
use crate::identity::{Caller, Scope};
use crate::quote::Admitted;
use crate::refusal::Refusal;
use bytes::Bytes;
use origin::Descent;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tidewire_core::catalog::{Target, Unresolved};
use tidewire_core::task::Idempotency;
use tidewire_core::{Durability, OnDisconnect, Spec, Task, Timestamp, Trace, tokens};
use tidewire_proto::task::FIELDS;
use tidewire_proto::{Code, Submission};

const DEFAULT_DEADLINE: Duration = Duration::from_mins(10);
const MAX_DEADLINE_MS: u64 = 86_400_000;
const DEFAULT_ATTEMPTS: u32 = 3;
const MAX_ATTEMPTS: u32 = 10;
const MAX_KEY_BYTES: usize = 255;
const MAX_METADATA_BYTES: usize = 4096;
const MAX_MODEL_BYTES: usize = 256;

/// How near a name must be to be suggested, from 0 (anything) to 1 (the same).
const NEAR: f64 = 0.55;

/// How many names an error lists.
const SUGGESTIONS: usize = 5;

/// The names nearest to a wrong one, the nearest first.
fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
}

/// The task that a submission asks for.
pub(crate) async fn admit(edge: &Edge, caller: &Caller, submission: Submission) -> Result<Admitted, Refusal> {
    if let Some(unknown) = submission.unknown.keys().next() {
        return Err(invalid(unknown_field(unknown)));
    }
    let input = input(&submission)?;
    let chat = Chat::read(&input).map_err(|error| invalid(format!("`input` can't be read: {error}")))?;
    chat.check()?;
    admit_chat(edge, caller, submission, input.clone(), &chat).await
}

/// The task that a request for a chat or for embeddings asks for, which was read and checked already. `submission` says what else is asked of it.
pub(crate) async fn admit_chat(
    edge: &Edge,
    caller: &Caller,
    submission: Submission,
    input: Bytes,
    chat: &Chat<'_>,
) -> Result<Admitted, Refusal> {
    // OpenAI's clients may send any name in `user`: it counts only where the key may speak for users.
    let in_chat = || chat.user().filter(|_| caller.scopes.has(Scope::Users)).map(Cow::Owned);
    let user = submission.user.as_deref().map(Cow::Borrowed).or_else(in_chat);
    let acting = user.map(|user| caller.acting_for(&user)).transpose()?;
    let (caller, tenant) = (acting.as_ref().unwrap_or(caller), caller.tenant);
    let body_hash = body_hash(&submission);
    let text_bytes = edge.files.check(tenant, &input).await?;
    let needs = turn::needs(submission.needs.as_deref())?;
    let target = target(edge, caller, submission.model.as_deref().or(chat.model.as_deref()), &needs)?;
    let plan = edge.catalog.plan();
    let asked = screen::Asked { policy: plan.guards(), model: &target.name, route: &target.capability };
    let screen::Screened { input, answer_tokens } = screen::screen(edge, caller, &asked, input, (chat, text_bytes))?;
    let on_disconnect = match submission.on_disconnect.as_deref() {
        None | Some("continue") => OnDisconnect::Continue,
        Some("stop") => OnDisconnect::Stop,
        Some(other) => return Err(invalid(format!("`on_disconnect` is `continue` or `stop`, not `{other}`"))),
    };
    let now = edge.clock.now();
    let durable = durability(submission.durability.as_deref())?;
    let Descent { origin, durability, deadline: inherited, trace: above } =
        origin::descent(edge, tenant, &submission, durable).await?;
    let trace = asked_in(caller, &submission).or(above);
    let estimate = turn::estimate(tokens::estimate(&input, text_bytes), answer_tokens);
    let mut turn = turn::turn(&submission, needs, now, estimate)?;
    let key = submission.idempotency_key.as_deref();
    screen::slow_down(edge, (&asked, &input, chat), (tenant, &caller.payer), (&origin, &mut turn), (key, now))?;
    let begins = turn.start_at.unwrap_or(now);
    let mut spec = Spec {
        model: target.name.to_string(),
        capability: target.capability,
        input,
        on_disconnect,
        deadline: within(begins.plus(deadline(submission.deadline_ms)?), inherited, &submission, now)?,
        max_attempts: attempts(submission.max_attempts)?,
        metadata: metadata(submission.metadata.as_deref())?,
        turn,
        origin,
        payer: caller.payer.clone(),
        face: submission.face,
        ..Spec::default()
    };
    spec.public = submission.public == Some(true);
    spec.cache = cache::uses(edge, submission.cache.as_deref(), (&spec, tenant, chat.is_wordless()))?.map(Box::new);
    let mut task = Task::new(edge.clock.task_id(durability), tenant, spec, now);
    task.spec.trace = trace.or_else(|| edge.sampling.begin(task.id));
    task.idempotency = idempotency(submission.idempotency_key, body_hash)?;
    Ok(Admitted::new(edge, task, caller.accounts.clone(), answer_tokens, text_bytes))
}

/// The trace that a submission names: its own, or that of the request that brought it. One that can't be read begins anew.
fn asked_in(caller: &Caller, submission: &Submission) -> Option<Trace> {
    match submission.traceparent.as_deref() {
        Some(parent) => Trace::parse(parent, submission.tracestate.as_deref()),
        None => caller.trace().cloned(),
    }
}

/// A deadline that passes neither its root's nor its own budget's.
fn within(
    deadline: Timestamp,
    inherited: Option<Timestamp>,
    submission: &Submission,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let of_budget = match submission.budget.and_then(|budget| budget.time_ms) {
        None => None,
        Some(millis @ 1..=MAX_DEADLINE_MS) => Some(now.plus(Duration::from_millis(millis))),
        Some(_) => return Err(invalid(format!("`budget.time_ms` is 1 to {MAX_DEADLINE_MS}"))),
    };
    Ok(inherited.into_iter().chain(of_budget).fold(deadline, Timestamp::min))
}

fn durability(asked: Option<&str>) -> Result<Option<Durability>, Refusal> {
    match asked {
        None => Ok(None),
        Some("durable") => Ok(Some(Durability::Durable)),
        Some("transient") => Ok(Some(Durability::Transient)),
        Some(other) => Err(invalid(format!("`durability` is `durable` or `transient`, not `{other}`"))),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

fn unknown_field(unknown: &str) -> String {
    match nearest(unknown, FIELDS.iter().copied()).first() {
        Some(near) => format!("a task has no field `{unknown}`; did you mean `{near}`?"),
        None => format!(
            "a task has no field `{unknown}`; it has {}. What is for the model goes into `input`",
            FIELDS.join(", ")
        ),
    }
}

/// OpenAI chat JSON with `messages`: as it came, or made from the prompt.
fn input(submission: &Submission) -> Result<Bytes, Refusal> {
    match (&submission.prompt, &submission.input) {
        (Some(prompt), None) => {
            let body = serde_json::json!({ "messages": [{ "role": "user", "content": prompt }] });
            Ok(Bytes::from(body.to_string()))
        }
        (None, Some(input)) => Ok(Bytes::copy_from_slice(input.get().as_bytes())),
        (Some(_), Some(_)) => Err(invalid("give either `prompt` or `input`, not both")),
        (None, None) => Err(invalid("a task needs `prompt`, or `input` with `messages`")),
    }
}

fn target(edge: &Edge, caller: &Caller, name: Option<&str>, needs: &[String]) -> Result<Target, Refusal> {
    if name.is_some_and(|name| name.is_empty() || name.len() > MAX_MODEL_BYTES) {
        return Err(invalid(format!("a model's name has 1 to {MAX_MODEL_BYTES} bytes")));
    }
    let target = match edge.catalog.resolve(name, needs) {
        // What there is for others is not told to one who may not use it.
        Err(_) if caller.routes.is_some() => return Err(not_allowed(edge, caller, name.unwrap_or_default())),
        resolved => resolved.map_err(|unresolved| no_model(name, &unresolved))?,
    };
    allowed(edge, caller, &target.name)?;
    Ok(target)
}

/// Refuses a model that the caller may not use, as if there were none.
pub(crate) fn allowed(edge: &Edge, caller: &Caller, model: &str) -> Result<(), Refusal> {
    if caller.may_use(model) { Ok(()) } else { Err(not_allowed(edge, caller, model)) }
}

fn not_allowed(edge: &Edge, caller: &Caller, model: &str) -> Refusal {
    let known = edge.catalog.names();
    let allowed = list(known.iter().map(String::as_str).filter(|name| caller.may_use(name)));
    let message = match allowed.as_str() {
        "" => format!("there is no model `{model}` for this key, nor any other one"),
        allowed => format!("there is no model `{model}` for this key; there are {allowed}"),
    };
    Refusal::new(Code::UnknownModel, message)
}

fn no_model(name: Option<&str>, unresolved: &Unresolved) -> Refusal {
    match unresolved {
        Unresolved::NoDeployment => Refusal::new(
            Code::NoModel,
            "this server has no model. Start it with the built-in one (`make run`), or with an upstream: \
             `tidewire serve --upstream http://127.0.0.1:11434/v1`",
        ),
        Unresolved::NoModelNamed { known } if known.is_empty() => {
            Refusal::new(Code::NoModel, "name a `model`: the upstream has not said which ones it has")
        }
        Unresolved::NoModelNamed { known } => {
            Refusal::new(Code::NoModel, format!("name a `model`; there are {}", list(known.iter().map(String::as_str))))
        }
        Unresolved::NeedsUnmet { has } if has.is_empty() => Refusal::new(
            Code::NeedsUnmet,
            "no deployment of this model has anything a task may need; give one `has` in the configuration",
        ),
        Unresolved::NeedsUnmet { has } => Refusal::new(
            Code::NeedsUnmet,
            format!(
                "no deployment of this model has all that `needs` names; there is {}",
                list(has.iter().map(String::as_str))
            ),
        ),
        Unresolved::UnknownModel { known } => {
            let name = name.unwrap_or_default();
            let near = nearest(name, known.iter().map(String::as_str));
            let message = if near.is_empty() {
                format!("there is no model `{name}`; there are {}", list(known.iter().map(String::as_str)))
            } else {
                format!("there is no model `{name}`; did you mean {}?", list(near))
            };
            Refusal::new(Code::UnknownModel, message)
        }
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().take(SUGGESTIONS).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn deadline(millis: Option<u64>) -> Result<Duration, Refusal> {
    match millis {
        None => Ok(DEFAULT_DEADLINE),
        Some(millis @ 1..=MAX_DEADLINE_MS) => Ok(Duration::from_millis(millis)),
        Some(_) => Err(invalid(format!("`deadline_ms` is 1 to {MAX_DEADLINE_MS}"))),
    }
}

fn attempts(attempts: Option<u32>) -> Result<u32, Refusal> {
    match attempts {
        None => Ok(DEFAULT_ATTEMPTS),
        Some(attempts @ 1..=MAX_ATTEMPTS) => Ok(attempts),
        Some(_) => Err(invalid(format!("`max_attempts` is 1 to {MAX_ATTEMPTS}"))),
    }
}

fn metadata(metadata: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    let Some(text) = metadata.map(RawValue::get) else { return Ok(None) };
    if text.len() > MAX_METADATA_BYTES || !text.starts_with('{') {
        return Err(invalid(format!("`metadata` is a JSON object of at most {MAX_METADATA_BYTES} bytes")));
    }
    Ok(Some(text.to_owned()))
}

fn idempotency(key: Option<String>, body_hash: u64) -> Result<Option<Idempotency>, Refusal> {
    match key {
        None => Ok(None),
        Some(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(Idempotency { key, body_hash })),
        Some(_) => Err(invalid(format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes"))),
    }
}

/// A hash of what was asked for, the key aside; 0 where there is no key. `DefaultHasher::new` has fixed keys, so it is
/// the same after a restart of the same build; a new build at worst refuses a key that it should know.
fn body_hash(submission: &Submission) -> u64 {
    if submission.idempotency_key.is_none() {
        return 0;
    }
    // Whoever repeats a request does so in another span.
    let keyless = Submission { idempotency_key: None, traceparent: None, tracestate: None, ..submission.clone() };
    let mut hasher = DefaultHasher::new();
    // Strings, numbers and JSON as it came: there is nothing in it that can't be written.
    serde_json::to_vec(&keyless).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_the_right_name_and_nonsense_gets_all_names() {
        assert!(unknown_field("promt").contains("did you mean `prompt`"));
        assert!(unknown_field("dead_line_ms").contains("did you mean `deadline_ms`"));
        assert!(unknown_field("zzz").contains("it has prompt, input"));
    }
}
