//! OpenTelemetry's conventions for generative AI in Prometheus' form: dots become underscores, and seconds are named. By operation,
//! route and provider: whatever a caller may make up is no label here.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tidewire_core::Catalog;
use tidewire_core::port::{Asked, Measurement, Operation, Subject};

/// The convention's advisory boundaries.
const FIRST_TOKEN_SECONDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const PER_TOKEN_SECONDS: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const DURATION_SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Routes that are told apart; each has about a hundred lines. A configuration has fewer, and what an upstream lists by
/// itself is bounded by this.
const MAX_ROUTES: usize = 512;
/// What stands for a route beyond them, or for a name that no route has.
const OTHER: &str = "_OTHER";
/// Who serves the callers.
const OURSELVES: &str = "tidewire";
/// The provider of an upstream that is given by its URL alone: it speaks OpenAI's protocol.
const BY_URL: &str = "openai";

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;
type ByName<T> = RwLock<HashMap<Arc<str>, Arc<T>>>;

pub(super) struct GenAi {
    first_token: Histograms,
    per_token: Histograms,
    served: Histograms,
    asked: Histograms,
    tokens: Histograms,
    /// By route and by where they came from.
    answers: Family<Labels, Counter>,
    semantic: Family<Labels, Counter>,
    /// By deployment.
    providers: RwLock<BTreeMap<String, &'static str>>,
    catalog: OnceLock<Arc<Catalog>>,
    chat: ByName<Route>,
    embeddings: ByName<Route>,
}

/// A route's histograms, so that a measurement looks up a name and makes no labels.
struct Route {
    name: String,
    first_token: Histogram,
    per_token: Histogram,
    served: Histogram,
    deployments: ByName<Deployment>,
}

/// A deployment's, as one route sees it.
struct Deployment {
    asked: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
}

impl GenAi {
    pub(super) fn new(registry: &mut Registry, providers: BTreeMap<String, &'static str>) -> Self {
        let mut seconds = |name: &str, help: &str, make: fn() -> Histogram| {
            let family = Histograms::new_with_constructor(make);
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
            family
        };
        let first_token =
            seconds("gen_ai_server_time_to_first_token", "From a request's receipt to its first token", || {
                Histogram::new(FIRST_TOKEN_SECONDS)
            });
        let per_token = seconds(
            "gen_ai_server_time_per_output_token",
            "From an output token to the next, the mean over an answer: (last - first) / (n - 1)",
            || Histogram::new(PER_TOKEN_SECONDS),
        );
        let served =
            seconds("gen_ai_server_request_duration", "From a request's receipt to the end of its answer", || {
                Histogram::new(DURATION_SECONDS)
            });
        let asked =
            seconds("gen_ai_client_operation_duration", "A call of a deployment, to the end of its answer", || {
                Histogram::new(DURATION_SECONDS)
            });
        let tokens = Histograms::new_with_constructor(|| Histogram::new(TOKENS));
        registry.register("gen_ai_client_token_usage", "Tokens that a call of a deployment used", tokens.clone());
        let answers = Family::default();
        let help = "Answers of routes that keep or share them, by where they came from";
        registry.register("tidewire_cache_answers", help, Family::clone(&answers));
        let semantic = Family::default();
        let help = "Looks for questions that mean the same, by what came of it; questions remembered and forgotten";
        registry.register("tidewire_cache_semantic", help, Family::clone(&semantic));
        Self {
            answers,
            semantic,
            first_token,
            per_token,
            served,
            asked,
            tokens,
            providers: RwLock::new(providers),
            catalog: OnceLock::new(),
            chat: ByName::default(),
            embeddings: ByName::default(),
        }
    }

    pub(super) fn bound_routes_by(&self, catalog: Arc<Catalog>) {
        // Asked twice, the first one stands: there is one catalog in a server.
        let _ = self.catalog.set(catalog);
    }

    pub(super) fn set_providers(&self, providers: BTreeMap<String, &'static str>) {
        *self.providers.write().unwrap_or_else(PoisonError::into_inner) = providers;
        // Whoever is measured next is looked up anew; series that there were go on.
        for routes in [&self.chat, &self.embeddings] {
            routes.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(super) fn record(&self, measurement: Measurement<'_>) {
        match measurement {
            Measurement::ServedFirstToken(subject, took) => {
                self.route(subject).first_token.observe(took.as_secs_f64());
            }
            Measurement::ServedPerToken(subject, took) => self.route(subject).per_token.observe(took.as_secs_f64()),
            Measurement::Served(subject, took, None) => self.route(subject).served.observe(took.as_secs_f64()),
            Measurement::Served(subject, took, Some(error)) => {
                let labels = labels(subject.operation, &self.route(subject).name, OURSELVES);
                self.served.get_or_create_owned(&with_error(labels, error)).observe(took.as_secs_f64());
            }
            Measurement::Asked(subject, asked) => self.asked(subject, &asked),
            Measurement::Answered(subject, source) => self.outcome(&self.answers, subject, source.name()),
            Measurement::Semantic(subject, outcome) => self.outcome(&self.semantic, subject, outcome),
            _ => {}
        }
    }

    /// Labels come from the routes' names, so they are bounded as those of the histograms are.
    fn outcome(&self, counters: &Family<Labels, Counter>, subject: Subject<'_>, outcome: &'static str) {
        let route = self.route(subject);
        let labels = vec![("route", route.name.clone()), ("outcome", outcome.to_owned())];
        counters.get_or_create_owned(&labels).inc();
    }

    fn asked(&self, subject: Subject<'_>, asked: &Asked<'_>) {
        let route = self.route(subject);
        let deployment = look_up(&route.deployments, asked.deployment, || {
            let labels = self.asked_labels(subject.operation, &route.name, asked.deployment);
            let tokens = |kind: &str| {
                let labels = [&labels[..], &[("gen_ai_token_type", kind.to_owned())]].concat();
                self.tokens.get_or_create_owned(&labels)
            };
            Deployment {
                asked: self.asked.get_or_create_owned(&labels),
                input_tokens: tokens("input"),
                output_tokens: tokens("output"),
            }
        });
        let took = asked.took.as_secs_f64();
        match asked.error {
            None => deployment.asked.observe(took),
            Some(error) => {
                let labels = self.asked_labels(subject.operation, &route.name, asked.deployment);
                self.asked.get_or_create_owned(&with_error(labels, error)).observe(took);
            }
        }
        // Tokens of one call are far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        for (histogram, tokens) in [
            (&deployment.input_tokens, asked.usage.input_tokens),
            (&deployment.output_tokens, asked.usage.output_tokens),
        ] {
            // A call that used nothing, or did not say, is no observation.
            if tokens > 0 {
                histogram.observe(tokens as f64);
            }
        }
    }

    fn asked_labels(&self, operation: Operation, route: &str, deployment: &str) -> Labels {
        let providers = self.providers.read().unwrap_or_else(PoisonError::into_inner);
        let provider = providers.get(deployment).copied().unwrap_or(BY_URL);
        let mut labels = labels(operation, route, provider);
        labels.push(("tidewire_deployment", deployment.to_owned()));
        labels
    }

    fn route(&self, subject: Subject<'_>) -> Arc<Route> {
        let routes = match subject.operation {
            Operation::Chat => &self.chat,
            Operation::Embeddings => &self.embeddings,
        };
        if let Some(route) = read(routes, subject.route) {
            return route;
        }
        let is_public =
            |name: &str| self.catalog.get().is_some_and(|catalog| catalog.names().iter().any(|it| it == name));
        let full = routes.read().unwrap_or_else(PoisonError::into_inner).len() >= MAX_ROUTES;
        let name = if !full && is_public(subject.route) { subject.route } else { OTHER };
        look_up(routes, name, || {
            let labels = labels(subject.operation, name, OURSELVES);
            Route {
                name: name.to_owned(),
                first_token: self.first_token.get_or_create_owned(&labels),
                per_token: self.per_token.get_or_create_owned(&labels),
                served: self.served.get_or_create_owned(&labels),
                deployments: ByName::default(),
            }
        })
    }
}

fn labels(operation: Operation, route: &str, provider: &str) -> Labels {
    vec![
        ("gen_ai_operation_name", operation.name().to_owned()),
        ("gen_ai_request_model", route.to_owned()),
        ("gen_ai_provider_name", provider.to_owned()),
    ]
}

fn with_error(mut labels: Labels, error: &str) -> Labels {
    labels.push(("error_type", error.to_owned()));
    labels
}

fn read<T>(by_name: &ByName<T>, name: &str) -> Option<Arc<T>> {
    by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

fn look_up<T>(by_name: &ByName<T>, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = read(by_name, name) {
        return found;
    }
    let mut by_name = by_name.write().unwrap_or_else(PoisonError::into_inner);
    by_name.entry(name.into()).or_insert_with(|| Arc::new(make())).clone()
}
