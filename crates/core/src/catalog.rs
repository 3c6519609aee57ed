//! Which models there are, and which deployment answers for a name.

use crate::port::Model;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The public models of a server. Deployments are fixed at start; what an upstream lists may change.
#[derive(Debug, Default)]
pub struct Catalog {
    deployments: Vec<Deployment>,
    listed: RwLock<BTreeMap<Arc<str>, Vec<Model>>>,
}

/// One backend under one name: what a worker must have to run its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The capability that its tasks name.
    pub capability: Arc<str>,
    /// Which model names it takes.
    pub takes: Takes,
    /// The built-in model: what a request without a model gets.
    pub built_in: bool,
    /// What it has beside the model, for tasks that need it: `eu`, `gpu`, `image`.
    pub has: Vec<String>,
}

impl Deployment {
    fn has_all(&self, needs: &[String]) -> bool {
        needs.iter().all(|need| self.has.contains(need))
    }
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

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The public name.
    pub name: Arc<str>,
    /// The capability that the task names.
    pub capability: Arc<str>,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// There is no deployment at all.
    NoDeployment,
    /// The request names no model, and there is more than one (or an upstream that has not said which).
    NoModelNamed {
        /// The ones there are.
        known: Vec<String>,
    },
    /// Who takes the name has not what the task needs.
    NeedsUnmet {
        /// What those have that take it.
        has: Vec<String>,
    },
    /// Nobody takes the name.
    UnknownModel {
        /// The ones there are.
        known: Vec<String>,
    },
}

impl Catalog {
    /// A catalog of these deployments, in the order in which they are asked.
    pub fn new(deployments: Vec<Deployment>) -> Self {
        Self { deployments, listed: RwLock::default() }
    }

    /// The deployments.
    pub fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    /// An upstream has said which models it has.
    pub fn set_listed(&self, capability: &Arc<str>, models: Vec<Model>) {
        self.listed.write().unwrap_or_else(PoisonError::into_inner).insert(capability.clone(), models);
    }

    /// Every public name there is, each once.
    pub fn names(&self) -> Vec<String> {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::new();
        for deployment in &self.deployments {
            match &deployment.takes {
                Takes::One { name, .. } => names.push(name.to_string()),
                Takes::Any => {
                    names.extend(
                        listed.get(&deployment.capability).into_iter().flatten().map(|model| model.name.clone()),
                    );
                }
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// The deployment for a name, among those that have what is needed: one of that name; else the first upstream
    /// that lists it; else the first upstream. Without a name: the built-in model, else the only one there is.
    pub fn resolve(&self, name: Option<&str>, needs: &[String]) -> Result<Target, Unresolved> {
        if self.deployments.is_empty() {
            return Err(Unresolved::NoDeployment);
        }
        let name = match name {
            Some(name) => name.into(),
            None => self.default_model()?,
        };
        match self.named(&name, needs) {
            Err(unresolved) if needs.is_empty() => Err(unresolved),
            // Is it the name or the needs?
            Err(_) => self.named(&name, &[]).and_then(|_| Err(Unresolved::NeedsUnmet { has: self.has(&name) })),
            found => found,
        }
    }

    fn named(&self, wanted: &Arc<str>, needs: &[String]) -> Result<Target, Unresolved> {
        let target =
            |deployment: &Deployment| Target { name: wanted.clone(), capability: deployment.capability.clone() };
        let able = || self.deployments.iter().filter(|deployment| deployment.has_all(needs));
        let exact = able().find(|deployment| match &deployment.takes {
            Takes::One { name, .. } => name == wanted,
            Takes::Any => false,
        });
        if let Some(deployment) = exact {
            return Ok(target(deployment));
        }
        let open = || able().filter(|deployment| deployment.takes == Takes::Any);
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let lists = |deployment: &&Deployment| {
            listed.get(&deployment.capability).is_some_and(|models| models.iter().any(|model| *model.name == **wanted))
        };
        if let Some(deployment) = open().find(lists).or_else(|| open().next()) {
            return Ok(target(deployment));
        }
        drop(listed);
        Err(Unresolved::UnknownModel { known: self.names() })
    }

    /// What the deployments have that take a name.
    fn has(&self, wanted: &str) -> Vec<String> {
        let takes = |deployment: &&Deployment| match &deployment.takes {
            Takes::One { name, .. } => &**name == wanted,
            Takes::Any => true,
        };
        let has = self.deployments.iter().filter(takes).flat_map(|deployment| deployment.has.iter().cloned());
        has.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    fn default_model(&self) -> Result<Arc<str>, Unresolved> {
        let built_in = self.deployments.iter().find(|deployment| deployment.built_in);
        if let Some(Deployment { takes: Takes::One { name, .. }, .. }) = built_in {
            return Ok(name.clone());
        }
        match self.names().as_slice() {
            [only] => Ok(only.as_str().into()),
            _ => Err(Unresolved::NoModelNamed { known: self.names() }),
        }
    }

    /// The backend's own name for a public one.
    pub fn model_at_backend(&self, capability: &str, name: &str) -> Arc<str> {
        let deployment = self.deployments.iter().find(|deployment| &*deployment.capability == capability);
        match deployment.map(|deployment| &deployment.takes) {
            Some(Takes::One { model, .. }) => model.clone(),
            _ => name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, built_in: bool) -> Deployment {
        let takes = Takes::One { name: name.into(), model: "model".into() };
        Deployment { capability: name.into(), takes, built_in, has: Vec::new() }
    }

    fn open(capability: &str) -> Deployment {
        Deployment { capability: capability.into(), takes: Takes::Any, built_in: false, has: Vec::new() }
    }

    fn lists(catalog: &Catalog, capability: &str, name: &str) {
        catalog.set_listed(&capability.into(), vec![Model { name: name.into(), context_tokens: None }]);
    }

    #[test]
    fn a_name_goes_to_whoever_has_it_then_whoever_lists_it_then_the_first_upstream() {
        let catalog = Catalog::new(vec![open("a"), open("b"), named("small", false)]);
        lists(&catalog, "a", "x");
        lists(&catalog, "b", "y");
        let at = |name: &str| catalog.resolve(Some(name), &[]).unwrap().capability;
        assert_eq!(&*at("small"), "small");
        assert_eq!(&*at("y"), "b");
        assert_eq!(&*at("z"), "a");
    }

    #[test]
    fn without_a_name_the_built_in_model_or_the_only_one() {
        let both = Catalog::new(vec![named("other", false), named("small", true)]);
        assert_eq!(&*both.resolve(None, &[]).unwrap().name, "small");
        let one = Catalog::new(vec![open("a")]);
        assert!(matches!(one.resolve(None, &[]), Err(Unresolved::NoModelNamed { .. })), "nobody knows its models yet");
        lists(&one, "a", "x");
        assert_eq!(&*one.resolve(None, &[]).unwrap().name, "x");
        let two = Catalog::new(vec![named("x", false), named("y", false)]);
        assert_eq!(two.resolve(None, &[]), Err(Unresolved::NoModelNamed { known: vec!["x".into(), "y".into()] }));
        assert_eq!(Catalog::default().resolve(None, &[]), Err(Unresolved::NoDeployment));
    }

    #[test]
    fn of_two_that_serve_a_name_the_one_that_has_what_is_needed_takes_it() {
        let serves = |capability: &str, has: &str| {
            let takes = Takes::One { name: "x".into(), model: "x".into() };
            Deployment { capability: capability.into(), takes, built_in: false, has: vec![has.to_owned()] }
        };
        let catalog = Catalog::new(vec![serves("x-us", "us"), serves("x-eu", "eu")]);
        assert_eq!(&*catalog.resolve(Some("x"), &["eu".into()]).unwrap().capability, "x-eu");
        assert_eq!(&*catalog.resolve(None, &["eu".into()]).unwrap().capability, "x-eu");
        assert_eq!(&*catalog.resolve(Some("x"), &[]).unwrap().capability, "x-us");
        let unmet = catalog.resolve(Some("x"), &["gpu".into()]);
        assert_eq!(unmet, Err(Unresolved::NeedsUnmet { has: vec!["eu".into(), "us".into()] }));
        let unknown = catalog.resolve(Some("y"), &["eu".into()]);
        assert_eq!(unknown, Err(Unresolved::UnknownModel { known: vec!["x".into()] }));
    }

    #[test]
    fn an_unknown_name_is_refused_where_nobody_takes_any() {
        let catalog = Catalog::new(vec![named("x", false)]);
        assert_eq!(catalog.resolve(Some("z"), &[]), Err(Unresolved::UnknownModel { known: vec!["x".into()] }));
    }
}
