//! Which tasks' stories are to be exported, and what became of them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::OnceLock;
use tidewire_core::TaskRef;
use tokio::sync::mpsc;

/// The way to the exporter, and its figures.
pub(crate) struct Traces {
    ended: OnceLock<mpsc::Sender<TaskRef>>,
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "without an exporter it stays 0"))]
    exported: Counter,
    dropped: Counter,
}

impl Traces {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let mut count = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            ended: OnceLock::new(),
            exported: count("otlp_tasks_exported", "Tasks whose spans the collector has taken"),
            dropped: count(
                "otlp_tasks_dropped",
                "Tasks whose spans were dropped: too many at once, or no collector took them",
            ),
        }
    }

    /// From now on tasks of sampled traces are named here when they end.
    #[cfg(feature = "otlp")]
    pub(crate) fn export_to(&self, ended: mpsc::Sender<TaskRef>) {
        // There is one exporter in a process.
        let _ = self.ended.set(ended);
    }

    /// A task of a sampled trace has ended. Whoever ended it does not wait.
    pub(super) fn ended(&self, task: TaskRef) {
        if let Some(ended) = self.ended.get()
            && ended.try_send(task).is_err()
        {
            self.dropped.inc();
        }
    }

    /// The collector has taken so many.
    #[cfg(feature = "otlp")]
    pub(crate) fn exported(&self, tasks: u64) {
        self.exported.inc_by(tasks);
    }

    /// So many are lost.
    #[cfg(feature = "otlp")]
    pub(crate) fn dropped(&self, tasks: u64) {
        self.dropped.inc_by(tasks);
    }
}
