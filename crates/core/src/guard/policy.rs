//! All guardrails of one configuration.

use super::bounds::Bounds;
use super::looping::Runaway;
use super::rule::{BadRule, Place, Rule};
use super::rules::Rules;
use crate::port::Checker;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// All guardrails of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    bounds: Vec<RouteBounds>,
    all: OfRoute,
    by_route: HashMap<String, OfRoute>,
    /// When an agent is slowed and stopped.
    pub runaway: Runaway,
    checking: Option<Checking>,
}

/// Bounds of some routes.
#[derive(Clone, Debug, Default)]
pub struct RouteBounds {
    /// Of these; of all where there is none.
    pub routes: Vec<String>,
    /// How large.
    pub bounds: Bounds,
}

/// What is looked for in one route.
#[derive(Clone, Debug, Default)]
struct OfRoute {
    prompt: Option<Arc<Rules>>,
    answer: Option<Arc<Rules>>,
}

/// What happens where a checker gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The text passes. While it comes, it passes before it is checked.
    Open,
    /// The task fails. While it comes, it is held back until it is checked.
    Closed,
}

/// A checker outside, and when it is asked.
#[derive(Clone)]
pub struct Checking {
    /// What it is called: another one has other opinions.
    pub name: Arc<str>,
    /// Who is asked.
    pub checker: Arc<dyn Checker>,
    /// Before the model is asked.
    pub prompts: bool,
    /// While it answers, and at its end.
    pub answers: bool,
    /// After so many characters of an answer.
    pub every_chars: usize,
    /// What happens where it gives none.
    pub on_failure: OnFailure,
    /// The routes that it is asked for; all where there is none.
    pub routes: Vec<String>,
}

impl fmt::Debug for Checking {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Checking").field("on_failure", &self.on_failure).finish_non_exhaustive()
    }
}

fn is_for(routes: &[String], names: [&str; 2]) -> bool {
    routes.is_empty() || routes.iter().any(|route| names.contains(&&**route))
}

impl Policy {
    /// These rules, of whose matches an answer is held back for at most so many bytes.
    pub fn new(rules: &[Arc<Rule>], window_bytes: usize) -> Result<Self, BadRule> {
        let of_route = |name: &str| {
            let of_place = |place: Place| {
                let of_it = |rule: &&Arc<Rule>| rule.place.covers(place) && is_for(&rule.routes, [name, name]);
                let rules: Vec<Arc<Rule>> = rules.iter().filter(of_it).cloned().collect();
                if rules.is_empty() {
                    Ok(None)
                } else {
                    Rules::new(rules, window_bytes).map(|rules| Some(Arc::new(rules)))
                }
            };
            Ok::<_, BadRule>(OfRoute { prompt: of_place(Place::Prompt)?, answer: of_place(Place::Answer)? })
        };
        let mut by_route = HashMap::new();
        for route in rules.iter().flat_map(|rule| &rule.routes) {
            by_route.insert(route.clone(), of_route(route)?);
        }
        // No route has an empty name.
        Ok(Self { all: of_route("")?, by_route, ..Self::default() })
    }

    /// And these bounds.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Vec<RouteBounds>) -> Self {
        self.bounds = bounds;
        self
    }

    /// And this checker.
    #[must_use]
    pub fn with_checking(mut self, checking: Option<Checking>) -> Self {
        self.checking = checking;
        self
    }

    /// What a model's public name and its route may be asked at most.
    pub fn bounds(&self, model: &str, route: &str) -> Bounds {
        let own = self.bounds.iter().filter(|own| is_for(&own.routes, [model, route]));
        own.fold(Bounds::default(), |all, own| all.and(own.bounds))
    }

    /// What is looked for in a prompt (or an answer) of a model's public name and its route.
    pub fn rules(&self, model: &str, route: &str, place: Place) -> Option<&Arc<Rules>> {
        let of_route = self.by_route.get(model).or_else(|| self.by_route.get(route)).unwrap_or(&self.all);
        match place {
            Place::Prompt => of_route.prompt.as_ref(),
            Place::Answer | Place::Both => of_route.answer.as_ref(),
        }
    }

    /// All that these rules may change of an answer to a model's public name and its route, as bytes: other rules, other bytes.
    /// Empty where there are none. What is kept of an answer goes by it, so that none is given again that was made under others.
    pub fn fingerprint(&self, model: &str, route: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for place in [Place::Prompt, Place::Answer] {
            if let Some(rules) = self.rules(model, route, place) {
                out.extend_from_slice(format!("{place:?} {} ", rules.window).as_bytes());
                rules.all.iter().for_each(|rule| rule.describe(&mut out));
            }
        }
        if let Some(checking) = self.checking(model, route) {
            let Checking { name, prompts, answers, on_failure, .. } = checking;
            out.extend_from_slice(format!("checker {name:?} {prompts} {answers} {on_failure:?}").as_bytes());
        }
        out
    }

    /// Who checks what a model's public name and its route are asked and answer.
    pub fn checking(&self, model: &str, route: &str) -> Option<&Checking> {
        self.checking.as_ref().filter(|checking| is_for(&checking.routes, [model, route]))
    }
}
