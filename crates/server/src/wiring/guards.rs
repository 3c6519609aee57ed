//! The guardrails of a configuration, with the checker that they ask.

use crate::checker::{HttpChecker, Names};
use crate::config::{self, Config};
use std::sync::Arc;
use tidewire_core::guard::{Checking, Policy};

/// All of them.
pub(super) fn guards(config: &Config, names: &Names) -> Result<Policy, String> {
    let policy = config::guards(config)?;
    let checker = &config.checker;
    if checker.url.is_empty() {
        return Ok(policy);
    }
    let key = match &checker.key_env {
        Some(name) => {
            let key = config::variable(name);
            Some(key.ok_or_else(|| format!("[checker] wants its key in {name}, which is not set"))?)
        }
        None => None,
    };
    let made = HttpChecker::new(checker, key.as_deref(), &config.outgoing.allow, names.clone())?;
    Ok(policy.with_checking(Some(Checking {
        name: checker.url.as_str().into(),
        checker: Arc::new(made),
        prompts: checker.prompts,
        answers: checker.answers,
        every_chars: checker.every_chars,
        on_failure: checker.policy(),
        routes: checker.routes.clone(),
    })))
}
