//! What models cost and how much they read, where nothing else is configured: the table of genai-prices, which is
//! compiled in. Nothing is fetched.

use crate::config::{BackendKind, DeploymentConfig};
use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};
use std::time::{Duration, UNIX_EPOCH};
use tidewire_core::catalog::{Deployment, Takes};
use tidewire_core::{Money, Price, Timestamp};

/// Tokens that a price is asked for: few enough that no dearer tier for long prompts applies.
const ASKED_TOKENS: f64 = 1000.0;

/// From a price for those to one for a million.
const ASKED_TO_PRICED: f64 = 1000.0;

/// Who serves a model: what prices go by, beside its name.
#[derive(Clone, Copy, Debug, Default)]
struct Provider<'a> {
    /// Its name in the table, such as `openai`, `anthropic`, `google`, `azure`.
    id: Option<&'a str>,
    /// Its base URL, where its name is not known.
    url: Option<&'a str>,
}

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// What its tokens cost.
    price: Price,
    /// How many fit its context.
    context_tokens: Option<u64>,
}

/// Fills in what the settings leave open of a deployment, as far as the table has it.
pub(super) fn complete(record: &mut Deployment, config: &DeploymentConfig, at: Timestamp) {
    let Takes::One { model, .. } = &record.takes else { return };
    let Some(known) = provider(config).and_then(|provider| known(provider, model, at)) else { return };
    record.price.get_or_insert(known.price);
    let context_tokens = known.context_tokens.and_then(|tokens| tokens.try_into().ok());
    record.context_tokens = record.context_tokens.or(context_tokens);
}

/// Who serves a deployment. What speaks OpenAI's protocol may be anybody: its address says who.
fn provider(config: &DeploymentConfig) -> Option<Provider<'_>> {
    let named = |id| Some(Provider { id: Some(id), url: None });
    match config.backend {
        BackendKind::Openai => config.url.as_deref().map(|url| Provider { id: None, url: Some(url) }),
        BackendKind::Azure => named("azure"),
        BackendKind::Anthropic => named("anthropic"),
        BackendKind::Gemini => named("google"),
        BackendKind::Local | BackendKind::Scripted => None,
    }
}

/// What the table has of a provider's model, with the prices of that moment. The first call takes tens of milliseconds.
fn known(provider: Provider<'_>, model: &str, at: Timestamp) -> Option<Known> {
    let table = Calculator::bundled();
    let cost = |input: f64, (cached, written): (f64, f64), output: f64| {
        let usage = Usage::from([
            (UsageKey::INPUT_TOKENS, input),
            (UsageKey::from("cache_read_tokens"), cached),
            (UsageKey::from("cache_write_tokens"), written),
            (UsageKey::OUTPUT_TOKENS, output),
        ]);
        let moment = UNIX_EPOCH + Duration::from_micros(at.as_micros());
        let mut request = PriceRequest::new(model, &usage).with_timestamp(moment);
        if let Some(id) = provider.id {
            request = request.with_provider_id(id);
        }
        if let Some(url) = provider.url {
            request = request.with_provider_api_url(url);
        }
        table.calculate(&request).ok()
    };
    let read = cost(ASKED_TOKENS, (0.0, 0.0), 0.0)?;
    let priced = |total: f64| Money::from_dollars(total * ASKED_TO_PRICED);
    let price = Price {
        input: priced(read.total_price),
        cached_input: priced(cost(ASKED_TOKENS, (ASKED_TOKENS, 0.0), 0.0)?.total_price),
        cache_write: priced(cost(ASKED_TOKENS, (0.0, ASKED_TOKENS), 0.0)?.total_price),
        output: priced(cost(0.0, (0.0, 0.0), ASKED_TOKENS)?.total_price),
    };
    let owner = table.providers().find(|owner| owner.id() == read.provider_id);
    let found = owner.and_then(|owner| owner.models().find(|found| found.id() == read.model_id));
    Some(Known { price, context_tokens: found.and_then(genai_prices::ModelInfo::context_window) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-01.
    const NOW: Timestamp = Timestamp::from_millis(1_793_491_200_000);

    fn openai(model: &str) -> Option<Known> {
        known(Provider { id: Some("openai"), url: None }, model, NOW)
    }

    #[test]
    fn a_known_model_has_its_published_price_and_context() {
        let known = openai("gpt-4o-mini").unwrap();
        let price = Price {
            input: Money::from_dollars(0.15),
            cached_input: Money::from_dollars(0.075),
            // It charges nothing more for putting a prompt there.
            cache_write: Money::from_dollars(0.15),
            output: Money::from_dollars(0.6),
        };
        assert_eq!(known, Known { price, context_tokens: Some(128_000) });
    }

    #[test]
    fn what_anthropic_puts_into_its_cache_has_its_own_price() {
        let known = known(Provider { id: Some("anthropic"), url: None }, "claude-sonnet-4-5", NOW).unwrap();
        let price = Price {
            input: Money::from_dollars(3.0),
            cached_input: Money::from_dollars(0.3),
            cache_write: Money::from_dollars(3.75),
            output: Money::from_dollars(15.0),
        };
        assert_eq!(known.price, price);
    }

    #[test]
    fn a_model_is_found_by_its_providers_address() {
        let by_url = Provider { id: None, url: Some("https://api.openai.com/v1") };
        assert_eq!(known(by_url, "gpt-4o-mini", NOW), openai("gpt-4o-mini"));
        assert!(known(Provider { id: Some("anthropic"), url: None }, "claude-sonnet-4-5", NOW).is_some());
    }

    #[test]
    fn what_is_set_stays_and_the_rest_is_filled_in() {
        let config = |backend: &str| -> DeploymentConfig {
            let url = "https://api.openai.com/v1";
            toml::from_str(&format!("name = \"d\"\nbackend = \"{backend}\"\nurl = \"{url}\"\n")).unwrap()
        };
        let completed = |mut record: Deployment, backend: &str| {
            complete(&mut record, &config(backend), NOW);
            record
        };
        let open = completed(Deployment::by_name("gpt-4o-mini"), "openai");
        assert_eq!((open.price, open.context_tokens), (Some(openai("gpt-4o-mini").unwrap().price), Some(128_000)));
        let set = Deployment { price: Some(Price::default()), ..Deployment::by_name("gpt-4o-mini") };
        assert_eq!(completed(set, "openai").price, Some(Price::default()));
        assert_eq!(completed(Deployment::by_name("acme-7b"), "openai").price, None);
        for (backend, model) in
            [("anthropic", "claude-sonnet-4-5"), ("gemini", "gemini-2.5-flash"), ("azure", "gpt-4o")]
        {
            assert!(completed(Deployment::by_name(model), backend).price.is_some(), "{model} at {backend}");
        }
    }

    #[test]
    fn nobody_knows_the_price_of_a_private_model() {
        assert_eq!(openai("acme-7b"), None);
        // The name alone does not make it OpenAI's: a server on this machine costs nobody anything.
        assert_eq!(known(Provider { id: None, url: Some("http://127.0.0.1:11434/v1") }, "gpt-4o", NOW), None);
    }
}
