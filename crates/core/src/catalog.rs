//! Which models there are, and which route answers for a name.

pub use crate::route::{Deployment, Takes};

use crate::port::Model;
use crate::route::{Contradiction, Plan, Route};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The public models of a server: the plan of its routes, which a reload exchanges, and what upstreams list.
#[derive(Debug, Default)]
pub struct Catalog {
    plan: RwLock<Arc<Plan>>,
    listed: RwLock<BTreeMap<Arc<str>, Vec<Model>>>,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The public name.
    pub name: Arc<str>,
    /// The capability that the task names: a route's name.
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
    /// A catalog of this plan.
    pub fn new(plan: Plan) -> Self {
        Self { plan: RwLock::new(Arc::new(plan)), listed: RwLock::default() }
    }

    /// A catalog of these deployments and the routes that follow from them.
    pub fn of(deployments: Vec<Deployment>) -> Result<Self, Contradiction> {
        Plan::new(deployments, Vec::new()).map(Self::new)
    }

    /// The plan as it is now. Whoever begins with one goes on with it.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, another plan.
    pub fn set_plan(&self, plan: Plan) {
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    /// An upstream has said which models it has.
    pub fn set_listed(&self, deployment: &Arc<str>, models: Vec<Model>) {
        self.listed.write().unwrap_or_else(PoisonError::into_inner).insert(deployment.clone(), models);
    }

    /// Every public name there is, each once.
    pub fn names(&self) -> Vec<String> {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::new();
        for route in self.plan().routes() {
            if route.takes_any {
                let models = route.members.iter().filter_map(|member| listed.get(&member.deployment)).flatten();
                names.extend(models.map(|model| model.name.clone()));
            } else {
                names.push(route.name.to_string());
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// The route for a name, among those of which a deployment has what is needed: the one of that name; else the first
    /// upstream that lists it; else the first upstream. Without a name: the built-in model, else the only one there is.
    pub fn resolve(&self, name: Option<&str>, needs: &[String]) -> Result<Target, Unresolved> {
        let plan = self.plan();
        if plan.deployments().is_empty() {
            return Err(Unresolved::NoDeployment);
        }
        let name = match name {
            Some(name) => name.into(),
            None => self.default_model(&plan)?,
        };
        match self.named(&plan, &name, needs) {
            Err(unresolved) if needs.is_empty() => Err(unresolved),
            // Is it the name or the needs?
            Err(_) => {
                self.named(&plan, &name, &[]).and_then(|_| Err(Unresolved::NeedsUnmet { has: has(&plan, &name) }))
            }
            found => found,
        }
    }

    fn named(&self, plan: &Plan, wanted: &Arc<str>, needs: &[String]) -> Result<Target, Unresolved> {
        let target = |route: &Arc<Route>| Target { name: wanted.clone(), capability: route.name.clone() };
        let able = |route: &&Arc<Route>| {
            let chain = plan.chain(route);
            chain.iter().flat_map(|route| plan.members(route)).any(|(deployment, _)| deployment.has_all(needs))
        };
        if let Some(route) = plan.route(wanted).filter(|route| !route.takes_any).filter(able) {
            return Ok(target(route));
        }
        let open = || plan.routes().iter().filter(|route| route.takes_any).filter(able);
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let lists = |route: &&Arc<Route>| {
            let models = route.members.iter().filter_map(|member| listed.get(&member.deployment)).flatten();
            models.into_iter().any(|model| *model.name == **wanted)
        };
        if let Some(route) = open().find(lists).or_else(|| open().next()) {
            return Ok(target(route));
        }
        drop(listed);
        Err(Unresolved::UnknownModel { known: self.names() })
    }

    fn default_model(&self, plan: &Plan) -> Result<Arc<str>, Unresolved> {
        let built_in = plan.deployments().iter().find(|deployment| deployment.built_in);
        if let Some(built_in) = built_in
            && let Takes::One { name, .. } = &built_in.takes
            && plan.route(name).is_some()
        {
            return Ok(name.clone());
        }
        match self.names().as_slice() {
            [only] => Ok(only.as_str().into()),
            _ => Err(Unresolved::NoModelNamed { known: self.names() }),
        }
    }
}

/// What the deployments have that take a name.
fn has(plan: &Plan, wanted: &str) -> Vec<String> {
    let takes = |route: &&Arc<Route>| route.takes_any || *route.name == *wanted;
    let chains = plan.routes().iter().filter(takes).flat_map(|route| plan.chain(route));
    let members = chains.flat_map(|route| plan.members(route));
    let has = members.flat_map(|(deployment, _)| deployment.tags().map(str::to_owned).collect::<Vec<_>>());
    has.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, built_in: bool) -> Deployment {
        let takes = Takes::One { name: name.into(), model: "model".into() };
        Deployment { built_in, ..Deployment::new(name, takes) }
    }

    fn open(capability: &str) -> Deployment {
        Deployment::new(capability, Takes::Any)
    }

    fn catalog(deployments: Vec<Deployment>) -> Catalog {
        Catalog::of(deployments).unwrap()
    }

    fn lists(catalog: &Catalog, capability: &str, name: &str) {
        catalog.set_listed(&capability.into(), vec![Model { name: name.into(), context_tokens: None }]);
    }

    #[test]
    fn a_name_goes_to_whoever_has_it_then_whoever_lists_it_then_the_first_upstream() {
        let catalog = catalog(vec![open("a"), open("b"), named("small", false)]);
        lists(&catalog, "a", "x");
        lists(&catalog, "b", "y");
        let at = |name: &str| catalog.resolve(Some(name), &[]).unwrap().capability;
        assert_eq!(&*at("small"), "small");
        assert_eq!(&*at("y"), "b");
        assert_eq!(&*at("z"), "a");
    }

    #[test]
    fn without_a_name_the_built_in_model_or_the_only_one() {
        let both = catalog(vec![named("other", false), named("small", true)]);
        assert_eq!(&*both.resolve(None, &[]).unwrap().name, "small");
        let one = catalog(vec![open("a")]);
        assert!(matches!(one.resolve(None, &[]), Err(Unresolved::NoModelNamed { .. })), "nobody knows its models yet");
        lists(&one, "a", "x");
        assert_eq!(&*one.resolve(None, &[]).unwrap().name, "x");
        let two = catalog(vec![named("x", false), named("y", false)]);
        assert_eq!(two.resolve(None, &[]), Err(Unresolved::NoModelNamed { known: vec!["x".into(), "y".into()] }));
        assert_eq!(Catalog::default().resolve(None, &[]), Err(Unresolved::NoDeployment));
    }

    #[test]
    fn what_a_task_needs_is_there_where_one_of_the_routes_deployments_has_it() {
        let serves = |name: &str, has: &str| {
            let takes = Takes::One { name: "x".into(), model: "x".into() };
            Deployment { has: vec![has.to_owned()], ..Deployment::new(name, takes) }
        };
        let catalog = catalog(vec![serves("x-us", "us"), serves("x-eu", "eu")]);
        assert_eq!(&*catalog.resolve(Some("x"), &["eu".into()]).unwrap().capability, "x");
        assert_eq!(&*catalog.resolve(None, &["eu".into()]).unwrap().capability, "x");
        let unmet = catalog.resolve(Some("x"), &["gpu".into()]);
        assert_eq!(unmet, Err(Unresolved::NeedsUnmet { has: vec!["eu".into(), "us".into()] }));
        let unknown = catalog.resolve(Some("y"), &["eu".into()]);
        assert_eq!(unknown, Err(Unresolved::UnknownModel { known: vec!["x".into()] }));
    }

    #[test]
    fn an_unknown_name_is_refused_where_nobody_takes_any() {
        let catalog = catalog(vec![named("x", false)]);
        assert_eq!(catalog.resolve(Some("z"), &[]), Err(Unresolved::UnknownModel { known: vec!["x".into()] }));
    }
}
