//! The logs that a session follows: each with its cursor, its reader, and what was asked about it.

use super::{Outbox, Reply};
use crate::error::SessionError;
use crate::session::counts::{Counters, count};
use crate::session::cursor::{Cursor, Span, Verdict};
use crate::session::follow::{Batch, Delivery, Inbox};
use std::collections::HashMap;
use std::sync::Arc;
use tidewire_proto::{ClientFrame, Code, WireError};
use tokio_websockets::Message;

/// How often in a row a log is followed anew for a gap, with nothing good between: a server that does it more
/// often is not going to stop.
const GAPS_IN_A_ROW: u8 = 8;

struct Log {
    cursor: Cursor,
    inbox: Inbox,
    /// The `follow` whose answer is awaited. Until then events are of the cursor before, and are dropped.
    asked: Option<u64>,
    /// The reader is too slow: the log is left to the server until it has caught up.
    behind: bool,
    gaps: u8,
    /// The next events are the log's first ones again, and their reader has to know.
    starts_over: bool,
    opened: Option<Reply<()>>,
}

impl Log {
    fn close(self, failure: Option<SessionError>) {
        if let (Some(opened), Some(failure)) = (self.opened, &failure) {
            // Whoever asked may have stopped waiting.
            let _ = opened.send(Err(failure.clone()));
        }
        self.inbox.close(failure);
    }
}

pub(super) struct Logs {
    window_ms: Option<u64>,
    counters: Arc<Counters>,
    by_id: HashMap<Arc<str>, Log>,
}

impl Logs {
    pub(super) fn new(window_ms: Option<u64>, counters: Arc<Counters>) -> Self {
        Self { window_ms, counters, by_id: HashMap::new() }
    }

    /// The log, if it is followed.
    pub(super) fn id(&self, log: &str) -> Option<Arc<str>> {
        self.by_id.get_key_value(log).map(|(id, _)| id.clone())
    }

    /// The log that was asked for with this `ref`.
    pub(super) fn asked(&self, reference: Option<u64>) -> Option<Arc<str>> {
        let reference = reference?;
        self.by_id.iter().find(|(_, log)| log.asked == Some(reference)).map(|(id, _)| id.clone())
    }

    pub(super) fn open(&mut self, id: Arc<str>, cursor: Cursor, inbox: Inbox, opened: Option<Reply<()>>) {
        inbox.name(&id);
        let log = Log { cursor, inbox, asked: None, behind: false, gaps: 0, starts_over: false, opened };
        // One connection has one cursor on a log.
        if let Some(before) = self.by_id.insert(id, log) {
            before.close(Some(SessionError::Replaced));
        }
    }

    /// Asks the server for the log's events after the last one.
    pub(super) fn follow(&mut self, id: &Arc<str>, out: &mut Outbox) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let reference = out.reference();
        let position = log.cursor.position();
        log.asked = Some(reference);
        log.behind = false;
        out.push(&ClientFrame::Follow {
            reference: Some(reference.to_string()),
            log: id.to_string(),
            after: position.map(|position| position.offset),
            epoch: position.and_then(|position| position.epoch),
            window_ms: self.window_ms,
        });
    }

    pub(super) fn catch_up(&mut self, id: &Arc<str>, out: &mut Outbox) {
        if self.by_id.get(id).is_some_and(|log| log.behind) {
            self.follow(id, out);
        }
    }

    /// Follows every log over a new connection, those that somebody reads.
    pub(super) fn resume(&mut self, out: &mut Outbox) {
        self.by_id.retain(|_, log| log.inbox.is_read());
        // One that is behind is asked for by its reader.
        let ids: Vec<_> = self.by_id.iter().filter(|(_, log)| !log.behind).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.follow(&id, out);
        }
    }

    pub(super) fn following(&mut self, id: &str, reference: Option<u64>, epoch: u32) {
        if let Some(log) = self.by_id.get_mut(id).filter(|log| log.asked.is_some() && log.asked == reference) {
            log.asked = None;
            log.cursor.learn(epoch);
            if let Some(opened) = log.opened.take() {
                // Whoever asked may have stopped waiting; the first events will show it.
                let _ = opened.send(Ok(()));
            }
        }
    }

    pub(super) fn events(&mut self, id: &Arc<str>, span: Span, frame: Message, out: &mut Outbox) {
        let Some(log) = self.by_id.get_mut(id).filter(|log| log.asked.is_none() && !log.behind) else { return };
        match log.cursor.judge(span) {
            Verdict::Seen => count(&self.counters.duplicates),
            Verdict::Gap => self.gap(id, out),
            Verdict::Next => {
                let Span { epoch, from, to } = span;
                match log.inbox.deliver(Batch { epoch, from, to, starts_over: log.starts_over, frame }) {
                    Delivery::Done => {
                        log.cursor.advance(span);
                        log.gaps = 0;
                        log.starts_over = false;
                    }
                    Delivery::Unread => {
                        out.push(&ClientFrame::Unfollow { reference: None, log: id.to_string() });
                        self.by_id.remove(id);
                    }
                    Delivery::Behind => self.behind(id, out),
                }
            }
        }
    }

    fn gap(&mut self, id: &Arc<str>, out: &mut Outbox) {
        count(&self.counters.gaps);
        let Some(log) = self.by_id.get_mut(id) else { return };
        log.gaps += 1;
        if log.gaps > GAPS_IN_A_ROW {
            out.push(&ClientFrame::Unfollow { reference: None, log: id.to_string() });
            self.end(id, Some(SessionError::GapStays));
        } else {
            self.follow(id, out);
        }
    }

    fn behind(&mut self, id: &Arc<str>, out: &mut Outbox) {
        count(&self.counters.fell_behind);
        let Some(log) = self.by_id.get_mut(id) else { return };
        log.behind = true;
        out.push(&ClientFrame::Unfollow { reference: None, log: id.to_string() });
        if log.inbox.was_emptied() {
            self.follow(id, out);
        }
    }

    pub(super) fn unfollowed(&mut self, id: &str, reason: String, out: &mut Outbox) {
        let Some(id) = self.id(id) else { return };
        // What the server says of the cursor before means nothing for the one that was asked for since.
        if self.by_id.get(&id).is_none_or(|log| log.asked.is_some() || log.behind) {
            return;
        }
        match &*reason {
            "ended" => self.end(&id, None),
            // Resumed over the next connection.
            code if code == Code::ShuttingDown.as_str() => {}
            "gone" => self.refused(&id, WireError::new(Code::UnknownLog, "the log expired"), out),
            _ => {
                let message = "the server stopped sending the log".to_owned();
                self.refused(&id, WireError { code: reason, message, retry_after_ms: None }, out);
            }
        }
    }

    /// The server does not send the log from where it was asked to.
    pub(super) fn refused(&mut self, id: &Arc<str>, error: WireError, out: &mut Outbox) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let can_start_over = [Code::EpochChanged, Code::OffsetInFuture, Code::Trimmed];
        // Once it was asked for without a position, there is nothing left to give up.
        if log.cursor.position().is_some() && can_start_over.iter().any(|code| code.as_str() == error.code) {
            count(&self.counters.started_over);
            log.cursor = Cursor::after(None);
            log.starts_over = true;
            self.follow(id, out);
        } else {
            self.end(id, Some(SessionError::Refused(error)));
        }
    }

    fn end(&mut self, id: &Arc<str>, failure: Option<SessionError>) {
        if let Some(log) = self.by_id.remove(id) {
            log.close(failure);
        }
    }

    pub(super) fn close(self, error: &SessionError) {
        for log in self.by_id.into_values() {
            log.close(Some(error.clone()));
        }
    }
}
