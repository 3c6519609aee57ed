//! Stories of made-up logs: each part where it belongs, ended or not.

use super::*;
use crate::id::{Durability, TaskId, TenantId};
use crate::task::Spec;
use bytes::Bytes;
use serde_json::{Value as Json, json};

fn task() -> Task {
    let spec = Spec { model: "chat".to_owned(), input: Bytes::from_static(b"{\"messages\":[]}"), ..Spec::default() };
    let at = Timestamp::from_millis(1000);
    Task::new(TaskId::new(at, 5, Durability::Durable), TenantId::DEFAULT, spec, at)
}

/// Events at so many milliseconds, at dense offsets.
#[allow(clippy::needless_pass_by_value, reason = "reads better at the call")]
fn told(task: &Task, events: Vec<(u64, Kind, Json)>) -> Vec<Span> {
    let mut story = Story::new(task);
    for (offset, (millis, kind, data)) in events.into_iter().enumerate() {
        let data = match data {
            Json::String(text) => Bytes::from(text),
            json => Bytes::from(json.to_string()),
        };
        story.hear(&Event { offset: Offset(offset as u64), at: Timestamp::from_millis(millis), kind, data });
    }
    story.tell()
}

/// Part, start and end in milliseconds, status.
fn outline(spans: &[Span]) -> Vec<(Part, u64, Option<u64>, Status)> {
    let line = |span: &Span| (span.part, span.start.as_millis(), span.end.map(Timestamp::as_millis), span.status);
    spans.iter().map(line).collect()
}

fn started(attempt: u32, deployment: &str) -> Json {
    json!({ "attempt": attempt, "worker": "w", "deployment": deployment, "model": "m" })
}

#[test]
fn an_answer_after_a_failure_and_a_rewind_is_told_part_by_part() {
    use Status::{Error, Ok};
    let task = task();
    let end = json!({ "state": "done", "finish_reason": "stop", "usage": { "input_tokens": 30, "output_tokens": 9 },
        "deployment": "good", "attempts": 2 });
    let retry = json!({ "attempt": 1, "deployment": "bad", "code": "upstream_broken", "message": "it broke off",
        "after_ms": 400, "usage": { "input_tokens": 20, "output_tokens": 2 } });
    let spans = told(
        &task,
        vec![
            (1010, Kind::Started, started(1, "bad")),
            (1100, Kind::Text, json!("a")),
            (1150, Kind::Text, json!("b")),
            (1200, Kind::Retry, retry),
            (1700, Kind::Started, started(2, "good")),
            (1800, Kind::Rewind, json!({ "to": 1 })),
            (1800, Kind::Text, json!("c")),
            (1900, Kind::Text, json!("d")),
            (1950, Kind::End, end),
        ],
    );
    assert_eq!(
        outline(&spans),
        [
            (Part::Task, 1000, Some(1950), Ok),
            (Part::Queue, 1000, Some(1010), Ok),
            (Part::Attempt, 1010, Some(1200), Error),
            (Part::FirstToken, 1010, Some(1100), Ok),
            (Part::Streaming, 1100, Some(1150), Error),
            (Part::Backoff, 1200, Some(1700), Ok),
            (Part::Attempt, 1700, Some(1950), Ok),
            (Part::FirstToken, 1700, Some(1800), Ok),
            (Part::Rewind, 1800, Some(1800), Ok),
            (Part::Streaming, 1800, Some(1900), Ok),
        ]
    );
    let (bad, good) = (&spans[2], &spans[6]);
    assert_eq!(bad.get("error.type"), Some(&"upstream_broken".into()));
    assert_eq!(bad.message.as_deref(), Some("it broke off"));
    assert_eq!(bad.get("gen_ai.usage.output_tokens"), Some(&Value::Count(2)));
    assert_eq!(good.get("gen_ai.usage.output_tokens"), Some(&Value::Count(7)), "of the sum, what is its own");
    assert_eq!(good.get("gen_ai.response.finish_reasons"), Some(&Value::List(vec!["stop".to_owned()])));
    assert_eq!(spans[0].get("gen_ai.usage.input_tokens"), Some(&Value::Count(30)));
    assert_eq!(spans[0].get("gen_ai.response.model"), Some(&"m".into()));
    assert_eq!((good.offset, good.id), (Offset(4), SpanId::of(task.id, Part::Attempt, Offset(4))));
    assert!(spans[3].parent == Some(bad.id) && spans[8].parent == Some(good.id));
    let mut ids: Vec<String> = spans.iter().map(|span| span.id.to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), spans.len(), "two spans with one id");
}

#[test]
fn what_goes_on_is_open_and_what_was_taken_over_says_so() {
    use Status::{Ok, Open, TakenOver};
    let task = task();
    assert_eq!(outline(&told(&task, vec![])), [(Part::Task, 1000, None, Open), (Part::Queue, 1000, None, Open)]);
    let spans = told(
        &task,
        vec![
            (1010, Kind::Started, started(1, "a")),
            (1100, Kind::Text, json!("a")),
            (5000, Kind::Started, started(2, "a")),
        ],
    );
    assert_eq!(
        outline(&spans),
        [
            (Part::Task, 1000, None, Open),
            (Part::Queue, 1000, Some(1010), Ok),
            (Part::Attempt, 1010, Some(1100), TakenOver),
            (Part::FirstToken, 1010, Some(1100), Ok),
            (Part::Streaming, 1100, Some(1100), TakenOver),
            (Part::Queue, 1100, Some(5000), Ok),
            (Part::Attempt, 5000, None, Open),
            (Part::FirstToken, 5000, None, Open),
        ]
    );
}

#[test]
fn a_task_that_was_stopped_in_the_queue_has_no_attempt() {
    let task = task();
    let end = json!({ "state": "stopped", "usage": { "input_tokens": 0, "output_tokens": 0 }, "attempts": 0 });
    let spans = told(&task, vec![(1500, Kind::End, end)]);
    let stopped = Status::Stopped;
    assert_eq!(outline(&spans), [(Part::Task, 1000, Some(1500), stopped), (Part::Queue, 1000, Some(1500), stopped)]);
}
