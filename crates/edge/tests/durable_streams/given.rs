//! A server's edge on a memory engine, with a clock that is turned by hand.

use crate::mortal::{Death, Mortal};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::Catalog;
use tidewire_core::files::{self, Files};
use tidewire_core::port::NoMeter;
use tidewire_core::queue::{Bounds, Queue};
use tidewire_core::tokens::Counter;
use tidewire_edge::{Access, Edge, Identity, Limits, Streams};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How often the sweep looks.
const SWEEP: Duration = Duration::from_secs(5);

/// A request; the path is below `/v1/stream/`.
#[derive(Clone)]
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
}

/// An answer.
pub(crate) struct Seen {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The error's code; empty where it is none.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A server, and what it stands on.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) engine: Arc<memory::Engine>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) mortal: Arc<Mortal>,
    edge: Arc<Edge>,
    router: Router,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(|_| {})
    }

    pub(crate) fn with_limits(set: impl FnOnce(&mut Limits)) -> Self {
        let clock = Arc::new(HandClock::new(1));
        let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let mut limits = Limits::default();
        set(&mut limits);
        Self::on(engine, clock, limits)
    }

    fn on(engine: Arc<memory::Engine>, clock: Arc<HandClock>, limits: Limits) -> Self {
        let mortal = Arc::new(Mortal::new(engine.clone()));
        let (directory, log, keeping) = (mortal.clone(), mortal.clone(), mortal.clone());
        let files = Files::new(directory, log, keeping, clock.clone(), files::Bounds::default());
        let edge = Arc::new(Edge {
            log: mortal.clone(),
            answers: Arc::new(tidewire_core::cache::Answers::new(Arc::new(memory::Cache::new(1024 * 1024)))),
            files: Arc::new(files),
            keeping: mortal.clone(),
            directory: mortal.clone(),
            tasks: engine.clone(),
            ledger: engine.clone(),
            counter: Arc::new(Counter::without_tokenizers()),
            queue: Arc::new(Queue::new(Bounds::default(), Arc::new(memory::Dispatch::new()), clock.clone())),
            bus: Arc::new(memory::Bus::new()),
            clock: clock.clone(),
            meter: Arc::new(NoMeter),
            catalog: Arc::new(Catalog::default()),
            shadows: tidewire_edge::Shadows::default(),
            lanes: tidewire_edge::Lanes::default(),
            streams: Streams::new(&*clock),
            sampling: tidewire_core::trace::Sampling::OFF,
            public: tidewire_edge::Public::default(),
            loops: tidewire_core::guard::Loops::default(),
            limits,
            access: Access::default(),
            identity: Arc::new(Identity::development()),
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        let router = tidewire_edge::router(edge.clone(), Vec::new());
        Self { engine, clock, mortal, edge, router }
    }

    /// The edge itself.
    #[allow(dead_code, reason = "each test file uses its own part")]
    pub(crate) fn edge(&self) -> Arc<Edge> {
        self.edge.clone()
    }

    /// Another process on what this one left.
    pub(crate) fn restarted(&self) -> Self {
        self.clock.advance(Duration::from_millis(1));
        Self::on(self.engine.clone(), self.clock.clone(), self.edge.limits)
    }

    /// The engine answers to no more after so many more changes, as if the process had died.
    pub(crate) fn dies_after(&self, changes: usize, death: Death) {
        self.mortal.dies_after(changes, death);
    }

    pub(crate) async fn ask(&self, asked: Asked<'_>) -> Seen {
        let uri = format!("/v1/stream/{}", asked.path);
        let mut request = Request::builder().method(asked.method).uri(uri).header("host", "localhost");
        for (name, value) in asked.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(asked.body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// All is in memory: what a task does between two sleeps, it does without waiting for anybody.
    pub(crate) async fn until_somebody_sleeps(&self) {
        while self.clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets the sweep look at every stream once.
    pub(crate) async fn sweep(&self) {
        let stop = CancellationToken::new();
        let sweeping = tokio::spawn({
            let (edge, stop) = (self.edge.clone(), stop.clone());
            async move { stop.run_until_cancelled(tidewire_edge::sweep_streams(edge)).await }
        });
        self.until_somebody_sleeps().await;
        self.clock.advance(SWEEP);
        self.until_somebody_sleeps().await;
        stop.cancel();
        sweeping.await.unwrap();
    }
}
