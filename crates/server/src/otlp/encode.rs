//! Spans in OTLP's JSON: ids in hexadecimal, enumerations as numbers, whole numbers of 64 bits as text
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tidewire_core::trace::{Part, Span, Status, Trace, Value};

/// `SpanKind`, of `opentelemetry/proto/trace/v1/trace.proto`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

/// `StatusCode`, of the same file. What went well is unset: `OK` is for whoever runs the service to say.
const UNSET: u8 = 0;
const ERROR: u8 = 2;

/// Who sends.
pub(super) struct Resource<'a> {
    pub(super) instance: &'a str,
}

impl Resource<'_> {
    /// A whole request around spans that are written already.
    pub(super) fn around(&self, spans: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = json!([
            attribute("service.name", &"tidewire".into()),
            attribute("service.version", &version.into()),
            attribute("service.instance.id", &self.instance.into()),
        ]);
        let scope = json!({ "name": "tidewire", "version": version });
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":{attributes}}},"scopeSpans":[{{"scope":{scope},"spans":[{spans}]}}]}}]}}"#
        )
    }
}

/// One span. One that is open has ended when the story was told: only ended tasks are exported.
pub(super) fn span(
    trace: &Trace,
    span: &Span,
    extra: &[(&'static str, Value)],
    providers: &BTreeMap<String, &'static str>,
) -> Json {
    let mut attributes: Vec<Json> =
        span.attributes.iter().chain(extra).map(|(name, value)| attribute(name, value)).collect();
    attributes.push(attribute("tidewire.part", &span.part.name().into()));
    if span.part == Part::Attempt
        && let Some(Value::Text(deployment)) = span.get("tidewire.deployment")
    {
        // The name of one that is given by its URL alone is the URL's.
        let provider = providers.get(deployment).copied().unwrap_or("openai");
        attributes.push(attribute("gen_ai.provider.name", &provider.into()));
    }
    if matches!(span.status, Status::Stopped | Status::TakenOver) {
        attributes.push(attribute("tidewire.status", &span.status.name().into()));
    }
    let nanos = |micros: u64| micros.saturating_mul(1000).to_string();
    let code = if span.status == Status::Error { ERROR } else { UNSET };
    let mut status = json!({ "code": code });
    if let Some(message) = &span.message {
        status["message"] = message.as_str().into();
    }
    let mut json = json!({
        "traceId": trace.id.to_string(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": match span.part {
            Part::Task => SERVER,
            Part::Attempt => CLIENT,
            _ => INTERNAL,
        },
        "startTimeUnixNano": nanos(span.start.as_micros()),
        "endTimeUnixNano": nanos(span.end.unwrap_or(span.start).as_micros()),
        "attributes": attributes,
        "status": status,
        "flags": u32::from(trace.sampled),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = parent.to_string().into();
    }
    if let Some(state) = &trace.state {
        json["traceState"] = state.to_string().into();
    }
    json
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Count(count) => json!({ "intValue": count.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
        Value::List(list) => {
            let values: Vec<Json> = list.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    };
    json!({ "key": name, "value": value })
}
