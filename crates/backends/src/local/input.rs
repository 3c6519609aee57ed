//! Reads a request for the built-in model: OpenAI chat JSON in, turns of a conversation and sampling options
//! out, or a sentence that says what is wrong with it.

use super::config::Defaults;
use serde::Deserialize;

/// Most stop strings in a request. `OpenAI` takes 4; every token is searched for all of them.
const MAX_STOPS: usize = 16;

/// Longest stop string, in bytes. Text that may begin one is held back, so this bounds how much is.
const MAX_STOP_BYTES: usize = 256;

/// Most alternatives shown beside each token: `OpenAI`'s own bound.
const MAX_TOP_LOGPROBS: u8 = 20;

/// Repetitions of so many tokens cost nothing yet, where the request does not say: names and turns of phrase come again.
const DRY_ALLOWED_LENGTH: usize = 3;

/// A request, read and checked.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    pub(super) turns: Vec<Turn>,
    pub(super) options: Options,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) text: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// Its name in chat templates.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// How to choose tokens, and when to end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// Bound on the answer's tokens, committed ones included.
    pub(super) max_tokens: u32,
    /// 0 takes the likeliest token, so that the answer repeats.
    pub(super) temperature: f32,
    /// Choose among the likeliest tokens that together have this chance.
    pub(super) top_p: f32,
    /// Choose among this many; 0 for any number.
    pub(super) top_k: usize,
    /// Choose among those at least this likely, compared with the likeliest.
    pub(super) min_p: f32,
    /// Makes a random answer repeat.
    pub(super) seed: Option<u64>,
    /// The answer ends before the first of these.
    pub(super) stop: Vec<String>,
    /// Taken off the logit of each token that the answer already has.
    pub(super) presence_penalty: f32,
    /// Taken off as often as the answer has the token.
    pub(super) frequency_penalty: f32,
    /// Divides the logit of a recent token, of prompt or answer; 1 changes nothing.
    pub(super) repeat_penalty: f32,
    /// What a repetition of the answer's own words is charged for going on.
    pub(super) dry: Dry,
    /// Show each token's chance, and that of this many alternatives.
    pub(super) logprobs: Option<u8>,
}

/// DRY, "don't repeat yourself" (Weidmann, 2024), with llama.cpp's names: a token that would lengthen a repetition of the answer by
/// one more loses `multiplier * base ^ (length so far - allowed_length)` of its logit. Repetitions that are shorter cost nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dry {
    /// 0 switches it off.
    pub(super) multiplier: f32,
    pub(super) base: f32,
    pub(super) allowed_length: usize,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    messages: Vec<Message>,
    max_completion_tokens: Option<u32>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    repeat_penalty: Option<f32>,
    dry_multiplier: Option<f32>,
    dry_base: Option<f32>,
    dry_allowed_length: Option<u16>,
    logprobs: Option<bool>,
    top_logprobs: Option<u8>,
    n: Option<u32>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`content` must be a string or an array of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`stop` must be a string or an array of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Input {
    /// Reads `OpenAI` chat JSON. Fields that it does not know change nothing here.
    pub(super) fn read(json: &[u8], defaults: &Defaults) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if body.messages.is_empty() {
            return Err("`messages` is missing or empty: this model chats, it does not embed".to_owned());
        }
        if body.n.is_some_and(|answers| answers > 1) {
            return Err("`n` must be 1 for the built-in model: send the request again for another answer".to_owned());
        }
        let options = options(&body, defaults)?;
        let turns = body.messages.into_iter().map(turn).collect::<Result<_, _>>()?;
        Ok(Self { turns, options })
    }
}

fn turn(message: Message) -> Result<Turn, String> {
    let role = match message.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            return Err(format!("the built-in model takes messages of system, user and assistant, not of `{other}`"));
        }
    };
    let text = match message.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => joined(parts)?,
        None => return Err(format!("a message of `{}` has no `content`", message.role)),
    };
    Ok(Turn { role, text })
}

fn joined(parts: Vec<Part>) -> Result<String, String> {
    let mut all = String::new();
    for part in parts {
        match part {
            Part { kind, text: Some(text) } if kind == "text" => all.push_str(&text),
            Part { kind, .. } if kind == "text" => return Err("a `text` part has no `text`".to_owned()),
            Part { kind, .. } => return Err(format!("the built-in model reads text only, no part of type `{kind}`")),
        }
    }
    Ok(all)
}

fn options(body: &Body, defaults: &Defaults) -> Result<Options, String> {
    let max_tokens = body.max_completion_tokens.or(body.max_tokens).unwrap_or(defaults.max_tokens);
    if max_tokens == 0 {
        return Err("`max_tokens` must be at least 1".to_owned());
    }
    let logprobs = match (body.logprobs, body.top_logprobs) {
        (_, Some(top)) if top > MAX_TOP_LOGPROBS => {
            return Err(format!("`top_logprobs` must be at most {MAX_TOP_LOGPROBS}"));
        }
        (Some(true), top) => Some(top.unwrap_or(0)),
        (_, Some(top)) if top > 0 => return Err("`top_logprobs` needs `logprobs: true`".to_owned()),
        _ => None,
    };
    let repeat_penalty = within("repeat_penalty", body.repeat_penalty, 1.0, 0.0, 10.0)?;
    if repeat_penalty == 0.0 {
        return Err("`repeat_penalty` must be above 0".to_owned());
    }
    Ok(Options {
        max_tokens,
        temperature: within("temperature", body.temperature, defaults.temperature, 0.0, 2.0)?,
        top_p: within("top_p", body.top_p, defaults.top_p, 0.0, 1.0)?,
        // Zero and, in some clients, -1 mean that there is no bound.
        top_k: body.top_k.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        min_p: within("min_p", body.min_p, 0.0, 0.0, 1.0)?,
        seed: body.seed.map(i64::cast_unsigned),
        stop: stops(body.stop.as_ref())?,
        presence_penalty: within("presence_penalty", body.presence_penalty, 0.0, -2.0, 2.0)?,
        frequency_penalty: within("frequency_penalty", body.frequency_penalty, 0.0, -2.0, 2.0)?,
        repeat_penalty,
        dry: Dry {
            multiplier: within("dry_multiplier", body.dry_multiplier, defaults.dry_multiplier, 0.0, 10.0)?,
            base: within("dry_base", body.dry_base, 1.75, 1.0, 10.0)?,
            allowed_length: body.dry_allowed_length.map_or(DRY_ALLOWED_LENGTH, usize::from),
        },
        logprobs,
    })
}

fn within(name: &str, given: Option<f32>, default: f32, least: f32, most: f32) -> Result<f32, String> {
    let value = given.unwrap_or(default);
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("`{name}` must be from {least} to {most}")) }
}

fn stops(given: Option<&OneOrMany>) -> Result<Vec<String>, String> {
    let all = match given {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one.clone()],
        Some(OneOrMany::Many(many)) => many.clone(),
    };
    if all.len() > MAX_STOPS {
        return Err(format!("`stop` must have at most {MAX_STOPS} strings"));
    }
    if all.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        return Err(format!("a `stop` string must have from 1 to {MAX_STOP_BYTES} bytes"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Input, String> {
        Input::read(json.as_bytes(), &Defaults::default())
    }

    #[test]
    fn text_comes_as_a_string_or_in_parts() {
        let json = r#"{"model":"m","stream":true,"messages":[
            {"role":"developer","content":"be brief"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        let turns = read(json).unwrap().turns;
        assert_eq!(turns[0], Turn { role: Role::System, text: "be brief".to_owned() });
        assert_eq!(turns[1], Turn { role: Role::User, text: "ab".to_owned() });
    }

    #[test]
    fn what_the_model_cannot_read_is_refused_by_name() {
        for (json, word) in [
            (r#"{"messages":[]}"#, "messages"),
            (r"{}", "messages"),
            (r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#, "image_url"),
            (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "tool"),
            (r#"{"messages":[{"role":"assistant","content":null}]}"#, "content"),
            (r#"{"messages":[{"role":"user","content":1}]}"#, "content"),
            (r#"{"messages":[{"role":"user","content":"x"}],"temperature":3}"#, "temperature"),
            (r#"{"messages":[{"role":"user","content":"x"}],"top_p":"x"}"#, "f32"),
            (r#"{"messages":[{"role":"user","content":"x"}],"stop":[""]}"#, "stop"),
            (r#"{"messages":[{"role":"user","content":"x"}],"stop":7}"#, "stop"),
            (r#"{"messages":[{"role":"user","content":"x"}],"n":2}"#, "`n`"),
            (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":0}"#, "max_tokens"),
            (r#"{"messages":[{"role":"user","content":"x"}],"top_logprobs":3}"#, "logprobs"),
            ("no json", "expected"),
        ] {
            let refusal = read(json).unwrap_err();
            assert!(refusal.contains(word), "{json}: {refusal}");
        }
    }

    #[test]
    fn options_are_taken_as_given_and_filled_up() {
        let json = r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":5,"max_completion_tokens":7,
            "temperature":0,"top_k":-1,"seed":-1,"stop":"END","logprobs":true,"top_logprobs":2,"unknown":{}}"#;
        let options = read(json).unwrap().options;
        assert_eq!(options.max_tokens, 7);
        assert!(options.temperature.abs() < f32::EPSILON);
        assert_eq!(options.top_k, 0);
        assert_eq!(options.seed, Some(u64::MAX));
        assert_eq!(options.stop, ["END"]);
        assert_eq!(options.logprobs, Some(2));
        let bare = read(r#"{"messages":[{"role":"user","content":"x"}]}"#).unwrap().options;
        assert_eq!(bare.max_tokens, Defaults::default().max_tokens);
        assert_eq!(bare.logprobs, None);
    }
}
