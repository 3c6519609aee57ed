//! Keeps the leases of running tasks, and brings orders to them: stop, hand back, lost.

use crate::Worker;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::port::{Clock, Renewal, Signal};
use tidewire_core::task::Lease;
use tidewire_core::{Task, TaskRef, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a running task is told. Later ones outrank earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    Go,
    /// The server drains: give the task back.
    HandBack,
    /// Somebody stopped it: end it.
    Stop,
    /// Another worker has it: write nothing more.
    Lost,
}

/// The running tasks of one worker.
#[derive(Default)]
pub(crate) struct Keeper {
    held: Mutex<HashMap<TaskRef, Held>>,
}

struct Held {
    lease: Lease,
    /// The public name that was asked for.
    model: Arc<str>,
    /// Which deployment is asked for it, once one is.
    deployment: Option<Arc<str>>,
    since: Timestamp,
    order: Arc<watch::Sender<Order>>,
    renewed: Duration,
}

/// A task that runs here, for whoever looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Which task, in which attempt, at which worker.
    pub lease: Lease,
    /// The public name of the model that was asked for.
    pub model: Arc<str>,
    /// Which deployment is asked for it; none before that, and where it gets an answer that is kept or shared.
    pub deployment: Option<Arc<str>>,
    /// When its worker got it.
    pub since: Timestamp,
}

/// A running task's end of the line. Dropped, its lease is no longer kept.
pub(crate) struct Leash {
    keeper: Arc<Keeper>,
    task: TaskRef,
    orders: watch::Receiver<Order>,
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.keeper.held().remove(&self.task);
    }
}

impl Leash {
    /// Waits until the task is told to do anything but go on.
    pub(crate) async fn called(&mut self) -> Order {
        match self.orders.wait_for(|order| *order != Order::Go).await {
            Ok(order) => *order,
            Err(_) => Order::Lost,
        }
    }

    /// Says which deployment is asked.
    pub(crate) fn asks(&self, deployment: &Arc<str>) {
        if let Some(held) = self.keeper.held().get_mut(&self.task) {
            held.deployment = Some(deployment.clone());
        }
    }
}

impl Keeper {
    fn held(&self) -> MutexGuard<'_, HashMap<TaskRef, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a lease from now on.
    pub(crate) fn keep(self: &Arc<Self>, task: &Task, lease: &Lease, clock: &dyn Clock) -> Leash {
        let (order, orders) = watch::channel(Order::Go);
        let held = Held {
            lease: lease.clone(),
            model: task.spec.model.as_str().into(),
            deployment: None,
            since: clock.now(),
            order: Arc::new(order),
            renewed: clock.monotonic(),
        };
        self.held().insert(lease.task, held);
        Leash { keeper: self.clone(), task: lease.task, orders }
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.held().len()
    }

    /// The tasks that have run longest, at most `limit`, oldest first.
    pub(crate) fn oldest(&self, limit: usize) -> Vec<LeaseView> {
        let held = self.held();
        let mut all: Vec<&Held> = held.values().collect();
        all.sort_unstable_by_key(|held| (held.since, held.lease.task));
        let view = |held: &&Held| {
            let Held { lease, model, deployment, since, .. } = *held;
            LeaseView { lease: lease.clone(), model: model.clone(), deployment: deployment.clone(), since: *since }
        };
        all.iter().take(limit).map(view).collect()
    }

    /// Gives an order to one task, if it runs here.
    pub(crate) fn tell(&self, task: TaskRef, order: Order) {
        if let Some(held) = self.held().get(&task) {
            tell(&held.order, order);
        }
    }

    /// Gives an order to all.
    pub(crate) fn tell_all(&self, order: Order) {
        for held in self.held().values() {
            tell(&held.order, order);
        }
    }

    /// Renews leases and listens for stops, until `end`.
    pub(crate) async fn watch_over(self: Arc<Self>, worker: Arc<Worker>, end: CancellationToken) {
        let mut signals = worker.bus.subscribe();
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                signal = signals.next() => match signal {
                    Some(Signal::Stop(task)) => self.tell(task, Order::Stop),
                    Some(Signal::Grew { .. } | Signal::Judged { .. } | Signal::Lane(_)) => {}
                    None => signals = worker.bus.subscribe(),
                },
                () = worker.clock.sleep(worker.pace.sweep) => self.renew(&worker).await,
            }
        }
    }

    async fn renew(&self, worker: &Worker) {
        let leases: Vec<Lease> = self.held().values().map(|held| held.lease.clone()).collect();
        if leases.is_empty() {
            return;
        }
        let now = worker.clock.monotonic();
        let renewed = worker.tasks.renew(&leases, worker.clock.now().plus(worker.pace.lease)).await;
        let mut held = self.held();
        for (index, lease) in leases.iter().enumerate() {
            let Some(held) = held.get_mut(&lease.task).filter(|held| held.lease.fence == lease.fence) else { continue };
            match renewed.as_ref().map(|renewals| renewals.get(index)) {
                Ok(Some(Renewal::Held { stop_requested })) => {
                    held.renewed = now;
                    if *stop_requested {
                        tell(&held.order, Order::Stop);
                    }
                }
                Ok(Some(Renewal::Lost)) => tell(&held.order, Order::Lost),
                // Not renewed: the lease lapses in its own time, and then it is no longer ours to use.
                Ok(None) | Err(_) if now.saturating_sub(held.renewed) > worker.pace.lease => {
                    tell(&held.order, Order::Lost);
                }
                Ok(None) | Err(_) => {}
            }
        }
    }
}

fn tell(orders: &watch::Sender<Order>, order: Order) {
    orders.send_if_modified(|now| {
        let changes = order > *now;
        if changes {
            *now = order;
        }
        changes
    });
}
