//! What is a context and what is none, by the specification's own rules.

use super::*;
use crate::id::Durability;
use crate::time::Timestamp;
use proptest::prelude::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn task() -> TaskId {
    TaskId::new(Timestamp::from_millis(1_763_830_000_123), 7, Durability::Durable)
}

#[test]
fn a_context_is_read_and_goes_on_below_another_span() {
    let trace = Trace::parse(GOOD, Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")).unwrap();
    assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert!(trace.sampled);
    let span = SpanId::of_task(task());
    let header = trace.header(span);
    assert_eq!(header.parent, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"));
    assert_eq!(header.state.as_deref(), Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
    let read = serde_json::from_str::<Trace>(&serde_json::to_string(&trace).unwrap()).unwrap();
    assert_eq!(read, trace);
}

#[test]
fn what_keeps_not_to_the_specification_begins_a_new_trace() {
    for (wrong, why) in [
        ("", "nothing"),
        ("00", "a version alone"),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "the version that is none"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "no trace"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "no span"),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "capitals"),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011", "a digit in the wrong place"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", "flags that are no number"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "more than the version has"),
        ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "another separator"),
        ("0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "no version"),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more", "a later version without its dash"),
    ] {
        assert_eq!(Trace::parse(wrong, None), None, "{why}");
    }
    let later = Trace::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-more", None).unwrap();
    assert!(later.sampled, "a later version is read as far as it is known");
    assert!(later.header(SpanId::of_task(task())).parent.ends_with("-01"), "and only known flags are passed on");
    assert!(!Trace::parse(&GOOD.replace("-01", "-02"), None).unwrap().sampled);
}

#[test]
fn a_wrong_state_is_left_out_and_a_long_one_loses_its_oldest() {
    let state = |state: &str| Trace::parse(GOOD, Some(state)).unwrap().state;
    assert_eq!(state("a=1, b@v=2").as_deref(), Some("a=1,b@v=2"));
    for wrong in ["a", "A=1", "a=1,a=2", "a=", "a=1=2", "a=é", "@v=1", &vec!["x=1"; 33].join(",")] {
        assert_eq!(state(wrong), None, "{wrong}");
    }
    let long: Vec<String> = (0..5).map(|at| format!("k{at}={}", "v".repeat(150))).collect();
    assert_eq!(state(&long.join(",")), Some(long[..3].join(",").into()));
}

#[test]
fn spans_are_the_same_whenever_they_are_told_and_none_is_anothers() {
    let of = |part, offset| SpanId::of(task(), part, Offset(offset));
    assert_eq!(of(Part::Attempt, 3), of(Part::Attempt, 3));
    assert_ne!(of(Part::Attempt, 3), of(Part::Attempt, 4));
    assert_ne!(of(Part::Attempt, 3), of(Part::Streaming, 3));
    let other = TaskId::new(Timestamp::from_millis(1_763_830_000_123), 8, Durability::Durable);
    assert_ne!(SpanId::of_task(other), SpanId::of_task(task()));
    assert_ne!(Trace::begun(other).id, Trace::begun(task()).id);
}

#[test]
fn so_many_traces_are_sampled_as_the_ratio_says() {
    let tasks = (0..4000_u128).map(|at| TaskId::new(Timestamp::from_millis(1), at << 3, Durability::Durable));
    let sampled = |ratio| tasks.clone().filter(|task| Sampling::ratio(ratio).begin(*task).unwrap().sampled).count();
    assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
    // The ids are fixed, so the count is too; a fair choice lies within 4 standard deviations of 1,000.
    assert!((890..1110).contains(&sampled(0.25)), "{}", sampled(0.25));
    assert_eq!(Sampling::OFF.begin(task()), None);
}

proptest! {
    #[test]
    fn no_header_makes_the_reader_panic(parent in "\\PC{0,80}", state in "\\PC{0,80}") {
        let _ = Trace::parse(&parent, Some(&state));
        let _ = Trace::parse(&format!("00-{parent}"), Some(&state));
    }
}
