//! The fleet's choices over time. Properties are checked against books of the test's own, not against the fleet's.

use super::*;
use crate::ending::Usage;
use crate::port::{BackendError, Counted, Fault, UpstreamLimit};
use proptest::prelude::{Strategy as _, any, prop, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plan(deployments: Vec<Deployment>, routes: Vec<Route>) -> Plan {
    Plan::new(deployments, routes).unwrap()
}

fn route(name: &str, members: &[&str]) -> Route {
    let members = members.iter().map(|name| Member { deployment: (*name).into(), weight: 1 }).collect();
    Route { members, ..Route::new(name) }
}

fn ask(route: &Arc<Route>) -> Ask<'_> {
    Ask { route, needs: &[], tokens: 100, affinity: 1, tried: &[], outgrown: None }
}

fn chosen(fleet: &Arc<Fleet>, plan: &Plan, ask: &Ask<'_>, now: Duration) -> Result<String, Nothing> {
    fleet.choose(plan, ask, now, 1).map(|flight| flight.deployment.name.to_string())
}

fn fails(fleet: &Arc<Fleet>, plan: &Plan, ask: &Ask<'_>, now: Duration, error: &BackendError) {
    let flight = fleet.choose(plan, ask, now, 1).unwrap();
    flight.end(Verdict::Failed(error), &Usage::default(), None, now);
}

#[test]
fn a_deployment_that_asks_to_be_left_alone_is_and_comes_back() {
    let fleet = Arc::new(Fleet::default());
    let plan = plan(vec![Deployment::by_name("a")], Vec::new());
    let route = plan.route("a").unwrap();
    let limited = BackendError {
        retry_after: Some(Duration::from_secs(7)),
        ..BackendError::new(Fault::RateLimited, "slow down")
    };
    fails(&fleet, &plan, &ask(route), at(0), &limited);
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(6_999)), Err(Nothing::Now { again: at(7_249), busy: false }));
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(7_000)), Ok("a".into()));
}

#[test]
fn a_request_that_nobody_takes_back_counts_as_out_no_longer_than_its_flight() {
    let fleet = Arc::new(Fleet::default());
    let one = Deployment { slots: 1, ..Deployment::by_name("a") };
    let plan = plan(vec![one], Vec::new());
    let route = plan.route("a").unwrap();
    let flight = fleet.choose(&plan, &ask(route), at(0), 1).unwrap();
    let full = fleet.choose(&plan, &ask(route), at(0), 1).unwrap_err();
    assert_eq!(full, Nothing::Now { again: at(1_000), busy: true });
    drop(flight);
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(0)), Ok("a".into()));
}

#[test]
fn its_own_limits_and_the_ones_that_the_upstream_told_are_kept() {
    let fleet = Arc::new(Fleet::default());
    let per_minute = PerMinute { requests: Some(2), tokens: None };
    let own = Deployment { per_minute, ..Deployment::by_name("own") };
    let plan = plan(vec![own, Deployment::by_name("told")], Vec::new());
    let route = plan.route("own").unwrap();
    assert!(chosen(&fleet, &plan, &ask(route), at(500)).is_ok() && chosen(&fleet, &plan, &ask(route), at(500)).is_ok());
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(900)), Err(Nothing::Now { again: at(61_000), busy: false }));
    assert!(chosen(&fleet, &plan, &ask(route), at(61_000)).is_ok());

    let route = plan.route("told").unwrap();
    let left = |remaining| UpstreamLimit { of: Counted::Tokens, limit: Some(1000), remaining, reset: Some(at(3_000)) };
    let flight = fleet.choose(&plan, &ask(route), at(0), 1).unwrap();
    flight.told(&[left(150)], at(0));
    assert!(chosen(&fleet, &plan, &ask(route), at(0)).is_ok(), "100 of 150");
    assert!(chosen(&fleet, &plan, &ask(route), at(0)).is_err(), "50 are left");
    assert!(chosen(&fleet, &plan, &ask(route), at(3_000)).is_ok());
}

#[test]
fn what_was_tried_or_lacks_what_is_needed_is_passed_over() {
    let fleet = Arc::new(Fleet::default());
    let eu = Deployment { region: Some("eu".into()), ..Deployment::by_name("eu") };
    let plan = plan(vec![Deployment::by_name("us"), eu], vec![route("r", &["us", "eu"])]);
    let route = plan.route("r").unwrap();
    let needs = ["eu".to_owned()];
    assert_eq!(chosen(&fleet, &plan, &Ask { needs: &needs, ..ask(route) }, at(0)), Ok("eu".into()));
    let tried = ["eu".into()];
    assert_eq!(chosen(&fleet, &plan, &Ask { tried: &tried, ..ask(route) }, at(0)), Ok("us".into()));
    let neither = Ask { needs: &needs, tried: &tried, ..ask(route) };
    assert_eq!(chosen(&fleet, &plan, &neither, at(0)), Err(Nothing::Left));
}

#[test]
fn another_region_is_asked_only_when_the_preferred_one_is_shut() {
    let fleet = Arc::new(Fleet::default());
    let region = |name: &str, region: &str| Deployment { region: Some(region.into()), ..Deployment::by_name(name) };
    let prefer = Route { prefer: vec!["eu".to_owned()], ..route("r", &["us", "eu"]) };
    let plan = plan(vec![region("us", "us"), region("eu", "eu")], vec![prefer]);
    let route = plan.route("r").unwrap();
    for random in 0..50 {
        assert_eq!(&*fleet.choose(&plan, &ask(route), at(0), random).unwrap().deployment.name, "eu");
    }
    assert!(fleet.checked(&"eu".into(), false));
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(0)), Ok("us".into()));
    assert!(fleet.checked(&"eu".into(), true) && !fleet.checked(&"eu".into(), true), "news is told once");
    assert_eq!(chosen(&fleet, &plan, &ask(route), at(0)), Ok("eu".into()));
}

#[test]
fn a_prompt_that_is_too_long_goes_on_only_where_the_context_may_be_larger() {
    let fleet = Arc::new(Fleet::default());
    let sized = |name: &str, context_tokens| Deployment { context_tokens, ..Deployment::by_name(name) };
    let deployments = vec![sized("a", Some(4000)), sized("b", Some(4000)), sized("long", Some(100_000))];
    let small = Route { fallbacks: vec!["long".into()], ..route("r", &["a", "b"]) };
    let plan = plan(deployments, vec![small]);
    let route = plan.route("r").unwrap();
    let tried = ["a".into()];
    let outgrown = Outgrown { route: "r".into(), context_tokens: Some(4000) };
    let too_long = Ask { tried: &tried, outgrown: Some(&outgrown), ..ask(route) };
    assert_eq!(chosen(&fleet, &plan, &too_long, at(0)), Ok("long".into()));
    let unknown = Outgrown { context_tokens: None, ..outgrown.clone() };
    assert_eq!(chosen(&fleet, &plan, &Ask { outgrown: Some(&unknown), ..too_long }, at(0)), Ok("long".into()));
}

#[test]
fn requests_of_clients_that_are_wrong_never_open_the_breaker() {
    let fleet = Arc::new(Fleet::default());
    let plan = plan(vec![Deployment::by_name("a")], Vec::new());
    let route = plan.route("a").unwrap();
    for fault in [Fault::InvalidRequest, Fault::ContextTooLong, Fault::UnknownModel] {
        for _ in 0..100 {
            fails(&fleet, &plan, &ask(route), at(0), &BackendError::new(fault, ""));
        }
    }
    let view = &fleet.view(&plan, route, at(0))[0];
    assert_eq!((view.breaker, view.requests, view.available), (BreakerState::Closed, 0, true));
    assert_eq!(view.outcomes, [("context_too_long", 100), ("invalid_input", 100), ("unknown_model", 100)]);
}

/// What the test knows of a deployment, kept by itself.
#[derive(Clone, Debug, Default)]
struct Book {
    /// When each request went out, and for how many tokens.
    sent: Vec<(Duration, u64)>,
    /// It is not to be asked before this.
    shut_until: Duration,
    out: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Choose { needs_eu: bool, tokens: u64, random: u64, skip: usize },
    End { which: usize, how: u8 },
    Wait { millis: u64 },
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let choose = (any::<bool>(), 1..400_u64, any::<u64>(), 0..6_usize)
        .prop_map(|(needs_eu, tokens, random, skip)| Step::Choose { needs_eu, tokens, random, skip });
    let end = (any::<usize>(), 0..6_u8).prop_map(|(which, how)| Step::End { which, how });
    let wait = prop_oneof![0..300_u64, 500..20_000_u64].prop_map(|millis| Step::Wait { millis });
    prop::collection::vec(prop_oneof![4 => choose, 4 => end, 1 => wait], 1..300)
}

proptest! {
    #[test]
    fn no_strategy_picks_one_that_is_open_out_of_limits_or_lacks_what_is_needed(
        strategy in prop::sample::select(&Strategy::ALL[..]),
        steps in steps(),
    ) {
        let deployments: Vec<Deployment> = (0..4_u64).map(|place| Deployment {
            has: if place % 2 == 0 { vec!["eu".to_owned()] } else { Vec::new() },
            slots: 12,
            per_minute: PerMinute {
                requests: (place == 0).then_some(5),
                tokens: (place == 1).then_some(1_000),
            },
            ..Deployment::by_name(&format!("d{place}"))
        }).collect();
        let all = Route { strategy, ..route("r", &["d0", "d1", "d2", "d3"]) };
        let plan = plan(deployments, vec![all]);
        let route = plan.route("r").unwrap();
        let fleet = Arc::new(Fleet::default());
        let mut books = vec![Book::default(); 4];
        let mut flights: Vec<(usize, Flight)> = Vec::new();
        let mut now = at(0);
        for step in steps {
            match step {
                Step::Choose { needs_eu, tokens, random, skip } => {
                    let needs: Vec<String> = needs_eu.then(|| "eu".to_owned()).into_iter().collect();
                    let tried: Vec<Arc<str>> = (skip < 4).then(|| format!("d{skip}").into()).into_iter().collect();
                    let wanted = Ask { needs: &needs, tokens, tried: &tried, affinity: random / 7, ..ask(route) };
                    let Ok(flight) = fleet.choose(&plan, &wanted, now, random) else { continue };
                    let place: usize = flight.deployment.name[1..].parse().unwrap();
                    prop_assert!(place != skip && (!needs_eu || place.is_multiple_of(2)));
                    let book = &mut books[place];
                    prop_assert!(now >= book.shut_until, "it is shut until {:?}", book.shut_until);
                    book.out += 1;
                    prop_assert!(book.out <= 12);
                    let minute = book.sent.iter().filter(|(sent, _)| now.saturating_sub(*sent) <= Duration::from_mins(1));
                    let (requests, spent) = minute.fold((0, 0), |(requests, sum), (_, one)| (requests + 1, sum + one));
                    prop_assert!(place != 0 || requests < 5);
                    prop_assert!(place != 1 || spent + tokens <= 1_000);
                    book.sent.push((now, tokens));
                    flights.push((place, flight));
                }
                Step::End { which, how } if !flights.is_empty() => {
                    let (place, flight) = flights.swap_remove(which % flights.len());
                    let book = &mut books[place];
                    book.out -= 1;
                    // As much as was estimated, so that the books of both agree.
                    let usage = Usage { output_tokens: flight.estimate(), ..Usage::default() };
                    let failure = |fault, secs: Option<u64>| BackendError {
                        retry_after: secs.map(Duration::from_secs),
                        ..BackendError::new(fault, "")
                    };
                    match how {
                        0 => {
                            flight.end(Verdict::Whole, &usage, Some(at(10)), now);
                        }
                        1 => {
                            flight.end(Verdict::Failed(&failure(Fault::RateLimited, Some(9))), &usage, None, now);
                            book.shut_until = book.shut_until.max(now + Duration::from_secs(9));
                        }
                        2 => {
                            flight.end(Verdict::Failed(&failure(Fault::InvalidRequest, None)), &usage, None, now);
                        }
                        3 => drop(flight),
                        _ => {
                            flight.end(Verdict::Failed(&failure(Fault::Overloaded, None)), &usage, None, now);
                        }
                    }
                    let view = fleet.view(&plan, route, now);
                    prop_assert_eq!(view[place].requests, book.out as u64);
                }
                Step::End { .. } => {}
                Step::Wait { millis } => now += at(millis),
            }
        }
    }
}

proptest! {
    #[test]
    fn five_failures_in_a_row_keep_every_strategy_away_for_a_second(
        strategy in prop::sample::select(&Strategy::ALL[..]),
        random in any::<u64>(),
        later in 0..1_000_u64,
    ) {
        let all = Route { strategy, ..route("r", &["d0", "d1", "d2"]) };
        let names = ["d0", "d1", "d2"];
        let plan = plan(names.into_iter().map(Deployment::by_name).collect(), vec![all]);
        let route = plan.route("r").unwrap();
        let fleet = Arc::new(Fleet::default());
        let others: [Arc<str>; 2] = ["d1".into(), "d2".into()];
        let only_first = Ask { tried: &others, ..ask(route) };
        for _ in 0..5 {
            fails(&fleet, &plan, &only_first, at(0), &BackendError::new(Fault::TimedOut, ""));
        }
        let flight = fleet.choose(&plan, &ask(route), at(later), random).unwrap();
        prop_assert_ne!(&*flight.deployment.name, "d0");
        drop(flight);
        prop_assert!(fleet.choose(&plan, &only_first, at(1_000), random).is_ok(), "a probe");
    }
}
