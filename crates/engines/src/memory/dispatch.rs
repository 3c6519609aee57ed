//! Hands ready tasks to the workers of this process.

use super::lock;
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tidewire_core::TaskRef;
use tidewire_core::port::{self, Claim, Unavailable};
use tokio::sync::Notify;

/// One line for each capability. How many tasks stand in it is bounded by the queue's window. Claims are not
/// remembered: the workers are in this process, and are lost only together with it.
#[derive(Default)]
pub struct Dispatch {
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
}

struct Line {
    capability: Arc<str>,
    ready: Mutex<Ready>,
    // One permit at most: whoever takes a task and leaves another passes it on.
    some_ready: Notify,
}

#[derive(Default)]
struct Ready {
    tasks: VecDeque<TaskRef>,
    tickets: u64,
}

impl Line {
    fn take(&self) -> Option<Claim> {
        let mut ready = lock(&self.ready);
        let task = ready.tasks.pop_front()?;
        ready.tickets += 1;
        if !ready.tasks.is_empty() {
            self.some_ready.notify_one();
        }
        Some(Claim { task, capability: self.capability.clone(), ticket: ready.tickets })
    }
}

impl Dispatch {
    /// With empty lines.
    pub fn new() -> Self {
        Self::default()
    }

    fn line(&self, capability: &str) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get(capability) {
            return line.clone();
        }
        let capability: Arc<str> = Arc::from(capability);
        let line = Line { capability: capability.clone(), ready: Mutex::default(), some_ready: Notify::new() };
        lines.entry(capability).or_insert(Arc::new(line)).clone()
    }
}

#[async_trait]
impl port::Dispatch for Dispatch {
    async fn offer(&self, task: TaskRef, capability: &str) -> Result<(), Unavailable> {
        let line = self.line(capability);
        lock(&line.ready).tasks.push_back(task);
        line.some_ready.notify_one();
        Ok(())
    }

    async fn claim(&self, capability: &str) -> Result<Claim, Unavailable> {
        let line = self.line(capability);
        loop {
            // A task leaves the line in the same poll that gives it to the caller, so that a claim that is
            // dropped has none; a permit that it was given goes on to the next one when it is dropped.
            if let Some(claim) = line.take() {
                return Ok(claim);
            }
            line.some_ready.notified().await;
        }
    }

    async fn forget(&self, _claim: Claim) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn give_back(&self, claim: Claim) -> Result<(), Unavailable> {
        let line = self.line(&claim.capability);
        lock(&line.ready).tasks.push_front(claim.task);
        line.some_ready.notify_one();
        Ok(())
    }
}
