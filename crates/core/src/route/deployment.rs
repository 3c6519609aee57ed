//! One model at one backend: what is written down about it.

use crate::ending::Usage;
use crate::money::{Money, Price};
use std::sync::Arc;

/// One model at one backend, with its limits and its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name, unique in a configuration.
    pub name: Arc<str>,
    /// Which model names it takes.
    pub takes: Takes,
    /// The built-in model: what a request without a model gets.
    pub built_in: bool,
    /// What it has beside the model, for tasks that need it: `gpu`, `image`.
    pub has: Vec<String>,
    /// Where it is: one more thing that it has.
    pub region: Option<Arc<str>>,
    /// Its share in a route that says nothing else.
    pub weight: u32,
    /// Requests at once.
    pub slots: usize,
    /// What it may be asked in any minute.
    pub per_minute: PerMinute,
    /// What its tokens cost; `None` where nobody knows.
    pub price: Option<Price>,
    /// How many tokens fit its context, where that is known.
    pub context_tokens: Option<u32>,
}

/// What a deployment may be asked in any minute; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMinute {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens, read and written together.
    pub tokens: Option<u64>,
}

/// Which model names a deployment takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One public name, which is `model` at the backend.
    One {
        /// The public name.
        name: Arc<str>,
        /// The backend's name for it.
        model: Arc<str>,
    },
    /// Any name, passed through: an upstream given by its URL alone.
    Any,
}

impl Deployment {
    /// A deployment without limits, price or tags.
    pub fn new(name: impl Into<Arc<str>>, takes: Takes) -> Self {
        Self {
            name: name.into(),
            takes,
            built_in: false,
            has: Vec::new(),
            region: None,
            weight: 1,
            slots: usize::MAX,
            per_minute: PerMinute::default(),
            price: None,
            context_tokens: None,
        }
    }

    /// One whose public name is its own, and its model's at the backend.
    pub fn by_name(name: &str) -> Self {
        Self::new(name, Takes::One { name: name.into(), model: name.into() })
    }

    /// Whether it has all of these, its region among them.
    pub fn has_all(&self, needs: &[String]) -> bool {
        needs.iter().all(|need| self.has.contains(need) || self.region.as_deref() == Some(need))
    }

    /// All that it has.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.has.iter().map(String::as_str).chain(self.region.as_deref())
    }

    /// The backend's own name for a public one.
    pub fn model(&self, asked: &str) -> Arc<str> {
        match &self.takes {
            Takes::One { model, .. } => model.clone(),
            Takes::Any => asked.into(),
        }
    }

    /// What a usage costs here; nothing where the price is not known.
    pub fn cost(&self, usage: &Usage) -> Money {
        self.price.map_or(Money::ZERO, |price| price.of(usage))
    }
}
