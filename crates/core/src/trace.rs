//! A task's trace: which one it belongs to, by W3C Trace Context, and its story as spans, told from its record and its log.
//!
//! Nothing is kept for it but the context that came with the request: all times are those of the log's events.

mod context;
mod span;
mod story;

pub use context::{Header, Sampling, SpanId, Trace, TraceId};
pub use span::{Part, Span, Status, Value};
pub use story::{Story, each_event};
