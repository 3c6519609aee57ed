//! Routes and deployments as the core knows them, out of the settings.

use super::values::{
    CacheReplay, CacheScope, HedgeConfig, MemberConfig, RouteCache, RouteConfig, RoutePublic, ShadowConfig,
    StrategyKind,
};
use super::{BackendKind, Config, DeploymentConfig};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::cache::{Policy, Replay, Scope, Semantic, Similarity};
use tidewire_core::port::{Limits, Timeouts};
use tidewire_core::route::{
    Contradiction, DEFAULT_TRIES, DEFAULT_WAIT, Deployment, Hedge, Member, PerMinute, Plan, PublicTimes, Route, Shadow,
    Strategy, Takes,
};
use tidewire_core::{Money, Price};

/// More tries than a configuration has deployments of one model.
const MAX_TRIES: u32 = 10;

/// A deployment's record. How many requests it takes at once, unless set, depends on its backend.
pub(crate) fn record(config: &DeploymentConfig, default_slots: usize) -> Deployment {
    let name: Arc<str> = config.name.as_str().into();
    let model = config.model.as_deref().map_or_else(|| name.clone(), Arc::from);
    let public = config.serves.as_deref().map_or_else(|| name.clone(), Arc::from);
    Deployment {
        has: config.has.clone(),
        region: config.region.as_deref().map(Arc::from),
        weight: config.weight.unwrap_or(1),
        slots: config.slots.unwrap_or(default_slots),
        per_minute: PerMinute { requests: config.requests_per_minute, tokens: config.tokens_per_minute },
        price: price(config),
        context_tokens: config.context_tokens,
        ..Deployment::new(name, Takes::One { name: public, model })
    }
}

fn price(config: &DeploymentConfig) -> Option<Price> {
    let dollars = |dollars: Option<f64>| dollars.map(Money::from_dollars);
    let (input, output) = (dollars(config.price_input), dollars(config.price_output));
    let (cached, written) = (dollars(config.price_cached_input), dollars(config.price_cache_write));
    if input.or(cached).or(written).or(output).is_none() {
        // What runs in this process costs no tokens.
        return (config.backend == BackendKind::Local).then(Price::default);
    }
    let input = input.unwrap_or_default();
    // Without a price of its own, what was cached costs as much as what was not; so does what was put there.
    let (cached_input, cache_write) = (cached.unwrap_or(input), written.unwrap_or(input));
    Some(Price { input, cached_input, cache_write, output: output.unwrap_or_default() })
}

fn route(config: &RouteConfig, deployments: &[Deployment]) -> Route {
    let member = |member: &MemberConfig| match member {
        MemberConfig::Name(name) => {
            let known = deployments.iter().find(|deployment| *deployment.name == **name);
            Member { deployment: name.as_str().into(), weight: known.map_or(1, |deployment| deployment.weight) }
        }
        MemberConfig::Weighted { name, weight } => Member { deployment: name.as_str().into(), weight: *weight },
    };
    Route {
        members: config.deployments.iter().map(member).collect(),
        strategy: strategy(config.strategy),
        prefer: config.prefer.clone(),
        fallbacks: config.fallbacks.iter().map(|name| name.as_str().into()).collect(),
        tries: config.tries.unwrap_or(DEFAULT_TRIES),
        wait: config.wait_ms.map_or(DEFAULT_WAIT, Duration::from_millis),
        first_token: config.first_token_ms.map(Duration::from_millis),
        between_tokens: config.between_tokens_ms.map(Duration::from_millis),
        limits: limits(config),
        hedge: config.hedge.map(hedge),
        shadow: config.shadow.as_ref().map(shadow),
        cache: config.cache.as_ref().map(|cache| Arc::new(policy(cache))),
        public: config.public.map(public).unwrap_or_default(),
        ..Route::new(config.name.as_str())
    }
}

/// What all who take the route may use together.
fn limits(config: &RouteConfig) -> Limits {
    Limits {
        requests_per_minute: config.requests_per_minute,
        input_tokens_per_minute: config.input_tokens_per_minute,
        output_tokens_per_minute: config.output_tokens_per_minute,
        cost_per_day: config.usd_per_day.map(Money::from_dollars),
        cost_per_month: config.usd_per_month.map(Money::from_dollars),
    }
}

fn hedge(config: HedgeConfig) -> Hedge {
    Hedge {
        after_permille: permille(config.after),
        least: Duration::from_millis(config.min_ms),
        budget_permille: permille(config.budget),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float stops at the ends")]
fn shadow(config: &ShadowConfig) -> Shadow {
    Shadow { route: config.route.as_str().into(), per_million: (config.share * 1_000_000.0).round() as u32 }
}

/// A part of one, in thousandths.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float stops at the ends")]
fn permille(part: f64) -> u16 {
    (part * 1000.0).round() as u16
}

/// For how long HTTP caches keep its public results.
fn public(config: RoutePublic) -> PublicTimes {
    PublicTimes {
        max_age: config.max_age_s.map(Duration::from_secs),
        shared_max_age: config.s_maxage_s.map(Duration::from_secs),
        stale_while_revalidate: config.stale_while_revalidate_s.map(Duration::from_secs),
        stale_if_error: config.stale_if_error_s.map(Duration::from_secs),
    }
}

/// What of its answers is kept and shared.
fn policy(config: &RouteCache) -> Policy {
    Policy {
        ttl: Duration::from_secs(config.ttl_s),
        stale_while_revalidate: Duration::from_secs(config.stale_while_revalidate_s),
        stale_if_error: Duration::from_secs(config.stale_if_error_s),
        scope: match config.scope {
            CacheScope::Tenant => Scope::Tenant,
            CacheScope::User => Scope::User,
            CacheScope::Conversation => Scope::Conversation,
            CacheScope::Shared => Scope::Shared,
        },
        join: config.join,
        sampled: config.sampled,
        replay: match config.replay {
            CacheReplay::Full => Replay::Full,
            CacheReplay::Paced => Replay::Paced,
        },
        semantic: config.semantic.as_ref().map(|semantic| Semantic {
            threshold: Similarity::of(semantic.threshold),
            deployment: semantic.deployment.as_str().into(),
        }),
    }
}

const fn strategy(kind: StrategyKind) -> Strategy {
    match kind {
        StrategyKind::Weighted => Strategy::Weighted,
        StrategyKind::LeastBusy => Strategy::LeastBusy,
        StrategyKind::Fastest => Strategy::Fastest,
        StrategyKind::Headroom => Strategy::Headroom,
        StrategyKind::Cheapest => Strategy::Cheapest,
        StrategyKind::Sticky => Strategy::Sticky,
    }
}

/// The plan of these deployments and of the configuration's routes.
pub(crate) fn plan(config: &Config, deployments: Vec<Deployment>) -> Result<Plan, Contradiction> {
    let routes = config.route.iter().map(|config| route(config, &deployments)).collect();
    let timeouts = Timeouts {
        connect: Duration::from_millis(config.timeouts.connect_ms),
        first_token: Duration::from_millis(config.timeouts.first_token_ms),
        between_tokens: Duration::from_millis(config.timeouts.between_tokens_ms),
    };
    Plan::new(deployments, routes).map(|plan| plan.with_timeouts(timeouts))
}

/// What is wrong with the deployments and routes.
pub(super) fn contradiction(config: &Config) -> Option<String> {
    for deployment in &config.deployment {
        let name = &deployment.name;
        let zero = [
            ("slots", deployment.slots == Some(0)),
            ("requests_per_minute", deployment.requests_per_minute == Some(0)),
            ("tokens_per_minute", deployment.tokens_per_minute == Some(0)),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Some(format!("the deployment `{name}` has `{setting} = 0`: take it out of its routes instead"));
        }
        let prices = [
            deployment.price_input,
            deployment.price_cached_input,
            deployment.price_cache_write,
            deployment.price_output,
        ];
        if prices.into_iter().flatten().any(|price| !price.is_finite() || price < 0.0) {
            return Some(format!("a price of the deployment `{name}` is no number of dollars"));
        }
    }
    for route in &config.route {
        if route.tries.is_some_and(|tries| !(1..=MAX_TRIES).contains(&tries)) {
            return Some(format!("`tries` of the route `{}` is 1 to {MAX_TRIES}", route.name));
        }
        if [route.usd_per_day, route.usd_per_month].into_iter().flatten().any(|usd| !usd.is_finite() || usd < 0.0) {
            return Some(format!("a budget of the route `{}` is no number of dollars", route.name));
        }
        if route.shadow.as_ref().is_some_and(|shadow| !(0.0..=1.0).contains(&shadow.share)) {
            return Some(format!("the `share` of the shadow of the route `{}` is 0 to 1", route.name));
        }
        let semantic = route.cache.as_ref().and_then(|cache| cache.semantic.as_ref());
        if semantic.is_some_and(|semantic| !(semantic.threshold > 0.0 && semantic.threshold <= 1.0)) {
            return Some(format!(
                "the `threshold` of `semantic` of the cache of the route `{}` is above 0 and at most 1: the cosine that two \
                 questions have at least which mean the same",
                route.name
            ));
        }
        if let Some(HedgeConfig { after, budget, .. }) = route.hedge
            && !((0.5..1.0).contains(&after) && (0.001..=0.5).contains(&budget))
        {
            let name = &route.name;
            return Some(format!(
                "the hedge of the route `{name}` has `after` from 0.5 to under 1, and `budget` from 0.001 to 0.5"
            ));
        }
    }
    let mut deployments: Vec<Deployment> = config.deployment.iter().map(|deployment| record(deployment, 1)).collect();
    if cfg!(feature = "local") && config.built_in.enabled {
        // Routes may name them. One of the configuration that has such a name is told of when the models are loaded.
        let configured = |name: &&str| !deployments.iter().any(|deployment| *deployment.name == **name);
        let built_in: Vec<&str> = super::BUILT_IN.into_iter().filter(configured).collect();
        deployments.extend(built_in.into_iter().map(Deployment::by_name));
    }
    plan(config, deployments).err().map(|contradiction| contradiction.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let deployments = "[[deployment]]\nname = \"a\"\nbackend = \"scripted\"\nweight = 3\nprice_input = 2.5\n\
                           [[deployment]]\nname = \"b\"\nbackend = \"scripted\"\nregion = \"eu\"\n";
        toml::from_str(&[deployments, text].concat()).unwrap()
    }

    #[test]
    fn a_route_is_read_with_its_members_weights() {
        let config = config(
            "[[route]]\nname = \"r\"\ndeployments = [\"a\", { name = \"b\", weight = 7 }]\nstrategy = \"least_busy\"\n\
             tries = 2\nwait_ms = 5\nfirst_token_ms = 6\nprefer = [\"eu\"]\n",
        );
        let records = config.deployment.iter().map(|deployment| record(deployment, 9)).collect();
        let plan = plan(&config, records).unwrap();
        let route = plan.route("r").unwrap();
        let weights: Vec<u32> = route.members.iter().map(|member| member.weight).collect();
        assert_eq!((weights, route.strategy, route.tries), (vec![3, 7], Strategy::LeastBusy, 2));
        assert_eq!(plan.slots(route), 18);
        assert_eq!(plan.timeouts(route).first_token, Duration::from_millis(6));
        assert_eq!(plan.timeouts(route).between_tokens, Duration::from_secs(30), "the server's");
        let price = plan.deployment("a").unwrap().price.unwrap();
        assert_eq!((price.input, price.cached_input), (Money::from_dollars(2.5), Money::from_dollars(2.5)));
    }

    #[cfg(feature = "local")]
    #[test]
    fn a_route_may_name_what_is_built_in() {
        let route = "[[route]]\nname = \"chat\"\ndeployments = [\"smollm2-135m-instruct\"]\n";
        assert_eq!(contradiction(&config(route)), None);
        assert!(contradiction(&config(&[route, "[built_in]\nenabled = false\n"].concat())).is_some());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let wrong = |text: &str| contradiction(&config(text)).unwrap();
        let route = |rest: &str| ["[[route]]\nname = \"r\"\n", rest].concat();
        assert!(wrong(&route("deployments = [\"z\"]")).contains("`z`, which does not exist"));
        assert!(wrong(&route("deployments = [\"a\"]\nfallbacks = [\"r\"]")).contains("circle"));
        assert!(wrong(&route("deployments = [\"a\"]\ntries = 0")).contains("1 to 10"));
        assert!(wrong(&route("deployments = [\"a\"]\nhedge = { after = 1.0 }")).contains("`after`"));
        assert!(wrong(&route("deployments = [\"a\"]\nhedge = { budget = 0.9 }")).contains("`budget`"));
        assert!(wrong(&route("deployments = [\"a\"]\nshadow = { route = \"b\", share = 2.0 }")).contains("`share`"));
        assert!(
            wrong(&route("deployments = [\"a\"]\nshadow = { route = \"r\", share = 1.0 }")).contains("no other route")
        );
        let semantic = |threshold: &str| {
            route(&format!("deployments = [\"a\"]\ncache.semantic = {{ threshold = {threshold}, deployment = \"b\" }}"))
        };
        for out in ["0.0", "1.1", "-1.0", "nan"] {
            assert!(wrong(&semantic(out)).contains("`threshold`"), "{out}");
        }
        assert_eq!(contradiction(&config(&semantic("0.9"))), None);
        let zero = "[[deployment]]\nname = \"c\"\nbackend = \"scripted\"\nrequests_per_minute = 0\n";
        assert!(wrong(zero).contains("requests_per_minute"));
        assert_eq!(contradiction(&config("")), None);
    }
}
