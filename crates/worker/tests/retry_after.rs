//! An upstream that asks to be left alone for a while is: nobody comes back before, and those that were sent away together do
//! not all come back together.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewire_core::files::{self, Files};
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, Clock, Cursor, EventLog, Fault, Model, NoMeter, Request, Run, TaskStore,
};
use tidewire_core::queue::{Bounds, Entrant, Queue};
use tidewire_core::route::{Deployment, Fleet};
use tidewire_core::task::Turn;
use tidewire_core::{Catalog, Durability, Event, Kind, OnDisconnect, Spec, Task, TenantId, WorkerId};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_worker::{Backends, Pace, Pool, Slots, Worker};
use tokio::sync::Barrier;

/// Tasks that are sent away together; fewer than the failures that open a breaker, so that each of them is asked.
const CROWD: usize = 4;

/// What the upstream asks for: more than the first waits of the backoff, half a second at most.
const ASKED: Duration = Duration::from_secs(9);

/// Half of the backoff's first wait is spread.
const SPREAD: Duration = Duration::from_millis(250);

/// Sends the first crowd away, and answers whoever comes back.
struct Busy {
    clock: Arc<HandClock>,
    called: Mutex<Vec<Duration>>,
    all_here: Barrier,
}

#[async_trait]
impl Backend for Busy {
    async fn run(&self, _: Request) -> Result<Run, BackendError> {
        let place = {
            let mut called = self.called.lock().unwrap();
            called.push(self.clock.monotonic());
            called.len()
        };
        if place <= CROWD {
            self.all_here.wait().await;
            let error = BackendError::new(Fault::RateLimited, "come again later");
            return Err(BackendError { retry_after: Some(ASKED), status: Some(429), ..error });
        }
        let whole = [Ok(Chunk::Text("done".into())), Ok(Chunk::Finish("stop".into()))];
        Ok(Run { begins: Begins::Afresh, chunks: Box::pin(futures_util::stream::iter(whole)), limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        Ok(Vec::new())
    }
}

fn worker(clock: &Arc<HandClock>, engine: &Arc<memory::Engine>, backend: Arc<dyn Backend>) -> Worker {
    let dispatch = Arc::new(memory::Dispatch::new());
    let files = Files::new(engine.clone(), engine.clone(), engine.clone(), clock.clone(), files::Bounds::default());
    Worker {
        name: WorkerId("worker".into()),
        log: engine.clone(),
        files: Arc::new(files),
        tasks: engine.clone(),
        ledger: engine.clone(),
        counter: Arc::new(tidewire_core::tokens::Counter::without_tokenizers()),
        dispatch: dispatch.clone(),
        queue: Arc::new(Queue::new(Bounds::default(), dispatch, clock.clone())),
        bus: Arc::new(memory::Bus::new()),
        clock: clock.clone(),
        meter: Arc::new(NoMeter),
        catalog: Arc::new(Catalog::new(
            tidewire_core::route::Plan::new(vec![Deployment::by_name("up")], Vec::new()).unwrap(),
        )),
        fleet: Arc::new(Fleet::default()),
        backends: Arc::new(Backends::from([("up", backend)])),
        answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
        shares: tidewire_worker::Shares::default(),
        pace: Pace::default(),
    }
}

fn task(clock: &HandClock) -> Task {
    let spec = Spec {
        model: "up".into(),
        capability: "up".into(),
        input: r#"{"messages":[]}"#.into(),
        on_disconnect: OnDisconnect::Continue,
        deadline: clock.now().plus(Duration::from_hours(1)),
        max_attempts: 2,
        turn: Turn { tokens: 1, ..Turn::default() },
        ..Spec::default()
    };
    Task::new(clock.task_id(Durability::Durable), TenantId::DEFAULT, spec, clock.now())
}

async fn events(engine: &memory::Engine, task: &Task) -> Vec<Event> {
    let log = task.at().log();
    let state = engine.state(log).await.unwrap();
    let cursor = Cursor { epoch: state.epoch, next: state.first };
    engine.read(log, cursor, usize::MAX).await.unwrap().events
}

/// Lets time pass, in steps that are small beside the spread, until all have ended.
async fn until_all_ended(clock: &HandClock, engine: &memory::Engine, tasks: &[Task]) {
    let ended = async {
        for task in tasks {
            let mut watch = engine.watch(task.at().log()).await.unwrap();
            watch.over().await;
        }
    };
    let time = async {
        loop {
            // Whoever woke does what it woke for before more time passes.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_millis(5));
        }
    };
    let ends = async {
        tokio::select! {
            () = ended => {}
            () = time => {}
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ends).await.expect("the tasks end");
}

#[tokio::test]
async fn nobody_comes_back_before_the_upstream_asked_to_and_a_crowd_comes_back_spread_out() {
    for seed in [1, 2] {
        let clock = Arc::new(HandClock::new(seed));
        let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let busy = Arc::new(Busy { clock: clock.clone(), called: Mutex::default(), all_here: Barrier::new(CROWD) });
        let worker = worker(&clock, &engine, busy.clone());
        let queue = worker.queue.clone();
        let pool = Pool::start(worker, vec![Slots { capability: "up".into(), count: CROWD }]);
        let tasks: Vec<Task> = (0..CROWD).map(|_| task(&clock)).collect();
        for task in &tasks {
            engine.create(task.at().log()).await.unwrap();
            engine.submit(task.clone()).await.unwrap();
            queue.readmit(Entrant::of(task)).await.unwrap();
        }
        until_all_ended(&clock, &engine, &tasks).await;

        let called = busy.called.lock().unwrap().clone();
        assert_eq!(called.len(), 2 * CROWD, "seed {seed}: {called:?}");
        for (at, first) in called[CROWD..].iter().zip(&called) {
            let waited = at.saturating_sub(*first);
            assert!(waited >= ASKED, "seed {seed}: asked again after {waited:?}");
        }
        let mut waits = Vec::new();
        for task in &tasks {
            let events = events(&engine, task).await;
            let retry = events.iter().find(|event| event.kind == Kind::Retry).unwrap();
            let retry: serde_json::Value = serde_json::from_slice(&retry.data).unwrap();
            assert_eq!(retry["code"], "upstream_rate_limited");
            waits.push(Duration::from_millis(retry["after_ms"].as_u64().unwrap()));
        }
        assert!(waits.iter().all(|wait| (ASKED..=ASKED + SPREAD).contains(wait)), "seed {seed}: {waits:?}");
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 1, "seed {seed}: all come back at once, after {waits:?}");
        pool.drain(Duration::ZERO).await;
    }
}
