//! What one attempt does with several deployments: it goes on where the text stopped, or starts over; it counts and prices what
//! each of them used.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidewire_backends::scripted::{Accident, Script, Scripted, text};
use tidewire_core::files::{self, Files};
use tidewire_core::port::{Backend, Clock, Cursor, EventLog, NoMeter, TaskStore};
use tidewire_core::queue::{Bounds, Entrant, Queue};
use tidewire_core::route::{Deployment, Fleet, Member, Plan, Route};
use tidewire_core::task::Turn;
use tidewire_core::{
    Catalog, Durability, Ending, Event, Kind, Money, OnDisconnect, Outcome, Price, Spec, Task, TenantId, WorkerId,
};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_worker::{Backends, Pace, Pool, Slots, Worker};

struct World {
    clock: Arc<HandClock>,
    engine: Arc<memory::Engine>,
    queue: Arc<Queue>,
    pool: Pool,
}

/// A deployment whose output costs so many nanodollars a token.
fn priced(name: &str, nanos: u64) -> Deployment {
    let price = Price { output: Money(nanos * 1_000_000), ..Price::default() };
    Deployment { price: Some(price), ..Deployment::by_name(name) }
}

/// A route that asks `first` and, when that has failed, `second`.
fn world(first: Script, second: Script) -> World {
    let clock = Arc::new(HandClock::new(3));
    let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
    let dispatch = Arc::new(memory::Dispatch::new());
    let queue = Arc::new(Queue::new(Bounds::default(), dispatch.clone(), clock.clone()));
    let member = |name: &str, weight| Member { deployment: name.into(), weight };
    let members = vec![member("first", 1), member("second", 0)];
    let route = Route { members, ..Route::new("chat") };
    let plan = Plan::new(vec![priced("first", 5), priced("second", 7)], vec![route]).unwrap();
    let scripted = |script| -> Arc<dyn Backend> { Arc::new(Scripted::new(script)) };
    let files = Files::new(engine.clone(), engine.clone(), engine.clone(), clock.clone(), files::Bounds::default());
    let worker = Worker {
        name: WorkerId("worker".into()),
        log: engine.clone(),
        files: Arc::new(files),
        tasks: engine.clone(),
        ledger: engine.clone(),
        counter: Arc::new(tidewire_core::tokens::Counter::without_tokenizers()),
        dispatch,
        queue: queue.clone(),
        bus: Arc::new(memory::Bus::new()),
        clock: clock.clone(),
        meter: Arc::new(NoMeter),
        catalog: Arc::new(Catalog::new(plan)),
        fleet: Arc::new(Fleet::default()),
        backends: Arc::new(Backends::from([("first", scripted(first)), ("second", scripted(second))])),
        answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
        shares: tidewire_worker::Shares::default(),
        pace: Pace::default(),
    };
    let pool = Pool::start(worker, vec![Slots { capability: "chat".into(), count: 4 }]);
    World { clock, engine, queue, pool }
}

impl World {
    /// Runs a task to its end: the events before it, and how it ended.
    async fn run(&self, extra: Value) -> (Vec<Event>, Ending) {
        let mut input = json!({ "messages": [{ "role": "user", "content": "go" }] });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let spec = Spec {
            model: "chat".into(),
            capability: "chat".into(),
            input: input.to_string().into(),
            on_disconnect: OnDisconnect::Continue,
            deadline: self.clock.now().plus(Duration::from_hours(1)),
            max_attempts: 1,
            turn: Turn { tokens: 50, ..Turn::default() },
            ..Spec::default()
        };
        let task = Task::new(self.clock.task_id(Durability::Durable), TenantId::DEFAULT, spec, self.clock.now());
        let log = task.at().log();
        self.engine.create(log).await.unwrap();
        let mut watch = self.engine.watch(log).await.unwrap();
        self.engine.submit(task.clone()).await.unwrap();
        self.queue.readmit(Entrant::of(&task)).await.unwrap();
        tokio::time::timeout(Duration::from_mins(1), watch.over()).await.expect("the task ends");
        let state = self.engine.state(log).await.unwrap();
        let cursor = Cursor { epoch: state.epoch, next: state.first };
        let mut events = self.engine.read(log, cursor, usize::MAX).await.unwrap().events;
        let end = events.pop().unwrap();
        (events, serde_json::from_slice(&end.data).unwrap())
    }
}

fn said(events: &[Event]) -> String {
    let texts = events.iter().filter(|event| event.kind == Kind::Text);
    texts.map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect()
}

fn count(events: &[Event], kind: Kind) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

fn ten() -> Script {
    Script { tokens: 10, delay_ms: 0, ..Script::default() }
}

fn breaks(how: Accident) -> Script {
    Script { fail_at: Some(4), fault: Some(how), ..ten() }
}

#[tokio::test]
async fn the_next_deployment_goes_on_after_the_committed_text_and_each_part_has_its_own_price() {
    for how in [Accident::Broken, Accident::Cut, Accident::Overloaded] {
        let world = world(breaks(how), ten());
        let (events, ending) = world.run(json!({})).await;
        assert_eq!((ending.state, ending.attempts, ending.deployment.as_deref()), (Outcome::Done, 1, Some("second")));
        assert_eq!(said(&events), text(&ten()), "{how:?}");
        assert_eq!(
            (count(&events, Kind::Started), count(&events, Kind::Retry), count(&events, Kind::Rewind)),
            (2, 1, 0)
        );
        assert_eq!(ending.usage.output_tokens, 10, "four and six");
        assert_eq!(ending.usage.cost, Money(4 * 5 + 6 * 7), "{how:?}");
        world.pool.drain(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn json_and_what_can_not_go_on_start_over() {
    let afresh = Script { continues: false, ..ten() };
    for (extra, second) in [(json!({ "response_format": { "type": "json_object" } }), ten()), (json!({}), afresh)] {
        let world = world(breaks(Accident::Broken), second);
        let (events, ending) = world.run(extra).await;
        assert_eq!((ending.state, count(&events, Kind::Rewind)), (Outcome::Done, 1));
        let rewind = events.iter().position(|event| event.kind == Kind::Rewind).unwrap();
        assert_eq!(said(&events[rewind..]), text(&ten()));
        assert_eq!(ending.usage.output_tokens, 14, "what was said twice was paid twice");
        assert_eq!(ending.usage.cost, Money(4 * 5 + 10 * 7));
        world.pool.drain(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn when_all_have_failed_the_attempt_ends_with_what_was_wrong() {
    let refuses = |how| Script { fault: Some(how), ..ten() };
    let both = world(refuses(Accident::Overloaded), refuses(Accident::Unauthorized));
    let (events, ending) = both.run(json!({})).await;
    let failure = ending.error.unwrap();
    // The second's wrong key is the operator's matter; that the first was full is why to come again.
    assert_eq!((ending.state, failure.code.as_str()), (Outcome::Failed, "upstream_overloaded"));
    assert_eq!((count(&events, Kind::Started), ending.usage.output_tokens), (2, 0));
    both.pool.drain(Duration::ZERO).await;

    let wrong = world(refuses(Accident::Invalid), ten());
    let (events, ending) = wrong.run(json!({})).await;
    assert_eq!((ending.error.unwrap().code.as_str(), count(&events, Kind::Started)), ("invalid_input", 1));
    wrong.pool.drain(Duration::ZERO).await;
}
