//! The settings of guardrails, and the policy that they amount to.

use super::Config;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::guard::{Action, Bounds, OnFailure, Over, Place, Policy, RouteBounds, Rule, Runaway, Spec};

/// The most rules: each is looked for in every text.
const MAX_RULES: usize = 64;

/// The longest name of a rule: it is a metric's label.
const MAX_NAME_BYTES: usize = 64;

/// More of an answer than anybody would wait for: 64 KiB is some ten pages.
const MAX_WINDOW_BYTES: usize = 64 * 1024;

/// Names that guardrails of ours have in metrics.
const OURS: &[&str] = &["checker", "runaway", "tools", "input_bytes", "input_tokens", "output_tokens"];

/// A pattern.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardConfig {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pattern: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) built_in: Option<String>,
    #[serde(default)]
    pub(crate) place: PlaceKind,
    #[serde(default)]
    pub(crate) action: ActionKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlaceKind {
    Prompt,
    Answer,
    #[default]
    Both,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionKind {
    #[default]
    Mask,
    Block,
}

/// What holds for all patterns.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Guards {
    pub(crate) window_bytes: usize,
}

/// How large requests and answers may be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BoundsConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    pub(crate) over: Over,
}

/// When an agent is slowed and stopped.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunawayConfig {
    pub(crate) window_s: u64,
    pub(crate) slow_after: u32,
    pub(crate) stop_after: u32,
    pub(crate) delay_ms: u64,
}

/// A checker outside. There is none while `url` is empty.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CheckerConfig {
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) on_failure: FailureKind,
    pub(crate) prompts: bool,
    pub(crate) answers: bool,
    pub(crate) every_chars: usize,
    pub(crate) concurrency: usize,
    pub(crate) routes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FailureKind {
    Open,
    #[default]
    Closed,
}

/// What the server may call of its own.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OutgoingConfig {
    pub(crate) allow: Vec<String>,
}

impl Default for Guards {
    fn default() -> Self {
        Self { window_bytes: 512 }
    }
}

impl Default for RunawayConfig {
    fn default() -> Self {
        Self { window_s: 60, slow_after: 0, stop_after: 0, delay_ms: 1000 }
    }
}

impl Default for CheckerConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            key_env: None,
            timeout_ms: 2000,
            on_failure: FailureKind::Closed,
            prompts: true,
            answers: true,
            every_chars: 400,
            concurrency: 64,
            routes: Vec::new(),
        }
    }
}

impl CheckerConfig {
    /// What a failure of it means.
    pub(crate) fn policy(&self) -> OnFailure {
        match self.on_failure {
            FailureKind::Open => OnFailure::Open,
            FailureKind::Closed => OnFailure::Closed,
        }
    }
}

fn rule(config: &GuardConfig) -> Result<Rule, String> {
    let name = &config.name;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(format!(
            "the name of a [[guard]] has 1 to {MAX_NAME_BYTES} letters, digits, and `-`, `_`, `.`; not `{name}`"
        ));
    }
    if OURS.contains(&name.as_str()) {
        return Err(format!("`{name}` is the name of a guardrail of the server's own: call the [[guard]] otherwise"));
    }
    let pattern = match (&config.pattern, &config.built_in) {
        (Some(pattern), None) => Ok(pattern.clone()),
        (None, Some(built_in)) => Err(built_in.clone()),
        _ => return Err(format!("the guard `{name}` needs `pattern`, or `built_in`, and not both")),
    };
    let spec = Spec {
        name: name.clone(),
        pattern,
        place: match config.place {
            PlaceKind::Prompt => Place::Prompt,
            PlaceKind::Answer => Place::Answer,
            PlaceKind::Both => Place::Both,
        },
        action: match config.action {
            ActionKind::Mask => Action::Mask,
            ActionKind::Block => Action::Block,
        },
        replacement: config.replacement.clone(),
        routes: config.routes.clone(),
    };
    Rule::new(spec).map_err(|error| format!("the guard `{name}`: {error}"))
}

/// All guardrails but the checker; or what is wrong with them.
pub(crate) fn policy(config: &Config) -> Result<Policy, String> {
    if config.guard.len() > MAX_RULES {
        return Err(format!("there are {} [[guard]], and {MAX_RULES} are as many as there may be", config.guard.len()));
    }
    if !(16..=MAX_WINDOW_BYTES).contains(&config.guards.window_bytes) {
        return Err(format!("`guards.window_bytes` is 16 to {MAX_WINDOW_BYTES}"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = config.guard.iter().find(|guard| !names.insert(&guard.name)) {
        return Err(format!("two guards are named `{}`", twice.name));
    }
    if config.bounds.iter().any(|bounds| bounds.output_tokens == Some(0)) {
        return Err("`bounds.output_tokens` is at least 1".to_owned());
    }
    let runaway = &config.runaway;
    let stops_first = runaway.stop_after > 0 && runaway.stop_after <= runaway.slow_after;
    if runaway.window_s == 0 || stops_first || runaway.slow_after == 1 || runaway.stop_after == 1 {
        return Err("[runaway]: `slow_after` and `stop_after` are 0 or at least 2, the second the larger one, and \
                    `window_s` is at least 1"
            .to_owned());
    }
    let rules: Vec<Arc<Rule>> = config.guard.iter().map(|guard| rule(guard).map(Arc::new)).collect::<Result<_, _>>()?;
    let bounds = |bounds: &BoundsConfig| RouteBounds {
        routes: bounds.routes.clone(),
        bounds: Bounds {
            input_tokens: bounds.input_tokens,
            input_bytes: bounds.input_bytes,
            output_tokens: bounds.output_tokens,
            over: bounds.over,
        },
    };
    let made = Policy::new(&rules, config.guards.window_bytes).map_err(|error| format!("[[guard]]: {error}"))?;
    let mut policy = made.with_bounds(config.bounds.iter().map(bounds).collect());
    policy.runaway = Runaway {
        window: Duration::from_secs(runaway.window_s),
        slow_after: runaway.slow_after,
        stop_after: runaway.stop_after,
        delay: Duration::from_millis(runaway.delay_ms),
    };
    Ok(policy)
}

/// What is wrong with the guardrails.
pub(super) fn contradiction(config: &Config) -> Option<String> {
    let checker = &config.checker;
    if !checker.url.is_empty() && (checker.timeout_ms == 0 || checker.every_chars == 0 || checker.concurrency == 0) {
        return Some("[checker]: `timeout_ms`, `every_chars` and `concurrency` are at least 1".to_owned());
    }
    let networks = crate::outgoing::networks(&config.outgoing.allow).err();
    networks.or_else(|| policy(config).err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        contradiction(&toml::from_str(text).unwrap()).unwrap_or_default()
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_why() {
        let guard = |rest: &str| format!("[[guard]]\nname = \"g\"\n{rest}\n");
        assert_eq!(wrong(&guard("built_in = \"email\"")), "");
        assert!(wrong(&guard("")).contains("needs `pattern`, or `built_in`"));
        assert!(wrong(&guard("pattern = \"(\"")).contains("the guard `g`: the pattern can't be read"));
        assert!(wrong(&guard("built_in = \"mail\"")).contains("there are email"));
        assert!(wrong(&guard("pattern = \"a\"").repeat(2)).contains("two guards are named `g`"));
        assert!(wrong("[[guard]]\nname = \"tools\"\npattern = \"a\"").contains("call the [[guard]] otherwise"));
        assert!(wrong("[outgoing]\nallow = [\"ten\"]").contains("networks such as"));
        assert!(wrong("[runaway]\nslow_after = 5\nstop_after = 4").contains("the second the larger"));
        assert!(wrong("[guards]\nwindow_bytes = 1").contains("window_bytes"));
    }
}
