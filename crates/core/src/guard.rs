//! Guardrails: what may be asked, how much of it, and what of prompts and answers nobody may see.
//!
//! A [`Policy`] is part of the plan of routes, so a reload exchanges both at once, and what runs keeps what it began with. It
//! is plain data: the edge applies it when a task is admitted, the worker while a model speaks.

mod alive;
mod bounds;
mod built_in;
mod looping;
mod masker;
mod policy;
mod rule;
mod rules;
mod texts;

pub use bounds::{Bounds, Over, capped};
pub use built_in::NAMES as BUILT_IN;
pub use looping::{Agent, Loops, Runaway, Verdict};
pub use masker::{Masked, Masker};
pub use policy::{Checking, OnFailure, Policy, RouteBounds};
pub use rule::{Action, BadRule, Place, Rule, Spec};
pub use rules::{Blocked, Hit, Rules};
pub use texts::{joined, rewritten};

#[cfg(test)]
mod tests;
