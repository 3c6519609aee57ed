//! What guardrails did, by their names in the configuration.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tidewire_core::port::Measurement;

type Labels = [(&'static str, String); 2];

#[derive(Clone)]
pub(super) struct Guards(Family<Labels, Counter>);

impl Guards {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let made = Self(Family::default());
        registry.register("guard_actions", "What guardrails did", made.0.clone());
        made
    }

    pub(super) fn record(&self, measurement: Measurement<'_>) {
        if let Measurement::Guarded { rule, action } = measurement {
            self.0.get_or_create(&[("rule", rule.to_owned()), ("action", action.to_owned())]).inc();
        }
    }
}
