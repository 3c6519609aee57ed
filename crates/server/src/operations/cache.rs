//! How much of answers is kept, as metrics.

use super::Operations;
use std::fmt::Write;

/// In the text format of `OpenMetrics`.
pub(super) fn metrics(operations: &Operations) -> String {
    let stats = operations.engines.cache().stats();
    let mut out = String::new();
    let levels = [
        ("tidewire_cache_entries", "Answers that are kept", stats.entries),
        ("tidewire_cache_bytes", "Bytes that they take", stats.bytes),
        ("tidewire_cache_bound_bytes", "Bytes that they may take", stats.bound_bytes),
    ];
    // Writing to a string can't fail; so below.
    for (name, help, value) in levels {
        let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
    }
    let name = "tidewire_cache_evictions";
    let help = "Answers that had to go before their time";
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {}", stats.evictions);
    out
}
