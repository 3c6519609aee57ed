//! What this process takes from its machine, under the names that Prometheus' clients agree on. Linux tells it in /proc;
//! elsewhere memory stays 0.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::AtomicU64;

pub(super) struct Process {
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
}

impl Process {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let made = Self { cpu_seconds: Counter::default(), resident_bytes: Gauge::default() };
        registry.register("process_cpu_seconds", "User and system time of this process", made.cpu_seconds.clone());
        registry.register("process_resident_memory_bytes", "Memory of this process", made.resident_bytes.clone());
        made
    }

    pub(super) fn set(&self) {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        // Seconds and nanoseconds of a process's life are exact in a float.
        #[allow(clippy::cast_precision_loss)]
        let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        // Two that ask at once may see the clock in either order.
        self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
    }
}

/// The second field of `proc_pid_statm(5)`, in pages.
fn resident_bytes() -> Option<i64> {
    let pages: i64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}
