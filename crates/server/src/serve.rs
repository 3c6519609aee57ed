//! `tidewire serve`: puts the server together, serves, and ends it in order.

use crate::caches::HttpCaches;
use crate::checker::Names;
use crate::clock::SystemClock;
use crate::config::{Config, EngineKind};
use crate::documents;
use crate::operations::{self, Operations};
#[cfg(feature = "otlp")]
use crate::otlp;
use crate::reload::{Reloader, Source};
use crate::telemetry::{LogFilter, Metrics};
use crate::wiring::{self, Deployments, Engines, listed_models, upstreams_for};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::cache::Answers;
use tidewire_core::catalog::Takes;
use tidewire_core::files::{self, Files};
use tidewire_core::guard::Loops;
use tidewire_core::port::Clock;
use tidewire_core::queue::{Bounds, Queue};
use tidewire_core::tokens::Counter;
use tidewire_core::{Catalog, WorkerId};
use tidewire_edge::public::Caching;
use tidewire_edge::{Access, Edge, Identity, Lanes, Limits, Public, Shadows, Streams, listen};
use tidewire_worker::{Backoff, Pace, Pool, Shares, Worker};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often retention is looked to.
const EXPIRY: Duration = Duration::from_secs(30);

/// How long open sockets may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Connections that may wait to be accepted; the system may allow fewer. All sessions come back at once after a restart, and
/// one that finds no place tries again a second later.
const BACKLOG: u32 = 4096;

/// Serves until a signal ends it.
pub(crate) async fn serve(
    config: Config,
    source: Source,
    upstreams: Vec<String>,
    log_filter: LogFilter,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut signals = Signals::listen()?;
    small_pages();
    // Bind first: a port that is taken should be told before a store is opened and a model loaded.
    let listener = bind(config.listen).map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    #[cfg(feature = "otlp")]
    let traces = wiring::otlp::settings(&config)?;
    #[cfg(not(feature = "otlp"))]
    wiring::otlp::check(&config)?;
    let caches = HttpCaches::new(&config.public)?;
    let metrics = Arc::new(Metrics::new(config.providers()));
    let engines = Engines::open(&config, clock.clone(), &metrics)?;
    let settings = wiring::identity::settings(&config)?;
    let identity = Arc::new(Identity::load(settings, engines.directory(), clock.clone()).await?);
    if !config.listen.ip().is_loopback() && !identity.knows_anyone() {
        engines.shutdown().await;
        return Err(wiring::identity::nobody(&config).into());
    }
    let known = identity.clone();
    let names: Names = Arc::new(move |tenant| known.tenant_name(tenant));
    let deployments = Arc::new(Deployments::make(&config, &upstreams, &clock, names)?);
    let catalog = deployments.catalog.clone();
    metrics.bound_routes_by(catalog.clone());
    let server = Server::start(
        &config,
        listener,
        engines,
        (deployments, identity, caches),
        clock,
        &metrics,
        (source, log_filter),
    );
    #[cfg(feature = "otlp")]
    if let Some(settings) = traces {
        server.export_traces(settings, &metrics)?;
    }
    announce(&config, address, &catalog);
    signals.reloading(&server.reloader).await;
    tracing::info!("shutting down; a second signal ends at once");
    tokio::select! {
        () = server.stop(Duration::from_millis(config.worker.drain_ms)) => Ok(ExitCode::SUCCESS),
        () = signals.wait() => {
            tracing::warn!("ended at once: running tasks go on after the next start");
            Ok(ExitCode::from(130))
        }
    }
}

/// A session's few kilobytes lie among others': in pages of 2 MiB all that lies between them would count as used too.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as the system has them");
    }
}

/// A running server.
struct Server {
    engines: Engines,
    deployments: Arc<Deployments>,
    reloader: Arc<Reloader>,
    pool: Pool,
    tracker: TaskTracker,
    clock: Arc<dyn Clock>,
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Server {
    fn start(
        config: &Config,
        listener: TcpListener,
        engines: Engines,
        (deployments, identity, caches): (Arc<Deployments>, Arc<Identity>, HttpCaches),
        clock: Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        (source, log_filter): (Source, LogFilter),
    ) -> Self {
        let (tracker, draining, closing) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let dispatch = Engines::dispatch();
        let queue = Arc::new(Queue::new(bounds(config), dispatch.clone(), clock.clone()));
        let bus = Engines::bus();
        let catalog = deployments.catalog.clone();
        let listing = listed_models(upstreams_for(&deployments), catalog.clone(), clock.clone(), closing.clone());
        tracker.spawn(listing);
        let files = Arc::new(files_of(config, &engines, &clock));
        let readers = config.limits.file_readers;
        tracker.spawn(documents::read(files.clone(), identity.clone(), readers, clock.clone(), draining.clone()));
        let counter = Arc::new(counter(&catalog, &tracker));
        let answers = Arc::new(Answers::new(engines.cache()));
        let worker = Worker {
            name: WorkerId(config.worker.name.as_str().into()),
            log: engines.logs(),
            files: files.clone(),
            tasks: engines.tasks(),
            ledger: engines.ledger(),
            counter: counter.clone(),
            dispatch,
            queue: queue.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            meter: metrics.clone(),
            catalog: catalog.clone(),
            fleet: deployments.fleet.clone(),
            backends: deployments.backends.clone(),
            answers: answers.clone(),
            shares: Shares::default(),
            pace: pace(config),
        };
        let pool = Pool::start(worker, deployments.slots());
        let edge = Arc::new(Edge {
            log: engines.logs(),
            keeping: engines.keeping(),
            directory: engines.directory(),
            tasks: engines.tasks(),
            ledger: engines.ledger(),
            counter,
            files,
            answers,
            queue,
            bus,
            clock: clock.clone(),
            meter: metrics.clone(),
            catalog,
            shadows: Shadows::default(),
            lanes: Lanes::default(),
            streams: Streams::new(&*clock),
            sampling: wiring::otlp::sampling(config),
            public: public(config, caches),
            loops: Loops::default(),
            limits: limits(config),
            access: access(config),
            identity,
            tracker: tracker.clone(),
            draining: draining.clone(),
            closing: closing.clone(),
        });
        keep_house(config, &edge);
        let reload = (source, log_filter, pool.sizes());
        let reloader = Arc::new(Reloader::new(reload, config, metrics, deployments.clone(), &edge));
        reloader.check_health();
        let operations = Operations::new(&engines, metrics, reloader.clone(), pool.running(), &edge);
        let router = tidewire_edge::router(edge.clone(), operations::start(operations));
        tracker.spawn(listen(listener, router, edge, config.limits.connections));
        tracker.spawn(expire(engines.clone(), clock.clone(), closing.clone()));
        Self { engines, deployments, reloader, pool, tracker, clock, draining, closing }
    }

    /// Begins to export the stories of tasks that end.
    #[cfg(feature = "otlp")]
    fn export_traces(&self, settings: otlp::Settings, metrics: &Arc<Metrics>) -> Result<(), reqwest::Error> {
        let (ended, queue) = tokio::sync::mpsc::channel(otlp::QUEUE);
        let reads = (self.engines.logs(), self.engines.tasks());
        let exporter = otlp::Exporter::new(settings, reads, self.clock.clone(), metrics.clone())?;
        metrics.traces.export_to(ended);
        self.tracker.spawn(exporter.run(queue, self.closing.clone()));
        Ok(())
    }

    /// Takes no new work, lets running work end or hands it back, says goodbye, and closes the store.
    async fn stop(self, grace: Duration) {
        self.draining.cancel();
        self.pool.drain(grace).await;
        self.closing.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = self.clock.sleep(GOODBYE) => tracing::warn!(open = self.tracker.len(), "sockets that did not close in time"),
        }
        self.deployments.shutdown();
        self.engines.shutdown().await;
    }
}

/// Starts what goes on beside all requests, until the server closes.
fn keep_house(config: &Config, edge: &Arc<Edge>) {
    let tracker = &edge.tracker;
    tracker.spawn(edge.identity.clone().keep(edge.closing.clone()));
    tracker.spawn(tidewire_edge::sweep_streams(edge.clone()));
    tracker.spawn(tidewire_edge::sweep_public(edge.clone()));
    let kept = Duration::from_hours(config.retention.age_hours);
    tracker.spawn(tidewire_edge::keep_batches(edge.clone(), kept));
    tracker.spawn(tidewire_edge::keep_openai_batches(edge.clone(), kept));
    tracker.spawn(tidewire_edge::keep_feedback(edge.clone()));
    tracker.spawn(tidewire_edge::run_shadows(edge.clone()));
    tracker.spawn(tidewire_edge::keep_lanes(edge.clone()));
    let audited = Duration::from_hours(24).saturating_mul(config.retention.audit_days);
    tracker.spawn(tidewire_edge::keep_audit(edge.clone(), audited));
}

/// Counts by the tokenizers that there are. Reading those that will be needed takes a moment, beside the start.
fn counter(catalog: &Catalog, tracker: &TaskTracker) -> Counter {
    let plan = catalog.plan();
    tracker.spawn_blocking(move || {
        for deployment in plan.deployments() {
            if let Takes::One { model, .. } = &deployment.takes {
                tidewire_tokens::OpenAi::warm(model);
            }
        }
    });
    Counter::new(Arc::new(tidewire_tokens::OpenAi))
}

pub(crate) fn bounds(config: &Config) -> Bounds {
    Bounds {
        waiting: config.queue.waiting,
        waiting_per_tenant: config.queue.waiting_per_tenant,
        running: config.queue.running,
        running_per_tenant: config.queue.running_per_tenant,
        ..Bounds::default()
    }
}

fn access(config: &Config) -> Access {
    Access { allowed_origins: config.access.origins.clone(), allowed_hosts: config.access.hosts.clone() }
}

fn limits(config: &Config) -> Limits {
    Limits {
        body_bytes: config.limits.body_bytes,
        follows_per_connection: config.limits.follows_per_connection,
        streams: config.limits.streams,
        long_poll: Duration::from_millis(config.limits.long_poll_ms),
    }
}

fn public(config: &Config, caches: HttpCaches) -> Public {
    let public = &config.public;
    let caching = Caching {
        max_age: Duration::from_secs(public.max_age_s),
        shared_max_age: Duration::from_secs(public.s_maxage_s),
        stale_while_revalidate: Duration::from_secs(public.stale_while_revalidate_s),
        stale_if_error: Duration::from_secs(public.stale_if_error_s),
    };
    Public { caching, caches: Arc::new(caches) }
}

fn files_of(config: &Config, engines: &Engines, clock: &Arc<dyn Clock>) -> Files {
    let bounds = files::Bounds {
        file_bytes: config.limits.file_bytes,
        tenant_bytes: config.limits.files_bytes,
        files: config.limits.files,
        text_bytes: config.limits.file_text_bytes,
    };
    Files::new(engines.directory(), engines.logs(), engines.keeping(), clock.clone(), bounds)
}

fn pace(config: &Config) -> Pace {
    Pace {
        lease: Duration::from_millis(config.worker.lease_ms),
        backoff: Backoff {
            base: Duration::from_millis(config.worker.backoff_ms),
            cap: Duration::from_millis(config.worker.backoff_cap_ms),
        },
        ..Pace::default()
    }
}

async fn expire(engines: Engines, clock: Arc<dyn Clock>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = clock.sleep(EXPIRY) => {}
        }
        loop {
            match engines.expire().await {
                Ok(true) if !end.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "nothing could be expired");
                    break;
                }
            }
        }
    }
}

/// Says where the server is, what to try, and where the data is.
fn announce(config: &Config, address: SocketAddr, catalog: &Catalog) {
    // A closed stdout is no reason not to serve.
    let _ = write_announcement(&mut std::io::stdout().lock(), config, address, catalog);
}

fn write_announcement(
    out: &mut impl Write,
    config: &Config,
    address: SocketAddr,
    catalog: &Catalog,
) -> std::io::Result<()> {
    let url = format!("http://{address}");
    writeln!(out, "tidewire {} is ready at {url}", env!("CARGO_PKG_VERSION"))?;
    if catalog.plan().deployments().is_empty() {
        writeln!(out, "  models  none yet: `make run` builds and serves the built-in one, or name an upstream:")?;
        writeln!(out, "          tidewire serve --upstream http://127.0.0.1:11434/v1")?;
    } else {
        let models = catalog.names();
        let named = if models.is_empty() { "as the upstream lists them".to_owned() } else { models.join(", ") };
        writeln!(out, "  models  {named}")?;
        writeln!(out, "  try     curl -sN {url}/v1/chat/completions -H 'content-type: application/json' \\")?;
        let body = r#"{"stream":true,"messages":[{"role":"user","content":"Why is the sea salty?"}]}"#;
        writeln!(out, "            -d '{body}'")?;
        writeln!(out, "  chat    tidewire chat --url {url}")?;
        writeln!(out, "  page    {url}/")?;
    }
    match config.engine {
        EngineKind::Embedded => writeln!(out, "  data    {}", config.data.display())?,
        EngineKind::Memory => writeln!(out, "  data    in memory: nothing survives the process")?,
    }
    out.flush()
}

/// SIGTERM and SIGINT, which end the server, and SIGHUP, which lets it read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the end, and reads the configuration again whenever that is asked for.
    async fn reloading(&mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    // Its outcome is in the log.
                    let _ = reloader.reload().await;
                }
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port of a server that has just ended can be had at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
