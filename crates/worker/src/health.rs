//! Asks deployments from time to time whether they are there: one that is not is left alone until it answers again.

use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Backend, Clock};
use tidewire_core::route::Fleet;
use tokio_util::sync::CancellationToken;

/// How long an answer may take. A list of models comes from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// A deployment that is asked.
#[derive(Clone)]
pub struct Checked {
    /// Its name.
    pub deployment: Arc<str>,
    /// Who is asked.
    pub backend: Arc<dyn Backend>,
    /// How often.
    pub every: Duration,
}

/// Asks one deployment until `end`.
pub async fn check_health(checked: Checked, fleet: Arc<Fleet>, clock: Arc<dyn Clock>, end: CancellationToken) {
    loop {
        let asking = async {
            tokio::select! {
                answer = checked.backend.models() => answer.map_err(|error| error.to_string()).err(),
                () = clock.sleep(PATIENCE) => Some("no answer in time".to_owned()),
            }
        };
        let trouble = tokio::select! {
            () = end.cancelled() => return,
            trouble = asking => trouble,
        };
        if fleet.checked(&checked.deployment, trouble.is_none()) {
            match trouble {
                None => tracing::info!(deployment = %checked.deployment, "the health check finds it up again"),
                Some(reason) => {
                    tracing::warn!(deployment = %checked.deployment, reason, "the health check finds it down");
                }
            }
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = clock.sleep(checked.every) => {}
        }
    }
}
