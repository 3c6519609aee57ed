//! The driver of a shared answer falls: whoever rides on it is told, and nobody waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use async_trait::async_trait;
use futures_util::stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidewire_core::cache::{Answers, Policy, Use};
use tidewire_core::files::{self, Files};
use tidewire_core::port::{
    Backend, BackendError, Begins, CacheKey, Chunk, Clock, Cursor, EventLog, Measurement, Meter, Model, Request, Run,
    TaskStore,
};
use tidewire_core::queue::{Bounds, Entrant, Queue};
use tidewire_core::route::{Deployment, Fleet, Member, Plan, Route};
use tidewire_core::task::Turn;
use tidewire_core::{Catalog, Durability, Ending, OnDisconnect, Outcome, Spec, Task, TaskRef, TenantId, WorkerId};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_worker::{Backends, Pace, Pool, Shares, Slots, Worker};
use tokio::sync::Notify;

/// How many ride on one answer.
const RIDERS: usize = 3;

/// Falls when it is asked, or in the middle of what it says; at the next call it answers.
struct Falls {
    in_the_middle: bool,
    calls: Arc<AtomicUsize>,
    /// Let go on: all ride by then.
    aboard: Arc<Notify>,
}

#[async_trait]
impl Backend for Falls {
    async fn run(&self, _: Request) -> Result<Run, BackendError> {
        let text = Ok(Chunk::Text("half an ".into()));
        if self.calls.fetch_add(1, Ordering::SeqCst) > 0 {
            let rest = [Ok(Chunk::Text("answer".into())), Ok(Chunk::Finish("stop".into()))];
            let chunks = Box::pin(stream::iter(std::iter::once(text).chain(rest)));
            return Ok(Run { begins: Begins::Afresh, chunks, limits: Vec::new() });
        }
        let aboard = self.aboard.clone();
        if !self.in_the_middle {
            aboard.notified().await;
            panic!("a defect of a backend, as the test wants it");
        }
        let falls = stream::once(async move {
            aboard.notified().await;
            panic!("a defect in the middle, as the test wants it")
        });
        let chunks = Box::pin(futures_util::StreamExt::chain(stream::iter([text]), falls));
        Ok(Run { begins: Begins::Afresh, chunks, limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        Ok(Vec::new())
    }
}

/// Counts who has come aboard.
#[derive(Default)]
struct Boarded(AtomicUsize);

impl Meter for Boarded {
    fn record(&self, measurement: Measurement<'_>) {
        if let Measurement::Answered(..) = measurement {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct World {
    boarded: Arc<Boarded>,
    clock: Arc<HandClock>,
    engine: Arc<memory::Engine>,
    queue: Arc<Queue>,
    pool: Pool,
}

fn world(backend: Falls) -> World {
    let clock = Arc::new(HandClock::new(3));
    let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
    let dispatch = Arc::new(memory::Dispatch::new());
    let queue = Arc::new(Queue::new(Bounds::default(), dispatch.clone(), clock.clone()));
    let members = vec![Member { deployment: "only".into(), weight: 1 }];
    let route = Route { members, cache: Some(Arc::new(Policy::default())), ..Route::new("chat") };
    let plan = Plan::new(vec![Deployment::by_name("only")], vec![route]).unwrap();
    let boarded = Arc::new(Boarded::default());
    let files = Files::new(engine.clone(), engine.clone(), engine.clone(), clock.clone(), files::Bounds::default());
    let backend: Arc<dyn Backend> = Arc::new(backend);
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
        meter: boarded.clone(),
        catalog: Arc::new(Catalog::new(plan)),
        fleet: Arc::new(Fleet::default()),
        backends: Arc::new(Backends::from([("only", backend)])),
        answers: Arc::new(Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
        shares: Shares::default(),
        pace: Pace::default(),
    };
    let pool = Pool::start(worker, vec![Slots { capability: "chat".into(), count: RIDERS }]);
    World { boarded, clock, engine, queue, pool }
}

impl World {
    /// A task that asks what all ask.
    async fn submit(&self) -> TaskRef {
        let key = CacheKey([7; 32]);
        let spec = Spec {
            model: "chat".into(),
            capability: "chat".into(),
            input: r#"{"messages":[{"role":"user","content":"go"}],"temperature":0}"#.into(),
            on_disconnect: OnDisconnect::Continue,
            deadline: self.clock.now().plus(Duration::from_hours(1)),
            max_attempts: 1,
            turn: Turn { tokens: 50, ..Turn::default() },
            cache: Some(Box::new(Use {
                key,
                read: true,
                keep: true,
                join: true,
                only: false,
                rides: false,
                bucket: None,
                accounts: Vec::new(),
            })),
            ..Spec::default()
        };
        let task = Task::new(self.clock.task_id(Durability::Durable), TenantId::DEFAULT, spec, self.clock.now());
        self.engine.create(task.at().log()).await.unwrap();
        self.engine.submit(task.clone()).await.unwrap();
        self.queue.readmit(Entrant::of(&task)).await.unwrap();
        task.at()
    }

    async fn ending(&self, task: TaskRef) -> Ending {
        let log = task.log();
        let mut watch = self.engine.watch(log).await.unwrap();
        tokio::time::timeout(Duration::from_mins(1), watch.over()).await.expect("nobody waits for what has fallen");
        let state = self.engine.state(log).await.unwrap();
        let cursor = Cursor { epoch: state.epoch, next: state.first };
        let mut events = self.engine.read(log, cursor, usize::MAX).await.unwrap().events;
        serde_json::from_slice(&events.pop().unwrap().data).unwrap()
    }
}

#[tokio::test]
async fn riders_of_an_answer_whose_driver_falls_get_an_honest_error_and_the_next_one_an_answer() {
    for in_the_middle in [false, true] {
        let (calls, aboard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let world = world(Falls { in_the_middle, calls: calls.clone(), aboard: aboard.clone() });
        let mut riders = Vec::new();
        for _ in 0..RIDERS {
            riders.push(world.submit().await);
        }
        let all = async {
            while world.boarded.0.load(Ordering::SeqCst) < RIDERS {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), all).await.expect("all come aboard");
        aboard.notify_one();
        for rider in riders {
            let ending = world.ending(rider).await;
            let code = ending.error.map(|error| error.code);
            assert_eq!((ending.state, code.as_deref()), (Outcome::Failed, Some("upstream_broken")), "{in_the_middle}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let next = world.submit().await;
        assert_eq!(world.ending(next).await.state, Outcome::Done, "it is nobody's answer any more");
        world.pool.drain(Duration::ZERO).await;
    }
}
