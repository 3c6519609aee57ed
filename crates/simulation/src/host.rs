//! The hosts: the server as `tidewire serve` puts it together, and a second pool of workers.
//!
//! What would lie on a disk is kept outside the hosts, so that a killed server finds it again.

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::history::History;
use crate::plan::Plan;
use crate::settling::Settling;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidewire_backends::scripted::{Script, Scripted};
use tidewire_core::catalog::Deployment;
use tidewire_core::files::{self, Files};
use tidewire_core::port::{Backend, Bus, Clock, EventLog, Ledger, NoMeter, TaskStore, Timeouts};
use tidewire_core::queue::{Bounds, Queue};
use tidewire_core::route::{self, Fleet};
use tidewire_core::tokens::Counter;
use tidewire_core::{Catalog, WorkerId};
use tidewire_edge::{Access, Edge, Identity, Lanes, Limits, Listener, Shadows, Streams, listen};
use tidewire_engines::by_durability::ByDurability;
use tidewire_engines::memory;
use tidewire_worker::{Backends, Backoff, Pace, Pool, Slots, Worker};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turmoil::net::{TcpListener, TcpStream};

/// The server's name in the simulated network.
pub(crate) const SERVER: &str = "server";
/// Its port.
pub(crate) const PORT: u16 = 8080;
/// The second pool's name.
pub(crate) const POOL: &str = "pool";
/// What its deployment is called.
const SCRIPTED: &str = "scripted";
/// Short, so that many lapse within one run.
const LEASE: Duration = Duration::from_secs(2);
/// How long a draining server lets its tasks run.
const GRACE: Duration = Duration::from_millis(300);
/// Far fewer than a run has tasks, so that some are refused.
const WAITING: usize = 24;

/// What outlives the hosts.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) history: Arc<History>,
    /// The durable logs, tasks and accounts: one engine, or three where they are apart.
    pub(crate) logs: Arc<memory::Engine>,
    pub(crate) tasks: Arc<memory::Engine>,
    pub(crate) accounts: Arc<memory::Engine>,
    bus: Arc<memory::Bus>,
    backend: Arc<Scripted>,
    starts: AtomicU64,
    draining: Mutex<CancellationToken>,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Arc<Self> {
        let clock = Arc::new(SimClock::new(seed));
        let engine = || Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let logs = engine();
        let (tasks, accounts) = if plan.apart { (engine(), engine()) } else { (logs.clone(), logs.clone()) };
        Arc::new(Self {
            seed,
            plan,
            clock,
            history: Arc::default(),
            logs,
            tasks,
            accounts,
            bus: Arc::new(memory::Bus::new()),
            backend: Arc::new(Scripted::new(Script::default())),
            starts: AtomicU64::new(0),
            draining: Mutex::default(),
        })
    }

    /// Asks the running server to drain.
    pub(crate) fn drain(&self) {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }

    fn disk(&self, engine: &Arc<memory::Engine>, part: &str, tracker: &TaskTracker) -> Disk {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let dice = Dice::new(self.seed, &format!("{part} {start}"));
        Disk::new(engine.clone(), self.plan.disk, dice, tracker.clone())
    }
}

/// The parts of one host that edge and worker share.
struct Parts {
    logs: Arc<dyn EventLog>,
    files: Arc<Files>,
    tasks: Arc<dyn TaskStore>,
    ledger: Arc<dyn Ledger>,
    counter: Arc<Counter>,
    dispatch: Arc<memory::Dispatch>,
    queue: Arc<Queue>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    catalog: Arc<Catalog>,
    fleet: Arc<Fleet>,
    tracker: TaskTracker,
}

impl Parts {
    fn new(world: &World) -> Self {
        let tracker = TaskTracker::new();
        let clock: Arc<dyn Clock> = world.clock.clone();
        let transient = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let ledger = Arc::new(world.disk(&world.accounts, "accounts", &tracker));
        let logs = Arc::new(Settling { logs: world.disk(&world.logs, "logs", &tracker), ledger: ledger.clone() });
        let tasks = Arc::new(world.disk(&world.tasks, "tasks", &tracker));
        let dispatch = Arc::new(memory::Dispatch::new());
        let queue = Queue::new(Bounds { waiting: WAITING, ..Bounds::default() }, dispatch.clone(), clock.clone());
        let timeouts = Timeouts { first_token: Duration::from_secs(2), ..Timeouts::default() };
        let plan = route::Plan::new(vec![Deployment::by_name(SCRIPTED)], Vec::new())
            .unwrap_or_default()
            .with_timeouts(timeouts);
        let logs = Arc::new(ByDurability::new(logs, transient.clone(), clock.clone()));
        let (directory, keeping) = (world.tasks.clone(), world.logs.clone());
        Self {
            files: Arc::new(Files::new(directory, logs.clone(), keeping, clock.clone(), files::Bounds::default())),
            logs,
            tasks: Arc::new(ByDurability::new(tasks, transient, clock.clone())),
            ledger,
            counter: Arc::new(Counter::without_tokenizers()),
            dispatch,
            queue: Arc::new(queue),
            bus: world.bus.clone(),
            clock,
            catalog: Arc::new(Catalog::new(plan)),
            fleet: Arc::default(),
            tracker,
        }
    }

    fn pool(&self, world: &World, name: &str) -> Pool {
        let backend: Arc<dyn Backend> = world.backend.clone();
        let worker = Worker {
            name: WorkerId(name.into()),
            log: self.logs.clone(),
            files: self.files.clone(),
            tasks: self.tasks.clone(),
            ledger: self.ledger.clone(),
            counter: self.counter.clone(),
            dispatch: self.dispatch.clone(),
            queue: self.queue.clone(),
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            meter: Arc::new(NoMeter),
            catalog: self.catalog.clone(),
            fleet: self.fleet.clone(),
            backends: Arc::new(Backends::from([(SCRIPTED, backend)])),
            answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
            shares: tidewire_worker::Shares::default(),
            pace: Pace {
                lease: LEASE,
                backoff: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) },
                ..Pace::default()
            },
        };
        Pool::start(worker, vec![Slots { capability: SCRIPTED.into(), count: world.plan.slots }])
    }
}

/// The system's listener, in the simulated network.
struct SimListener(TcpListener);

impl Listener for SimListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }
}

/// The server, from its start to the end of its drain.
pub(crate) async fn server(world: Arc<World>) -> turmoil::Result {
    let listener = SimListener(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?);
    let (draining, closing) = (CancellationToken::new(), CancellationToken::new());
    *world.draining.lock().unwrap_or_else(PoisonError::into_inner) = draining.clone();
    let parts = Parts::new(&world);
    let pool = parts.pool(&world, SERVER);
    let edge = Arc::new(Edge {
        log: parts.logs.clone(),
        keeping: world.logs.clone(),
        directory: world.tasks.clone(),
        answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
        files: parts.files.clone(),
        tasks: parts.tasks.clone(),
        ledger: parts.ledger.clone(),
        counter: parts.counter.clone(),
        queue: parts.queue.clone(),
        bus: parts.bus.clone(),
        clock: parts.clock.clone(),
        meter: Arc::new(NoMeter),
        catalog: parts.catalog.clone(),
        shadows: Shadows::default(),
        lanes: Lanes::default(),
        streams: Streams::new(&*parts.clock),
        sampling: tidewire_core::trace::Sampling::OFF,
        public: tidewire_edge::Public::default(),
        loops: tidewire_core::guard::Loops::default(),
        limits: Limits::default(),
        access: Access { allowed_hosts: vec![SERVER.to_owned()], ..Access::default() },
        identity: Arc::new(Identity::development()),
        tracker: parts.tracker.clone(),
        draining: draining.clone(),
        closing: closing.clone(),
    });
    let router = tidewire_edge::router(edge.clone(), Vec::new());
    parts.tracker.spawn(listen(listener, router, edge, usize::MAX));
    draining.cancelled().await;
    world.history.note(SERVER, "drains");
    pool.drain(GRACE).await;
    closing.cancel();
    parts.tracker.close();
    parts.tracker.wait().await;
    world.history.note(SERVER, "has drained");
    Ok(())
}

/// A second pool of workers, with a queue of its own: it meets the server's only in the engine.
pub(crate) async fn second_pool(world: Arc<World>) -> turmoil::Result {
    let parts = Parts::new(&world);
    let _pool = parts.pool(&world, POOL);
    std::future::pending().await
}
