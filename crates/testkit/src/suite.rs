//! How a suite runs: every check on a fresh engine, and a list of those that failed.

use futures_util::FutureExt;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tidewire_core::Durability;

/// An engine under test: how to open one, and what a crash leaves of it.
pub trait Harness: Send + Sync {
    /// What implements the ports.
    type Engine: Send + Sync + 'static;

    /// A fresh, empty engine, apart from all that were opened before.
    fn open(&self) -> impl Future<Output = Self::Engine> + Send;

    /// Ends the engine without its help, as a crash does, and opens another one on what is left: what was
    /// committed, and nothing that was not. `None`, the default, where a crash leaves nothing, and then the
    /// checks of what survives one are left out.
    fn crash_and_reopen(&self, engine: Self::Engine) -> impl Future<Output = Option<Self::Engine>> + Send {
        async move {
            drop(engine);
            None
        }
    }

    /// The durability of the tasks and logs that the checks make.
    fn durability(&self) -> Durability {
        Durability::Durable
    }

    /// How long a check may take before it counts as hung. 60 s is far beyond what a check needs on a busy
    /// machine with a slow disk; a test of an engine that hangs on purpose says less.
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}

/// A check that an engine failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The check's name: the promise that was broken.
    pub check: &'static str,
    /// What it found.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.why)
    }
}

/// Runs one check, and notes it where it fails or hangs.
pub(crate) async fn run(
    check: &'static str,
    patience: Duration,
    running: impl Future<Output = ()>,
    failures: &mut Vec<Failure>,
) {
    // The path of a check names its file too; its name is the promise.
    let check = check.rsplit("::").next().unwrap_or(check).trim_start();
    let why = match tokio::time::timeout(patience, AssertUnwindSafe(running).catch_unwind()).await {
        Ok(Ok(())) => return,
        Ok(Err(panic)) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => "it panicked".to_owned(),
        },
        Err(_) => format!("it hung for {patience:?}"),
    };
    failures.push(Failure { check, why });
}

/// Panics with the names of the checks that failed, if any did.
pub(crate) fn demand_none(suite: &str, failures: &[Failure]) {
    let list: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{suite}: {} checks failed:\n  {}", list.len(), list.join("\n  "));
}

/// Makes `check` and `failures` of a suite from the list of its checks.
macro_rules! suite {
    ($name:literal, [$($bound:ident),+], [$($check:path),* $(,)?]) => {
        /// Runs every check on a fresh engine, and panics with the names of those that fail.
        pub async fn check<H: $crate::Harness<Engine: $($bound+)+>>(harness: &H) {
            $crate::suite::demand_none($name, &failures(harness).await);
        }

        /// Runs every check on a fresh engine, and names those that fail.
        pub async fn failures<H: $crate::Harness<Engine: $($bound+)+>>(harness: &H) -> Vec<$crate::Failure> {
            let mut failures = Vec::new();
            $(
                let running = Box::pin($check(harness));
                $crate::suite::run(stringify!($check), harness.patience(), running, &mut failures).await;
            )*
            failures
        }
    };
}
pub(crate) use suite;
