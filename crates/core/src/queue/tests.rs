//! The queue's order, by itself.

use super::line::{Line, Moment};
use super::{Bounds, Crowd, Entrant, Full, Left, Place, Turn};
use crate::id::{Durability, TaskId, TaskRef, TenantId};
use crate::task::{OnBusy, Priority, Spec, Task};
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const GPU: &str = "gpu";

struct Given {
    line: Line,
    gpu: Arc<str>,
    now: Moment,
}

fn given(bounds: Bounds) -> Given {
    let now = Moment { wall: Timestamp::from_millis(1_000_000), monotonic: Duration::from_secs(100) };
    Given { line: Line::new(bounds), gpu: GPU.into(), now }
}

fn task(tenant: u32, number: u64) -> Task {
    let at = Timestamp::from_millis(1_000_000 + number);
    let spec = Spec {
        model: "m".into(),
        capability: GPU.into(),
        input: bytes::Bytes::new(),
        on_disconnect: crate::OnDisconnect::Continue,
        deadline: Timestamp::from_millis(1_600_000),
        max_attempts: 3,
        turn: crate::task::Turn { tokens: 100, ..Default::default() },
        ..Spec::default()
    };
    Task::new(TaskId::new(at, u128::from(number), Durability::Durable), TenantId(tenant), spec, at)
}

fn in_lane(number: u64, lane: &str) -> Task {
    let mut task = task(1, number);
    task.spec.turn.lane = Some(lane.into());
    task
}

impl Given {
    fn enter(&mut self, task: &Task) -> TaskRef {
        self.line.enter(&Entrant::of(task), self.now);
        task.at()
    }

    /// A worker asks for one more task, and claims what it is offered.
    fn claim(&mut self) -> Option<(TaskRef, Turn)> {
        self.line.want(&self.gpu);
        let task = self.line.take_offer(&self.gpu, self.now)?;
        Some((task, self.line.claimed(task, &self.gpu, self.now)))
    }

    fn pass(&mut self, time: Duration) {
        self.now = Moment { wall: self.now.wall.plus(time), monotonic: self.now.monotonic + time };
    }

    fn place(&self, task: TaskRef) -> Option<u64> {
        self.line.standing(task, self.now).map(|standing| standing.place.0)
    }
}

#[test]
fn no_more_is_offered_than_workers_wait_for() {
    let mut given = given(Bounds::default());
    let tasks: Vec<TaskRef> = (0..3).map(|number| given.enter(&task(1, number))).collect();
    assert_eq!(given.line.take_offer(&given.gpu, given.now), None, "nobody waits");
    assert_eq!(tasks.iter().map(|task| given.place(*task)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let (first, _) = given.claim().unwrap();
    assert_eq!(first, tasks[0]);
    assert_eq!(given.place(tasks[2]), Some(1));
    assert_eq!(given.place(first), None, "it waits no more");
}

#[test]
fn a_late_tenants_task_waits_for_no_other_tenants_backlog() {
    let mut given = given(Bounds::default());
    for number in 0..10_000 {
        given.enter(&task(1, number));
    }
    let running: Vec<_> = (0..4).map(|_| given.claim().unwrap()).collect();
    let late = given.enter(&task(2, 10_000));
    assert_eq!(given.place(late), Some(0));
    let (first, turn) = running[0];
    given.line.left(first, turn, Left::Ended, given.now);
    assert_eq!(given.claim().unwrap().0, late);
}

#[test]
fn a_full_line_refuses_until_somebody_leaves_and_says_when_to_come_back() {
    let mut given = given(Bounds { waiting: 2, ..Bounds::default() });
    given.line.reserve(&task(1, 0), given.now).unwrap();
    let first = given.enter(&task(1, 1));
    let Err(Full::Bound { bound: 2, retry_after, .. }) = given.line.reserve(&task(1, 2), given.now) else {
        panic!("a seat that is held counts")
    };
    assert_eq!(retry_after, Duration::from_secs(1));
    given.line.remove(first, given.now);
    given.line.reserve(&task(1, 3), given.now).unwrap();
}

#[test]
fn a_task_that_would_wait_past_its_deadline_is_refused_at_once() {
    let mut given = given(Bounds::default());
    for number in 0..10 {
        given.enter(&task(1, number));
    }
    let (first, turn) = given.claim().unwrap();
    given.pass(Duration::from_secs(30));
    given.line.left(first, turn, Left::Ended, given.now);
    let mut hurried = task(1, 11);
    given.line.reserve(&hurried, given.now).unwrap();
    hurried.spec.deadline = given.now.wall.plus(Duration::from_secs(100));
    assert!(matches!(given.line.reserve(&hurried, given.now), Err(Full::TooLate { .. })));
}

#[test]
fn a_tenant_runs_as_many_as_it_may_and_goes_on_when_one_ends() {
    let mut given = given(Bounds { running_per_tenant: 2, ..Bounds::default() });
    for number in 0..4 {
        given.enter(&task(1, number));
    }
    let (first, turn) = given.claim().unwrap();
    given.claim().unwrap();
    assert_eq!(given.claim(), None, "two of it run");
    let other = given.enter(&task(2, 9));
    assert_eq!(given.line.take_offer(&given.gpu, given.now), Some(other), "another tenant's goes by");
    given.line.left(first, turn, Left::Ended, given.now);
    given.line.want(&given.gpu);
    assert!(given.line.take_offer(&given.gpu, given.now).is_some());
}

#[test]
fn a_lane_keeps_its_order_over_retries() {
    let mut given = given(Bounds::default());
    let lane: Vec<TaskRef> = (0..3).map(|number| given.enter(&in_lane(number, "chat"))).collect();
    let other = given.enter(&task(1, 3));
    let (first, turn) = given.claim().unwrap();
    assert_eq!(first, lane[0]);
    let not_before = given.now.wall.plus(Duration::from_secs(5));
    given.line.left(first, turn, Left::Again { not_before }, given.now);
    assert_eq!(given.claim().unwrap().0, other, "the lane waits for its first one");
    assert_eq!(given.line.due(given.now), Some(not_before));
    given.pass(Duration::from_secs(5));
    assert_eq!(given.line.due(given.now), None);
    let (again, turn) = given.claim().unwrap();
    assert_eq!(again, lane[0]);
    assert_eq!(given.line.lane(TenantId(1), &"chat".into()), lane);
    given.line.left(again, turn, Left::Ended, given.now);
    assert_eq!(given.claim().unwrap().0, lane[1]);
}

#[test]
fn one_that_steers_goes_before_those_that_wait() {
    let mut given = given(Bounds::default());
    let running = given.enter(&in_lane(0, "chat"));
    let (first, turn) = given.claim().unwrap();
    assert_eq!(first, running);
    let waits = given.enter(&in_lane(1, "chat"));
    let mut steering = in_lane(2, "chat");
    steering.spec.turn.on_busy = OnBusy::Steer;
    let steers = given.enter(&steering);
    assert_eq!((given.place(steers), given.place(waits)), (Some(1), Some(2)));
    given.line.left(first, turn, Left::Ended, given.now);
    assert_eq!(given.claim().unwrap().0, steers);
    given.line.remove(waits, given.now);
    given.line.remove(steers, given.now);
    assert!(given.line.lane(TenantId(1), &"chat".into()).is_empty());
}

#[test]
fn a_scheduled_task_gets_in_line_at_its_moment() {
    let mut given = given(Bounds::default());
    let mut later = task(1, 0);
    later.not_before = Some(given.now.wall.plus(Duration::from_mins(1)));
    let at = given.enter(&later);
    assert_eq!(given.claim(), None);
    assert_eq!(given.line.standing(at, given.now).unwrap().wait, Some(Duration::from_mins(1)));
    given.pass(Duration::from_mins(1));
    given.line.due(given.now);
    assert_eq!(given.line.take_offer(&given.gpu, given.now), Some(at));
}

#[test]
fn a_lost_worker_is_not_heard_once_the_task_went_to_another() {
    let mut given = given(Bounds::default());
    let lost = task(1, 0);
    let at = given.enter(&lost);
    let (_, frozen) = given.claim().unwrap();
    given.line.enter(&Entrant::of(&lost), given.now);
    let (again, healthy) = given.claim().unwrap();
    assert_eq!(again, at);
    given.line.left(at, frozen, Left::Ended, given.now);
    assert!(given.line.knows(at), "the healthy one has it");
    given.line.left(at, healthy, Left::Ended, given.now);
    assert!(!given.line.knows(at));
}

#[test]
fn a_wait_that_outgrows_its_estimate_is_told_once_for_each_estimate() {
    let mut given = given(Bounds::default());
    given.enter(&task(1, 0));
    let (first, turn) = given.claim().unwrap();
    given.pass(Duration::from_secs(10));
    given.line.left(first, turn, Left::Ended, given.now);
    let blocker = given.enter(&task(1, 1));
    given.claim().unwrap();
    let waits = given.enter(&task(1, 2));
    assert_eq!(given.line.standing(waits, given.now).unwrap().wait, Some(Duration::from_secs(10)));
    given.pass(Duration::from_secs(19));
    assert!(given.line.overdue(10, given.now).is_empty());
    given.pass(Duration::from_secs(1));
    let overdue = given.line.overdue(10, given.now);
    assert_eq!(overdue.iter().map(|overdue| overdue.task).collect::<Vec<_>>(), [waits]);
    assert_eq!(overdue[0].standing.place, Place(0));
    assert!(given.line.overdue(10, given.now).is_empty());
    assert!(given.line.knows(blocker));
}

#[test]
fn an_offer_that_did_not_go_out_keeps_its_place() {
    let mut given = given(Bounds::default());
    let first = given.enter(&task(1, 0));
    given.enter(&task(1, 1));
    given.line.want(&given.gpu);
    assert_eq!(given.line.take_offer(&given.gpu, given.now), Some(first));
    given.line.withdraw(first, given.now);
    assert_eq!((given.line.waiting(), given.place(first)), (2, Some(0)));
    assert_eq!(given.line.take_offer(&given.gpu, given.now), Some(first));
}

#[test]
fn a_bulk_task_waits_for_the_interactive_ones() {
    let mut given = given(Bounds::default());
    let mut bulk = task(1, 0);
    bulk.spec.turn.priority = Priority::Bulk;
    let bulk = given.enter(&bulk);
    let mut pressing = task(1, 1);
    pressing.spec.turn.priority = Priority::Interactive;
    let pressing = given.enter(&pressing);
    assert_eq!((given.place(pressing), given.place(bulk)), (Some(0), Some(1)));
    assert_eq!(given.claim().unwrap().0, pressing);
}

#[test]
fn a_census_counts_who_waits_and_runs_and_how_long_the_first_has() {
    let mut given = given(Bounds::default());
    given.enter(&task(1, 0));
    let (running, turn) = given.claim().unwrap();
    let mut pressing = task(2, 500);
    pressing.spec.turn.priority = Priority::Interactive;
    given.enter(&pressing);
    for number in [300, 700] {
        given.enter(&in_lane(number, "lane"));
    }
    // It waits for its own moment, and so has no age.
    let mut later = task(3, 100);
    later.not_before = Some(Timestamp::from_millis(2_000_000));
    given.enter(&later);
    let census = given.line.census();
    let crowd = |waiting, running, oldest: Option<u64>| Crowd {
        waiting,
        running,
        oldest: oldest.map(|number| Timestamp::from_millis(1_000_000 + number)),
    };
    assert_eq!(census.all, crowd(4, 1, Some(300)));
    assert_eq!(census.by_priority[&Priority::Interactive], crowd(1, 0, Some(500)));
    assert_eq!(census.by_priority[&Priority::Normal], crowd(3, 1, Some(300)));
    assert_eq!(census.by_tenant[&TenantId(1)], crowd(2, 1, Some(300)));
    assert_eq!(census.by_tenant[&TenantId(3)], crowd(1, 0, None));
    assert_eq!(census.by_capability[GPU], crowd(4, 1, Some(300)));
    given.line.left(running, turn, Left::Ended, given.now);
    assert_eq!(given.line.census().all, crowd(4, 0, Some(300)));
}
