//! Metrics in Prometheus' text format, and the server's own log. No label is the id of a task, tenant, key or user: the
//! number of series is bounded by the configuration.

mod gen_ai;
mod guards;
mod ledger;
pub(crate) mod live;
mod log;
mod process;
mod tasks;
mod traces;

pub(crate) use log::{LogFilter, start_log};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidewire_core::Catalog;
use tidewire_core::port::{Balance, Measurement, Meter};

/// All that is measured.
pub(crate) struct Metrics {
    /// What is ours alone, and what has names that others chose.
    registries: Mutex<[Registry; 2]>,
    tasks: tasks::Tasks,
    gen_ai: gen_ai::GenAi,
    ledger: ledger::Ledger,
    guards: guards::Guards,
    process: process::Process,
    pub(crate) live: live::Live,
    pub(crate) traces: traces::Traces,
}

impl Metrics {
    /// `providers`: OpenTelemetry's name for whoever runs the model, by deployment.
    pub(crate) fn new(providers: BTreeMap<String, &'static str>) -> Self {
        let (mut ours, mut shared) = (Registry::with_prefix("tidewire"), Registry::default());
        Self {
            tasks: tasks::Tasks::new(&mut ours),
            traces: traces::Traces::new(&mut ours),
            ledger: ledger::Ledger::new(&mut ours),
            guards: guards::Guards::new(&mut ours),
            gen_ai: gen_ai::GenAi::new(&mut shared, providers),
            process: process::Process::new(&mut shared),
            live: live::Live::default(),
            registries: Mutex::new([ours, shared]),
        }
    }

    /// The configuration was read again.
    pub(crate) fn set_providers(&self, providers: BTreeMap<String, &'static str>) {
        self.gen_ai.set_providers(providers);
    }

    /// Only names that this catalog has become labels.
    pub(crate) fn bound_routes_by(&self, catalog: Arc<Catalog>) {
        self.gen_ai.bound_routes_by(catalog);
    }

    /// A group commit is done.
    pub(crate) fn committed(&self, whole: Duration, fsync: Option<Duration>) {
        self.tasks.committed(whole, fsync);
        self.live.committed(fsync);
    }

    /// Everything, as Prometheus' text format.
    pub(crate) fn text(&self, levels: &Levels) -> String {
        self.tasks.set(levels);
        self.ledger.set(&levels.balance);
        self.process.set();
        let mut out = String::new();
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string can't fail.
        for registry in &*registries {
            let _ = encode_registry(&mut out, registry);
        }
        let _ = encode_eof(&mut out);
        out
    }
}

/// What is read off at the moment of asking.
pub(crate) struct Levels {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) transient_bytes: usize,
    pub(crate) transient_bound_bytes: usize,
    pub(crate) takes_changes: bool,
    /// 0 where there is no data directory.
    pub(crate) data_free_bytes: u64,
    pub(crate) disk_failures_and_recoveries: (u64, u64),
    pub(crate) balance: Balance,
}

impl Meter for Metrics {
    fn record(&self, measurement: Measurement<'_>) {
        if let Measurement::Traced(task) = measurement {
            return self.traces.ended(task);
        }
        self.live.record(measurement);
        self.tasks.record(measurement);
        self.gen_ai.record(measurement);
        self.guards.record(measurement);
    }
}
