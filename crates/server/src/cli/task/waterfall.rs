//! A task's story as a waterfall: a line for each span, with a bar that shows when it was.

use std::fmt::Write;
use tidewire_client::proto::trace::{SpanView, TraceView};

/// How wide the bars' column is: with the names and figures beside it a line fits a terminal of 100 columns.
const WIDTH: u64 = 40;

/// The widest name; longer ones are cut.
const MAX_NAME: usize = 32;

/// The story, drawn.
pub(super) fn drawn(trace: &TraceView) -> String {
    let Some(root) = trace.spans.first() else { return String::new() };
    let whole = root.duration_us.max(1);
    let mut text = String::new();
    // Writing to a string can't fail; so below.
    let _ = writeln!(text, "{}  {}  {}", trace.task, trace.state, span_time(root.duration_us));
    let _ = writeln!(text, "trace {}{}", trace.trace_id, if trace.sampled { ", sampled" } else { "" });
    let order = ordered(&trace.spans);
    let names: Vec<String> = order.iter().map(|(depth, span)| name(*depth, span)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for ((_, span), name) in order.iter().zip(&names) {
        let from = span.start_us.saturating_sub(root.start_us);
        let bar = bar(from, span.duration_us, whole, span.end_us.is_none());
        let after = format!("+{}", span_time(from));
        let line = format!("{name:widest$}  {bar}  {:>9}  {after:>9}  {}", span_time(span.duration_us), remark(span));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Each span below the one that it is a part of, with its depth.
fn ordered(spans: &[SpanView]) -> Vec<(usize, &SpanView)> {
    let mut order = Vec::with_capacity(spans.len());
    let mut open: Vec<(usize, &SpanView)> = spans.first().map(|root| (0, root)).into_iter().collect();
    while let Some((depth, span)) = open.pop() {
        order.push((depth, span));
        let below = spans.iter().skip(1).filter(|other| other.parent.as_ref() == Some(&span.id));
        let mut below: Vec<_> = below.map(|other| (depth + 1, other)).collect();
        below.reverse();
        open.extend(below);
    }
    order
}

fn name(depth: usize, span: &SpanView) -> String {
    let deployment = span.attributes.get("tidewire.deployment").and_then(|name| name.as_str());
    let name = match deployment.filter(|_| span.part == "attempt") {
        Some(deployment) => format!("{} @ {deployment}", span.name),
        None => span.name.replace('_', " "),
    };
    let whole = format!("{}{name}", "  ".repeat(depth));
    // What a model or a deployment is called must not steer the terminal.
    let whole: String = whole.chars().filter(|letter| !letter.is_control()).collect();
    if whole.chars().count() <= MAX_NAME {
        return whole;
    }
    whole.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

/// Where in the whole a span lies. What is shorter than a column still has one; what goes on ends in an arrow.
fn bar(from: u64, length: u64, whole: u64, open: bool) -> String {
    let column =
        |at: u64| u64::try_from(u128::from(at) * u128::from(WIDTH) / u128::from(whole)).unwrap_or(WIDTH).min(WIDTH);
    let begin = column(from).min(WIDTH - 1);
    let end = column(from.saturating_add(length)).clamp(begin + 1, WIDTH);
    (0..WIDTH)
        .map(|at| match at {
            at if at < begin || at >= end => '·',
            at if open && at + 1 == end => '▶',
            _ if length == 0 => '│',
            _ => '█',
        })
        .collect()
}

/// How it went, where there is more to say than that it went well.
fn remark(span: &SpanView) -> String {
    let text = |name: &str| span.attributes.get(name).and_then(|value| value.as_str());
    let count = |name: &str| span.attributes.get(name).and_then(serde_json::Value::as_u64);
    let mut remarks = Vec::new();
    if span.status != "ok" {
        remarks.push(span.status.replace('_', " "));
    }
    remarks.extend(text("error.type").map(str::to_owned));
    if let (Some(input), Some(output)) = (count("gen_ai.usage.input_tokens"), count("gen_ai.usage.output_tokens")) {
        remarks.push(format!("{input} + {output} tokens"));
    }
    remarks.extend(count("tidewire.rewind.to").map(|to| format!("to {to}")));
    remarks.join(", ")
}

fn span_time(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_story_is_drawn_with_a_bar_for_each_span_below_its_parent() {
        let span = |id: &str, parent: Option<&str>, part: &str, start: u64, length: u64, status: &str| {
            let end = (status != "open").then_some(start + length);
            json!({ "id": id, "parent": parent, "part": part, "name": part, "offset": 0, "start_us": start, "end_us": end,
                "duration_us": length, "status": status, "attributes": { "error.type": (status == "error").then_some("upstream_timeout") } })
        };
        let trace = json!({ "task": "task_1", "state": "running", "trace_id": "ab", "sampled": false, "now_us": 9_000_000, "spans": [
            span("t", None, "task", 1_000_000, 8_000_000, "open"),
            span("q", Some("t"), "queue", 1_000_000, 1_500, "ok"),
            span("a", Some("t"), "attempt", 3_000_000, 2_000_000, "error"),
            span("f", Some("a"), "first_token", 3_000_000, 2_000_000, "error"),
            span("b", Some("t"), "backoff", 5_000_000, 4_000_000, "open"),
        ] });
        let drawn = drawn(&serde_json::from_value(trace).unwrap());
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "task_1  running  8.00 s");
        let bar = |line: &str, from: usize, to: usize, last: char| {
            let cells: String = (0..40)
                .map(|at| {
                    if at < from || at >= to {
                        '·'
                    } else if at + 1 == to {
                        last
                    } else {
                        '█'
                    }
                })
                .collect();
            assert!(line.contains(&cells), "{line}\nhas not {cells}");
        };
        bar(lines[2], 0, 40, '▶');
        bar(lines[3], 0, 1, '█');
        assert!(lines[3].contains("1.5 ms"), "{drawn}");
        bar(lines[4], 10, 20, '█');
        assert!(lines[4].ends_with("error, upstream_timeout"), "{drawn}");
        assert!(lines[5].starts_with("    first token"), "{drawn}");
        bar(lines[6], 20, 40, '▶');
    }
}
