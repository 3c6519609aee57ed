//! What an admitted task will use, and whether whoever pays for it has so much: reserved before its commit, and given back
//! if it never comes to be.

use crate::Edge;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Account, Amounts, Clock, Ledger, Left, Limits, Measurement, Reservation, ReserveError, TaskStore,
};
use tidewire_core::{Durability, Task, TaskRef, Usage};
use tokio_util::task::TaskTracker;

/// A request of up to so many bytes is counted by its model's tokenizer while its sender waits, if somebody limits its
/// tokens: a quarter of a millisecond. What is longer is estimated here and counted before it is sent to the model.
const COUNTED_AT_ONCE_BYTES: usize = 8 * 1024;

/// How long a commit may still be under way whose caller has left. After it the reservation is given back; if the task is
/// there all the same, what it uses is counted without one.
const COMMIT: Duration = Duration::from_secs(10);

/// An admitted task, and who must have room for what it reserves.
pub(crate) struct Admitted {
    pub(crate) task: Task,
    pub(crate) accounts: Arc<[(Account, Limits)]>,
}

impl Admitted {
    /// Quotes a task: what it will use stands in its record from now on. `text_bytes`: of the files that it names.
    pub(crate) fn new(
        edge: &Edge,
        mut task: Task,
        accounts: Arc<[(Account, Limits)]>,
        max_tokens: Option<u64>,
        text_bytes: u64,
    ) -> Self {
        let plan = edge.catalog.plan();
        let taken = plan.route(&task.spec.capability);
        let first = taken.and_then(|taken| plan.members(taken).next());
        // The tokenizer of its first deployment's model, and the price of the dearest that it may come to.
        let model = first.map_or_else(|| task.spec.model.as_str().into(), |(first, _)| first.model(&task.spec.model));
        let price = taken.map(|taken| plan.dearest(taken)).unwrap_or_default();
        let accounts = match taken.filter(|taken| taken.limits != Limits::default()) {
            Some(taken) => {
                let shared = (Account::Route(taken.name.clone()), taken.limits);
                accounts.iter().cloned().chain([shared]).collect()
            }
            None => accounts,
        };
        let input = &task.spec.input;
        let route = task.spec.model.as_str();
        let counted = !accounts.is_empty() && text_bytes == 0 && input.len() <= COUNTED_AT_ONCE_BYTES;
        let exact = if counted { edge.counter.exact(&model, input) } else { None };
        let input_tokens = exact.unwrap_or_else(|| edge.counter.estimate(route, input, text_bytes));
        let output_tokens = edge.counter.forecast.output_tokens(route, max_tokens);
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        task.spec.reserved = Amounts { requests: 1, input_tokens, output_tokens, cost: price.of(&usage) };
        if let (Some(of), Some(policy)) = (&mut task.spec.cache, taken.and_then(|taken| taken.cache.as_ref()))
            && !policy.stale_while_revalidate.is_zero()
        {
            of.accounts = accounts.to_vec();
        }
        Self { task, accounts }
    }

    /// Reserves it. While the engine takes no changes, a transient task that nobody limits needs no reservation: its usage
    /// is counted when it ends.
    pub(crate) async fn reserve(&mut self, edge: &Edge) -> Result<Hold, Refusal> {
        let spec = &self.task.spec;
        let same = *spec.capability == *spec.model;
        let route = if same { spec.capability.clone() } else { spec.model.as_str().into() };
        let reservation = Reservation {
            task: self.task.at(),
            at: self.task.submitted_at,
            payer: spec.payer.clone(),
            // Apart from what people asked for.
            route: if spec.origin.shadow_of.is_some() { format!("shadow:{route}").into() } else { route },
            amounts: spec.reserved,
            accounts: self.accounts.clone(),
        };
        // Made before the call: a caller that leaves in the middle of it may have reserved.
        let mut hold = Hold::new(edge, self.task.at());
        match edge.ledger.reserve(reservation).await {
            Ok(left) => hold.left = left,
            Err(ReserveError::Unavailable(_)) if self.accounts.is_empty() && is_transient(&self.task) => {
                hold.held = None;
                self.task.spec.reserved = Amounts::default();
            }
            Err(error) => {
                hold.held = None;
                if let ReserveError::Over(over) = &error {
                    edge.meter.record(Measurement::OverLimit(over.what));
                }
                return Err(error.into());
            }
        }
        Ok(hold)
    }
}

fn is_transient(task: &Task) -> bool {
    task.id.durability() == Durability::Transient
}

/// A reservation whose task is not committed yet. Dropped, it is given back, unless the task has come to be.
pub(crate) struct Hold {
    held: Option<TaskRef>,
    left: Left,
    ledger: Arc<dyn Ledger>,
    tasks: Arc<dyn TaskStore>,
    clock: Arc<dyn Clock>,
    tracker: TaskTracker,
}

impl Hold {
    fn new(edge: &Edge, task: TaskRef) -> Self {
        Self {
            held: Some(task),
            left: Left::default(),
            ledger: edge.ledger.clone(),
            tasks: edge.tasks.clone(),
            clock: edge.clock.clone(),
            tracker: edge.tracker.clone(),
        }
    }

    /// The task is committed: the reservation is its own. What is left of the limits.
    pub(crate) fn keep(mut self) -> Left {
        self.held = None;
        self.left
    }

    /// The task will never be. What is left of the limits, as it was with the reservation.
    pub(crate) async fn give_back(mut self) -> Left {
        if let Some(task) = self.held {
            give_back(&*self.ledger, task).await;
            self.held = None;
        }
        self.left
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(task) = self.held.take() else { return };
        let (ledger, tasks, clock) = (self.ledger.clone(), self.tasks.clone(), self.clock.clone());
        self.tracker.spawn(async move {
            // Its caller left, perhaps in the middle of the commit.
            for wait in [Duration::ZERO, COMMIT] {
                clock.sleep(wait).await;
                if matches!(tasks.get(task).await, Ok(Some(_))) {
                    return;
                }
            }
            give_back(&*ledger, task).await;
        });
    }
}

async fn give_back(ledger: &dyn Ledger, task: TaskRef) {
    if let Err(error) = ledger.give_back(task).await {
        tracing::warn!(task = %task.task, %error, "a reservation could not be given back; the engine's next start does it");
    }
}
