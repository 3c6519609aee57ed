//! The two ends of one followed log: the inbox that the driver fills, and the reader's [`Follow`].

use super::book::Command;
use crate::error::{Over, SessionError};
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use tidewire_proto::WireEvent;
use tokio::sync::mpsc;
use tokio_websockets::Message;

/// Frames that wait for their reader. One that lets more pile up reads the log later, merged by the server:
/// 16 frames of 40 ms each are two thirds of a second.
const FRAMES: usize = 16;

/// Events of one log that came in one frame: dense, in order, after all that came before.
#[derive(Debug)]
pub struct Batch {
    /// The log's epoch.
    pub epoch: u32,
    /// The first offset.
    pub from: u64,
    /// One past the last offset.
    pub to: u64,
    /// The server could not resume, and the log is read from its start again: what came before is void.
    pub starts_over: bool,
    pub(super) frame: Message,
}

impl Batch {
    /// The events, borrowed from the frame.
    pub fn events(&self) -> Result<Vec<WireEvent<'_>>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow, default)]
            events: Vec<WireEvent<'a>>,
        }
        serde_json::from_str::<Body<'_>>(self.frame.as_text().unwrap_or_default()).map(|body| body.events)
    }
}

/// What the two ends tell each other beside the events.
#[derive(Debug, Default)]
struct Shared {
    /// The reader is too slow; the driver waits for its [`Command::CatchUp`].
    behind: AtomicBool,
    /// The log's id, once the driver knows it.
    log: OnceLock<Arc<str>>,
    /// Why there will be no more events; `None` inside is a log that ended.
    outcome: OnceLock<Option<SessionError>>,
}

/// The driver's end.
#[derive(Debug)]
pub(super) struct Inbox {
    batches: mpsc::Sender<Batch>,
    shared: Arc<Shared>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Done,
    /// The reader is too slow, and will ask when it has caught up. The batch was dropped.
    Behind,
    /// Nobody reads any more.
    Unread,
}

/// The reader's end of a log. Dropping it ends the reading, not the task.
#[derive(Debug)]
pub struct Follow {
    batches: mpsc::Receiver<Batch>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

pub(super) fn pair(commands: mpsc::Sender<Command>) -> (Inbox, Follow) {
    let (sender, batches) = mpsc::channel(FRAMES);
    let shared = Arc::new(Shared::default());
    (Inbox { batches: sender, shared: shared.clone() }, Follow { batches, shared, commands })
}

impl Inbox {
    pub(super) fn name(&self, log: &Arc<str>) {
        // It is named once, when the log becomes known.
        let _ = self.shared.log.set(log.clone());
    }

    pub(super) fn is_read(&self) -> bool {
        !self.batches.is_closed()
    }

    pub(super) fn deliver(&self, batch: Batch) -> Delivery {
        match self.batches.try_send(batch) {
            Ok(()) => Delivery::Done,
            Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Unread,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.behind.store(true, SeqCst);
                Delivery::Behind
            }
        }
    }

    /// Whether the reader emptied its queue before it could see that it was behind. It would wait for ever:
    /// ask after each [`Delivery::Behind`].
    pub(super) fn was_emptied(&self) -> bool {
        self.batches.capacity() == self.batches.max_capacity() && self.shared.behind.swap(false, SeqCst)
    }

    /// Ends the reader's stream, once it has read what is there.
    pub(super) fn close(self, failure: Option<SessionError>) {
        // It is set once: closing takes the inbox.
        let _ = self.shared.outcome.set(failure);
    }
}

impl Follow {
    /// The next events; `None` once the log has ended and all of it was read. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Batch, SessionError>> {
        if let Ok(batch) = self.batches.try_recv() {
            return Some(Ok(batch));
        }
        if self.shared.behind.load(SeqCst)
            && let Ok(permit) = self.commands.reserve().await
            && self.shared.behind.swap(false, SeqCst)
            && let Some(log) = self.shared.log.get()
        {
            permit.send(Command::CatchUp { log: log.clone() });
        }
        match self.batches.recv().await {
            Some(batch) => Some(Ok(batch)),
            None => self.failure().map(Err),
        }
    }

    /// Why the log's events ended early, if they did.
    fn failure(&self) -> Option<SessionError> {
        // A driver that was dropped in the middle of its work has said nothing.
        self.shared.outcome.get().cloned().unwrap_or(Some(SessionError::Over(Over::Dropped)))
    }
}
