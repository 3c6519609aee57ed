//! Fairness among tenants, from the queue to the workers: a late tenant's one task waits for nothing but what runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tidewire_core::catalog::Deployment;
use tidewire_core::files::{self, Files};
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, Clock, EventLog, Model, NoMeter, Request, Run, TaskStore,
};
use tidewire_core::queue::{Bounds, Entrant, Queue};
use tidewire_core::route::Fleet;
use tidewire_core::task::{Priority, Turn};
use tidewire_core::{Catalog, Durability, OnDisconnect, Spec, Task, TenantId, WorkerId};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_worker::{Backends, Pace, Pool, Slots, Worker};
use tokio::sync::Semaphore;

const BACKLOG: u64 = 10_000;
const SLOTS: usize = 4;

/// Notes who is run, in order, and lets each run go on only when it is told.
struct Gate {
    begun: Mutex<Vec<String>>,
    open: Semaphore,
}

#[async_trait]
impl Backend for Gate {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        self.begun.lock().unwrap().push(String::from_utf8(request.input.to_vec()).unwrap());
        self.open.acquire().await.unwrap().forget();
        let whole = [Ok(Chunk::Text("done".into())), Ok(Chunk::Finish("stop".into()))];
        Ok(Run { begins: Begins::Afresh, chunks: Box::pin(futures_util::stream::iter(whole)), limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        Ok(Vec::new())
    }
}

fn task(clock: &HandClock, tenant: u32, priority: Priority) -> Task {
    let spec = Spec {
        model: "gate".into(),
        capability: "gate".into(),
        input: format!("tenant {tenant}").into(),
        on_disconnect: OnDisconnect::Continue,
        deadline: clock.now().plus(std::time::Duration::from_hours(1)),
        max_attempts: 1,
        turn: Turn { tokens: 500, priority, ..Turn::default() },
        ..Spec::default()
    };
    Task::new(clock.task_id(Durability::Durable), TenantId(tenant), spec, clock.now())
}

#[tokio::test]
async fn one_task_of_a_late_tenant_waits_at_most_for_the_tasks_that_run() {
    let clock = Arc::new(HandClock::new(1));
    let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
    let dispatch = Arc::new(memory::Dispatch::new());
    let queue = Arc::new(Queue::new(Bounds::default(), dispatch.clone(), clock.clone()));
    let gate = Arc::new(Gate { begun: Mutex::default(), open: Semaphore::new(0) });
    let enter = async |task: Task| {
        engine.create(task.at().log()).await.unwrap();
        engine.submit(task.clone()).await.unwrap();
        queue.readmit(Entrant::of(&task)).await.unwrap();
    };
    for _ in 0..BACKLOG {
        enter(task(&clock, 1, Priority::default())).await;
    }
    let backend: Arc<dyn Backend> = gate.clone();
    let worker = Worker {
        name: WorkerId("worker".into()),
        log: engine.clone(),
        files: Arc::new(Files::new(
            engine.clone(),
            engine.clone(),
            engine.clone(),
            clock.clone(),
            files::Bounds::default(),
        )),
        tasks: engine.clone(),
        ledger: engine.clone(),
        counter: Arc::new(tidewire_core::tokens::Counter::without_tokenizers()),
        dispatch,
        queue: queue.clone(),
        bus: Arc::new(memory::Bus::new()),
        clock: clock.clone(),
        meter: Arc::new(NoMeter),
        catalog: Arc::new(Catalog::of(vec![Deployment::by_name("gate")]).unwrap()),
        fleet: Arc::new(Fleet::default()),
        backends: Arc::new(Backends::from([("gate", backend)])),
        answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
        shares: tidewire_worker::Shares::default(),
        pace: Pace::default(),
    };
    let pool = Pool::start(worker, vec![Slots { capability: "gate".into(), count: SLOTS }]);
    let begun = async |count: usize| {
        while gate.begun.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
        gate.begun.lock().unwrap().clone()
    };
    begun(SLOTS).await;
    enter(task(&clock, 2, Priority::default())).await;
    gate.open.add_permits(1);
    let order = begun(SLOTS + 1).await;
    assert_eq!(order[..SLOTS], vec!["tenant 1"; SLOTS]);
    assert_eq!(order[SLOTS], "tenant 2", "the first that comes free takes it, and 9,996 of the other wait on");
    gate.open.close();
    pool.drain(std::time::Duration::ZERO).await;
}
