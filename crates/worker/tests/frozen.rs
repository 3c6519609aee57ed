//! A worker that froze: its task is ended or taken over, and its own late append is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use std::sync::Arc;
use std::time::Duration;
use tidewire_backends::scripted::{Script, Scripted, text};
use tidewire_core::catalog::Deployment;
use tidewire_core::files::{self, Files};
use tidewire_core::port::{
    Append, AppendError, Backend, Bus, Clock, Cursor, EventLog, Leasing, Ledger, NoMeter, Signal, TaskStore, Writer,
};
use tidewire_core::queue::{Bounds, Queue};
use tidewire_core::route::Fleet;
use tidewire_core::task::Lease;
use tidewire_core::{
    Catalog, Durability, Ending, Entry, Fence, Kind, Offset, OnDisconnect, Outcome, Spec, Task, TaskRef, TenantId,
    WorkerId,
};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_worker::{Backends, Pace, Pool, Slots, Worker};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    clock: Arc<HandClock>,
    engine: Arc<memory::Engine>,
    bus: Arc<memory::Bus>,
    script: Script,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new(7));
        let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let script = Script { tokens: 10, delay_ms: 0, ..Script::default() };
        Self { clock, engine, bus: Arc::new(memory::Bus::new()), script }
    }

    fn pool(&self) -> Pool {
        let dispatch = Arc::new(memory::Dispatch::new());
        let capability: Arc<str> = "scripted".into();
        let backend: Arc<dyn Backend> = Arc::new(Scripted::new(self.script.clone()));
        let worker = Worker {
            name: WorkerId("healthy".into()),
            log: self.engine.clone(),
            files: self.files(),
            tasks: self.engine.clone(),
            ledger: self.engine.clone(),
            counter: Arc::new(tidewire_core::tokens::Counter::without_tokenizers()),
            dispatch: dispatch.clone(),
            queue: Arc::new(Queue::new(Bounds::default(), dispatch, self.clock.clone())),
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            meter: Arc::new(NoMeter),
            catalog: Arc::new(Catalog::of(vec![Deployment::by_name(&capability)]).unwrap()),
            fleet: Arc::new(Fleet::default()),
            backends: Arc::new(Backends::from([(&*capability, backend)])),
            answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
            shares: tidewire_worker::Shares::default(),
            pace: Pace { lease: LEASE, ..Pace::default() },
        };
        Pool::start(worker, vec![Slots { capability, count: 4 }])
    }

    fn files(&self) -> Arc<Files> {
        let (engine, clock) = (self.engine.clone(), self.clock.clone());
        Arc::new(Files::new(engine.clone(), engine.clone(), engine, clock, files::Bounds::default()))
    }

    /// A task that a worker leased, wrote three words of, and froze with.
    async fn frozen_task(&self) -> (TaskRef, Lease) {
        let spec = Spec {
            model: "scripted".into(),
            capability: "scripted".into(),
            input: br#"{"messages":[{"role":"user","content":"go"}]}"#.as_slice().into(),
            on_disconnect: OnDisconnect::Continue,
            deadline: self.clock.now().plus(Duration::from_hours(1)),
            max_attempts: 3,
            ..Spec::default()
        };
        let task = Task::new(self.clock.task_id(Durability::Durable), TenantId::DEFAULT, spec, self.clock.now());
        let at = task.at();
        self.engine.submit(task).await.unwrap();
        self.engine.create(at.log()).await.unwrap();
        let now = self.clock.now();
        let leasing = Leasing { worker: WorkerId("frozen".into()), now, until: now.plus(LEASE), seize: false };
        let (_, lease) = self.engine.lease(at, leasing).await.unwrap();
        let words = ["w0 ", "w1 ", "w2 "].map(|word| Entry::new(now, Kind::Text, word));
        self.append(at, lease.fence, Offset(0), words.to_vec()).await.unwrap();
        (at, lease)
    }

    async fn append(
        &self,
        at: TaskRef,
        fence: Fence,
        expect: Offset,
        entries: Vec<Entry>,
    ) -> Result<Offset, AppendError> {
        let writer = Writer::Leased { fence, expect };
        self.engine.append(Append { log: at.log(), writer, entries }).await.map(|appended| appended.to)
    }

    /// Turns the clock until the task's log has ended; gives back the ending and the text.
    async fn ended(&self, at: TaskRef) -> (Ending, String) {
        let mut watch = self.engine.watch(at.log()).await.unwrap();
        let turning = async {
            loop {
                self.clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = watch.over() => {}
            () = turning => {}
        }
        let state = self.engine.state(at.log()).await.unwrap();
        let cursor = Cursor { epoch: state.epoch, next: state.first };
        let events = self.engine.read(at.log(), cursor, usize::MAX).await.unwrap().events;
        let texts = events.iter().filter(|event| event.kind == Kind::Text);
        let text = texts.map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect();
        (serde_json::from_slice(&events.last().unwrap().data).unwrap(), text)
    }
}

#[tokio::test]
async fn a_lease_that_lapsed_is_taken_over_and_the_old_workers_append_is_refused() {
    let world = World::new();
    let (at, lease) = world.frozen_task().await;
    let pool = world.pool();
    let (ending, answer) = world.ended(at).await;
    assert_eq!((ending.state, ending.attempts), (Outcome::Done, 2));
    assert_eq!(answer, text(&world.script), "the second attempt goes on after the third word");
    let late = world.append(at, lease.fence, Offset(3), Vec::new()).await.unwrap_err();
    assert!(matches!(late, AppendError::Fenced { .. }), "{late}");
    assert_eq!(world.engine.totals(TenantId::DEFAULT).await.unwrap().tasks, 1, "one settlement");
    drain(&world, pool).await;
}

#[tokio::test]
async fn what_a_lost_attempt_used_is_counted_also_where_the_next_one_fails() {
    let mut world = World::new();
    world.script.fail_at = Some(5);
    world.script.fail_attempts = Some(1);
    world.script.key = Some("once".to_owned());
    let (at, _) = world.frozen_task().await;
    let pool = world.pool();
    let (ending, _) = world.ended(at).await;
    assert_eq!((ending.state, ending.attempts), (Outcome::Done, 3));
    assert_eq!(ending.usage.output_tokens, 10, "three words were lost, two came before the fault, five after it");
    drain(&world, pool).await;
}

#[tokio::test]
async fn a_stopped_task_whose_worker_is_frozen_is_fenced_off_and_ended() {
    let world = World::new();
    let (at, lease) = world.frozen_task().await;
    let pool = world.pool();
    // The reaper has to be listening before the signal: a signal may get lost, and this one is to be heard.
    while world.clock.sleepers() < 2 {
        tokio::task::yield_now().await;
    }
    world.engine.request_stop(at).await.unwrap();
    world.bus.publish(Signal::Stop(at));
    let before = world.clock.now();
    let (ending, answer) = world.ended(at).await;
    assert_eq!(ending.state, Outcome::Stopped);
    assert_eq!(answer, "w0 w1 w2 ");
    assert!(ending.usage.estimated && ending.usage.output_tokens == 3, "{:?}", ending.usage);
    assert!(world.clock.now().since(before) < LEASE, "it did not wait for the lease to lapse");
    let late = world.append(at, lease.fence, Offset(3), Vec::new()).await.unwrap_err();
    assert!(matches!(late, AppendError::Fenced { .. }), "{late}");
    drain(&world, pool).await;
}

async fn drain(world: &World, pool: Pool) {
    let turning = async {
        loop {
            world.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = pool.drain(Duration::from_secs(1)) => {}
        () = turning => {}
    }
}
