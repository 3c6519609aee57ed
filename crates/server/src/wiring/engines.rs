//! Which engine keeps what.

use crate::config::{Config, Durability, EngineKind};
use crate::telemetry::Metrics;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Bus, Cache, Clock, Directory, Dispatch, EventLog, Expired, Ledger, LogKeeping, Retention, TaskStore, Unavailable,
};
use tidewire_core::{Money, TenantId};
use tidewire_engines::by_durability::ByDurability;
use tidewire_engines::{embedded, memory};

/// How many logs one round of expiry deletes: a commit of some milliseconds.
const EXPIRE_AT_ONCE: usize = 500;

/// The engines of a server: the configured one, and the memory engine beside it for transient tasks.
#[derive(Clone)]
pub(crate) struct Engines {
    durable: Durable,
    answers: Answers,
    transient: Arc<memory::Engine>,
    clock: Arc<dyn Clock>,
    keep: Retention,
    keep_transient: Retention,
}

/// Where answers are kept: beside the logs that they were.
#[derive(Clone)]
enum Answers {
    Embedded(Arc<embedded::Cache>),
    Memory(Arc<memory::Cache>),
}

#[derive(Clone)]
enum Durable {
    Embedded(Arc<embedded::Engine>, Durability, Arc<ByDurability<embedded::Engine, memory::Engine>>),
    Memory(Arc<memory::Engine>, Arc<ByDurability<memory::Engine, memory::Engine>>),
}

/// Why the engine can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The data directory can't be made.
    #[error("the data directory {path} can't be made: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't be opened.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
}

impl Engines {
    /// Opens what the configuration names.
    pub(crate) fn open(config: &Config, clock: Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Self, OpenError> {
        let bytes = usize::try_from(config.retention.transient_bytes).unwrap_or(usize::MAX);
        let transient = Arc::new(memory::Engine::new(memory::Bounds { bytes }, clock.clone()));
        let durable = match config.engine {
            EngineKind::Memory => {
                let bytes = usize::try_from(config.retention.bytes).unwrap_or(usize::MAX);
                let engine = Arc::new(memory::Engine::new(memory::Bounds { bytes }, clock.clone()));
                let both = Arc::new(ByDurability::new(engine.clone(), transient.clone(), clock.clone()));
                Durable::Memory(engine, both)
            }
            EngineKind::Embedded => {
                let engine = Arc::new(open_embedded(config, &clock, metrics)?);
                let both = Arc::new(ByDurability::new(engine.clone(), transient.clone(), clock.clone()));
                Durable::Embedded(engine, config.durability, both)
            }
        };
        let keep = Retention {
            age: Duration::from_secs(config.retention.age_hours.saturating_mul(3600)),
            bytes: config.retention.bytes,
        };
        let keep_transient = Retention {
            age: Duration::from_secs(config.retention.transient_minutes.saturating_mul(60)),
            // Half: the other half is for what still runs.
            bytes: config.retention.transient_bytes / 2,
        };
        let answers = match config.engine {
            EngineKind::Memory => Answers::Memory(Arc::new(memory::Cache::new(config.cache.bytes))),
            EngineKind::Embedded => {
                let free = config.limits.data_free_bytes;
                let cache = embedded::Cache::new(&config.data, config.cache.bytes, free, clock.clone());
                Answers::Embedded(Arc::new(cache))
            }
        };
        Ok(Self { durable, answers, transient, clock, keep, keep_transient })
    }

    /// All logs.
    pub(crate) fn logs(&self) -> Arc<dyn EventLog> {
        match &self.durable {
            Durable::Embedded(_, _, both) => both.clone(),
            Durable::Memory(_, both) => both.clone(),
        }
    }

    /// All tasks.
    pub(crate) fn tasks(&self) -> Arc<dyn TaskStore> {
        match &self.durable {
            Durable::Embedded(_, _, both) => both.clone(),
            Durable::Memory(_, both) => both.clone(),
        }
    }

    /// Named records. They are durable, also those that name transient things.
    pub(crate) fn directory(&self) -> Arc<dyn Directory> {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.clone(),
            Durable::Memory(engine, _) => engine.clone(),
        }
    }

    /// What becomes of logs.
    pub(crate) fn keeping(&self) -> Arc<dyn LogKeeping> {
        match &self.durable {
            Durable::Embedded(_, _, both) => both.clone(),
            Durable::Memory(_, both) => both.clone(),
        }
    }

    /// Answers that may be given again.
    pub(crate) fn cache(&self) -> Arc<dyn Cache> {
        match &self.answers {
            Answers::Embedded(cache) => cache.clone(),
            Answers::Memory(cache) => cache.clone(),
        }
    }

    /// Where all is settled.
    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.clone(),
            Durable::Memory(engine, _) => engine.clone(),
        }
    }

    /// What hands tasks to workers, within this process.
    pub(crate) fn dispatch() -> Arc<dyn Dispatch> {
        Arc::new(memory::Dispatch::new())
    }

    /// What carries signals, within this process.
    pub(crate) fn bus() -> Arc<dyn Bus> {
        Arc::new(memory::Bus::new())
    }

    /// Bytes of memory that transient tasks and logs take, and may take.
    pub(crate) fn transient_bytes(&self) -> (usize, usize) {
        (self.transient.used_bytes(), self.transient.bound_bytes())
    }

    /// Whether changes are taken.
    pub(crate) fn health(&self) -> Result<(), Unavailable> {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.health(),
            Durable::Memory(..) => Ok(()),
        }
    }

    /// Begins a backup; `None` where nothing is kept on disk.
    pub(crate) async fn backup(&self) -> Option<Result<embedded::Backup, Unavailable>> {
        match &self.durable {
            Durable::Embedded(engine, ..) => Some(engine.backup().await),
            Durable::Memory(..) => None,
        }
    }

    /// What the disk of the data directory has free.
    pub(crate) fn data_free_bytes(&self) -> Option<u64> {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.free_bytes(),
            Durable::Memory(..) => None,
        }
    }

    /// Money that tasks hold now, by tenant.
    pub(crate) fn reserved(&self) -> HashMap<TenantId, Money> {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.reserved(),
            Durable::Memory(engine, _) => engine.reserved(),
        }
    }

    /// How often the disk failed, and how often the engine went on by itself.
    pub(crate) fn disk_failures_and_recoveries(&self) -> (u64, u64) {
        match &self.durable {
            Durable::Embedded(engine, ..) => engine.failures_and_recoveries(),
            Durable::Memory(..) => (0, 0),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.durable {
            Durable::Embedded(..) => "embedded",
            Durable::Memory(..) => "memory",
        }
    }

    /// What an ack survives, as `/readyz` says it.
    pub(crate) fn durability(&self) -> &'static str {
        match &self.durable {
            Durable::Embedded(_, durability, _) => durability.name(),
            Durable::Memory(..) => "none",
        }
    }

    /// Deletes what retention no longer keeps; says whether there may be more.
    pub(crate) async fn expire(&self) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        let transient = self.transient.expire(now, self.keep_transient, EXPIRE_AT_ONCE).await?;
        let durable: &dyn LogKeeping = match &self.durable {
            Durable::Embedded(engine, ..) => &**engine,
            Durable::Memory(engine, _) => &**engine,
        };
        let durable: Expired = durable.expire(now, self.keep, EXPIRE_AT_ONCE).await?;
        if durable.logs > 0 {
            tracing::info!(logs = durable.logs, bytes = durable.bytes, "expired");
        }
        let answers = self.cache().sweep(now, EXPIRE_AT_ONCE).await?;
        Ok(answers >= EXPIRE_AT_ONCE as u64 || transient.logs >= EXPIRE_AT_ONCE || durable.logs >= EXPIRE_AT_ONCE)
    }

    /// Commits what was sent, and closes the store.
    pub(crate) async fn shutdown(&self) {
        if let Answers::Embedded(cache) = &self.answers {
            cache.shutdown().await;
        }
        if let Durable::Embedded(engine, ..) = &self.durable {
            engine.shutdown().await;
        }
    }
}

fn open_embedded(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<embedded::Engine, OpenError> {
    std::fs::create_dir_all(&config.data)
        .map_err(|source| OpenError::Directory { path: config.data.display().to_string(), source })?;
    let metrics = metrics.clone();
    let settings = embedded::Config {
        mode: match config.durability {
            Durability::Fsync => embedded::Mode::Fsync,
            Durability::Write => embedded::Mode::Write,
        },
        data_free_bytes: config.limits.data_free_bytes,
        hot_bytes: usize::try_from(config.retention.hot_bytes).unwrap_or(usize::MAX),
        on_commit: Some(Arc::new(move |timing| metrics.committed(timing.whole, timing.synced.then_some(timing.disk)))),
        ..embedded::Config::new(&config.data)
    };
    let (engine, found) = embedded::Engine::open(settings, clock.clone())?;
    tracing::info!(
        format = found.format,
        queued = found.tasks_queued,
        running = found.tasks_running,
        finished = found.tasks_finished,
        live_logs = found.logs_live,
        reservations_settled = found.reservations_settled,
        reservations_released = found.reservations_released,
        took_ms = u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX),
        "opened {}",
        config.data.display()
    );
    if let Some(older) = found.upgraded_from {
        tracing::info!(
            from = older,
            to = found.format,
            "the store was upgraded; an older tidewire refuses it from now on"
        );
    }
    for damaged in &found.damaged {
        tracing::error!(damaged, "a stored record fails its checksum; it is not served");
    }
    Ok(engine)
}
