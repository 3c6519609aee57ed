//! The routes and deployments of one configuration: fixed, checked, and exchanged as a whole.

use super::{Deployment, Member, Route, Takes};
use crate::guard::Policy;
use crate::money::Price;
use crate::port::Timeouts;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The routes and deployments of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    deployments: Vec<Arc<Deployment>>,
    routes: Vec<Arc<Route>>,
    deployment_by_name: HashMap<Arc<str>, Arc<Deployment>>,
    route_by_name: HashMap<Arc<str>, Arc<Route>>,
    timeouts: Option<Timeouts>,
    guards: Arc<Policy>,
}

/// Why routes and deployments make no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two of one name.
    #[error("two deployments are named `{0}`")]
    DeploymentTwice(Arc<str>),
    /// Two of one name.
    #[error("two routes are named `{0}`")]
    RouteTwice(Arc<str>),
    /// A route names what is not there.
    #[error("the route `{route}` names the deployment `{deployment}`, which does not exist")]
    UnknownDeployment {
        /// Which route.
        route: Arc<str>,
        /// What it names.
        deployment: Arc<str>,
    },
    /// A route names a deployment more than once.
    #[error("the route `{route}` names the deployment `{deployment}` twice: give it a higher weight instead")]
    MemberTwice {
        /// Which route.
        route: Arc<str>,
        /// What it names.
        deployment: Arc<str>,
    },
    /// A route without deployments.
    #[error("the route `{0}` has no deployments")]
    NoMembers(Arc<str>),
    /// All of a route's weights are 0.
    #[error("all deployments of the route `{0}` have the weight 0")]
    NoWeight(Arc<str>),
    /// A route names what is not there.
    #[error("the route `{route}` falls back to `{fallback}`, which is no route")]
    UnknownFallback {
        /// Which route.
        route: Arc<str>,
        /// What it names.
        fallback: Arc<str>,
    },
    /// A route's shadow is what is not there, or itself.
    #[error("the route `{route}` has the shadow `{shadow}`, which is no other route")]
    NoShadow {
        /// Which route.
        route: Arc<str>,
        /// What it names.
        shadow: Arc<str>,
    },
    /// Fallbacks that come back to where they began.
    #[error("the fallbacks go round in a circle: {}", circle.join(" → "))]
    Circle {
        /// The routes of it, the first one again at the end.
        circle: Vec<String>,
    },
    /// A deployment serves a name that is a route without it.
    #[error(
        "the deployment `{deployment}` serves `{route}`, which is a route that does not name it: add it to the \
         route's `deployments`, or let it serve another name"
    )]
    LeftOut {
        /// Which deployment.
        deployment: Arc<str>,
        /// What it serves.
        route: Arc<str>,
    },
}

impl Plan {
    /// These deployments and routes, and a route for each public name of a deployment that no route names.
    pub fn new(deployments: Vec<Deployment>, routes: Vec<Route>) -> Result<Self, Contradiction> {
        let mut plan = Self::default();
        for deployment in deployments {
            if plan.deployment_by_name.contains_key(&deployment.name) {
                return Err(Contradiction::DeploymentTwice(deployment.name));
            }
            plan.add_deployment(deployment);
        }
        let named: BTreeSet<Arc<str>> =
            routes.iter().flat_map(|route| &route.members).map(|member| member.deployment.clone()).collect();
        for route in routes {
            plan.check(&route)?;
            plan.add_route(route);
        }
        plan.add_implicit(&named)?;
        for route in &plan.routes {
            plan.check_fallbacks(route, &mut vec![route.name.clone()])?;
            plan.check_shadow(route)?;
        }
        Ok(plan)
    }

    fn check(&self, route: &Route) -> Result<(), Contradiction> {
        if self.route_by_name.contains_key(&route.name) {
            return Err(Contradiction::RouteTwice(route.name.clone()));
        }
        if route.members.is_empty() {
            return Err(Contradiction::NoMembers(route.name.clone()));
        }
        let mut seen = BTreeSet::new();
        for Member { deployment, .. } in &route.members {
            let at_fault = || (route.name.clone(), deployment.clone());
            if !self.deployment_by_name.contains_key(deployment) {
                let (route, deployment) = at_fault();
                return Err(Contradiction::UnknownDeployment { route, deployment });
            }
            if !seen.insert(deployment) {
                let (route, deployment) = at_fault();
                return Err(Contradiction::MemberTwice { route, deployment });
            }
        }
        if route.members.iter().all(|member| member.weight == 0) {
            return Err(Contradiction::NoWeight(route.name.clone()));
        }
        Ok(())
    }

    fn add_deployment(&mut self, deployment: Deployment) {
        let deployment = Arc::new(deployment);
        self.deployment_by_name.insert(deployment.name.clone(), deployment.clone());
        self.deployments.push(deployment);
    }

    fn add_route(&mut self, route: Route) {
        let route = Arc::new(route);
        self.route_by_name.insert(route.name.clone(), route.clone());
        self.routes.push(route);
    }

    /// A route for each public name of the deployments that no route names.
    fn add_implicit(&mut self, named: &BTreeSet<Arc<str>>) -> Result<(), Contradiction> {
        let mut implicit: Vec<Route> = Vec::new();
        for deployment in self.deployments.iter().filter(|deployment| !named.contains(&deployment.name)) {
            let (public, takes_any) = match &deployment.takes {
                Takes::One { name, .. } => (name, false),
                Takes::Any => (&deployment.name, true),
            };
            if self.route_by_name.contains_key(public) {
                let (deployment, route) = (deployment.name.clone(), public.clone());
                return Err(Contradiction::LeftOut { deployment, route });
            }
            let member = Member { deployment: deployment.name.clone(), weight: deployment.weight };
            match implicit.iter_mut().find(|route| route.name == *public) {
                Some(route) if route.takes_any || takes_any => {
                    return Err(Contradiction::RouteTwice(public.clone()));
                }
                Some(route) => route.members.push(member),
                None => {
                    implicit.push(Route { takes_any, members: vec![member], ..Route::new(public.clone()) });
                }
            }
        }
        for route in implicit {
            if route.members.iter().all(|member| member.weight == 0) {
                return Err(Contradiction::NoWeight(route.name));
            }
            self.add_route(route);
        }
        Ok(())
    }

    /// `path`: the names from the first route to this one.
    fn check_fallbacks(&self, route: &Route, path: &mut Vec<Arc<str>>) -> Result<(), Contradiction> {
        for fallback in &route.fallbacks {
            let Some(next) = self.route_by_name.get(fallback) else {
                return Err(Contradiction::UnknownFallback { route: route.name.clone(), fallback: fallback.clone() });
            };
            let round = path.iter().position(|name| name == fallback);
            path.push(fallback.clone());
            if let Some(from) = round {
                let circle = path[from..].iter().map(ToString::to_string).collect();
                return Err(Contradiction::Circle { circle });
            }
            self.check_fallbacks(next, path)?;
            path.pop();
        }
        Ok(())
    }

    fn check_shadow(&self, route: &Route) -> Result<(), Contradiction> {
        match &route.shadow {
            Some(shadow) if shadow.route == route.name || !self.route_by_name.contains_key(&shadow.route) => {
                Err(Contradiction::NoShadow { route: route.name.clone(), shadow: shadow.route.clone() })
            }
            _ => Ok(()),
        }
    }

    /// With these timeouts where a route has none of its own.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Some(timeouts);
        self
    }

    /// With these guardrails.
    #[must_use]
    pub fn with_guards(mut self, guards: Policy) -> Self {
        self.guards = Arc::new(guards);
        self
    }

    /// What may be asked and said.
    pub fn guards(&self) -> &Arc<Policy> {
        &self.guards
    }

    /// How long a request of a route waits for what.
    pub fn timeouts(&self, route: &Route) -> Timeouts {
        let all = self.timeouts.unwrap_or_default();
        Timeouts {
            first_token: route.first_token.unwrap_or(all.first_token),
            between_tokens: route.between_tokens.unwrap_or(all.between_tokens),
            ..all
        }
    }

    /// The deployments, in the order of the configuration.
    pub fn deployments(&self) -> &[Arc<Deployment>] {
        &self.deployments
    }

    /// The routes: those that were asked for, then those that follow from deployments.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// A deployment by its name.
    pub fn deployment(&self, name: &str) -> Option<&Arc<Deployment>> {
        self.deployment_by_name.get(name)
    }

    /// A route by its name.
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.route_by_name.get(name)
    }

    /// A route's deployments, each with its share.
    pub fn members<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = (&'a Arc<Deployment>, u32)> {
        let member = |member: &Member| Some((self.deployment(&member.deployment)?, member.weight));
        route.members.iter().filter_map(member)
    }

    /// The highest of the prices that a request may come to which takes this route: what is reserved for it.
    pub fn dearest(&self, route: &Arc<Route>) -> Price {
        let mut dearest = Price::default();
        for route in self.chain(route) {
            for price in self.members(route).filter_map(|(deployment, _)| deployment.price) {
                // Nobody knows before the answer whether the prompt goes into a cache.
                dearest.input = dearest.input.max(price.input).max(price.cache_write);
                dearest.cached_input = dearest.cached_input.max(price.cached_input);
                dearest.cache_write = dearest.cache_write.max(price.cache_write);
                dearest.output = dearest.output.max(price.output);
            }
        }
        dearest
    }

    /// A route and those that it falls back to, each once, in the order in which they are tried.
    pub fn chain<'a>(&'a self, route: &'a Arc<Route>) -> Vec<&'a Arc<Route>> {
        let mut chain = Vec::with_capacity(1 + route.fallbacks.len());
        self.follow(route, &mut chain);
        chain
    }

    fn follow<'a>(&'a self, route: &'a Arc<Route>, chain: &mut Vec<&'a Arc<Route>>) {
        if chain.iter().any(|known| known.name == route.name) {
            return;
        }
        chain.push(route);
        for fallback in route.fallbacks.iter().filter_map(|name| self.route(name)) {
            self.follow(fallback, chain);
        }
    }

    /// How many tasks of a route run at once: what its deployments run together.
    pub fn slots(&self, route: &Route) -> usize {
        self.members(route).fold(0, |sum: usize, (deployment, _)| sum.saturating_add(deployment.slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, members: &[&str], fallbacks: &[&str]) -> Route {
        Route {
            members: members.iter().map(|name| Member { deployment: (*name).into(), weight: 1 }).collect(),
            fallbacks: fallbacks.iter().map(|name| (*name).into()).collect(),
            ..Route::new(name)
        }
    }

    fn serves(name: &str, public: &str) -> Deployment {
        Deployment::new(name, Takes::One { name: public.into(), model: "m".into() })
    }

    #[test]
    fn deployments_that_no_route_names_make_routes_of_their_public_names() {
        let deployments = vec![serves("a", "x"), serves("b", "x"), serves("c", "c"), serves("d", "d")];
        let plan = Plan::new(deployments, vec![route("r", &["d"], &["x"])]).unwrap();
        let names: Vec<&str> = plan.routes().iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["r", "x", "c"], "`d` is reached by `r` alone");
        let members: Vec<&str> = plan.route("x").unwrap().members.iter().map(|member| &*member.deployment).collect();
        assert_eq!(members, ["a", "b"]);
        let chain: Vec<&str> = plan.chain(plan.route("r").unwrap()).iter().map(|route| &*route.name).collect();
        assert_eq!(chain, ["r", "x"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_names() {
        let plan = |routes: Vec<Route>| {
            Plan::new(vec![serves("a", "a"), serves("b", "b"), serves("c", "x")], routes).unwrap_err().to_string()
        };
        assert!(plan(vec![route("r", &["z"], &[])]).contains("names the deployment `z`"));
        assert!(plan(vec![route("r", &["a", "a"], &[])]).contains("twice"));
        assert!(plan(vec![route("r", &[], &[])]).contains("has no deployments"));
        assert!(plan(vec![route("r", &["a"], &["z"])]).contains("`z`, which is no route"));
        let circle = vec![route("r", &["a"], &["s"]), route("s", &["b"], &["x", "r"])];
        assert!(plan(circle).contains("r → s → r"));
        assert!(plan(vec![route("r", &["a"], &["r"])]).contains("r → r"));
        assert!(plan(vec![route("x", &["a"], &[])]).contains("`c` serves `x`"));
        assert!(plan(vec![route("r", &["a"], &[]), route("r", &["b"], &[])]).contains("two routes"));
        let twice = Plan::new(vec![serves("a", "a"), serves("a", "b")], Vec::new()).unwrap_err();
        assert_eq!(twice, Contradiction::DeploymentTwice("a".into()));
    }

    #[test]
    fn a_route_runs_as_many_at_once_as_its_deployments_together() {
        let sized = |name, slots| Deployment { slots, ..serves(name, "x") };
        let plan = Plan::new(vec![sized("a", 3), sized("b", 4)], Vec::new()).unwrap();
        assert_eq!(plan.slots(plan.route("x").unwrap()), 7);
    }
}
