//! What a client has asked for, what it waits for, and where its cursors stand.

use std::collections::BTreeMap;
use tidewire_core::Epoch;

#[derive(Default)]
pub(super) struct Book {
    next_ref: u64,
    outbox: Vec<String>,
    /// By `ref`: what is asked and not answered on this connection.
    pub(super) asked: BTreeMap<String, Asked>,
    /// Submits without an answer, by number.
    pub(super) submits: BTreeMap<u64, Submit>,
    pub(super) submitted: u64,
    /// Logs that are followed until their end.
    pub(super) cursors: BTreeMap<String, Cursor>,
    /// Tasks to stop, whose stop has no answer yet.
    pub(super) stops: Vec<String>,
    /// Refused for now: asked again with the next act.
    pub(super) later: Vec<Asked>,
    /// Durable tasks that were acknowledged to this client, with the submits that made them.
    pub(super) own: Vec<(String, Submit)>,
}

/// A task to submit.
#[derive(Clone, Debug)]
pub(super) struct Submit {
    pub(super) key: Option<String>,
    /// The task as JSON.
    pub(super) task: String,
    pub(super) text: String,
    pub(super) durable: bool,
    pub(super) follow: bool,
    pub(super) window_ms: u64,
}

/// A question without an answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Submit(u64),
    /// The cursor that the answer sets.
    Follow(String, Cursor),
    Unfollow,
    Stop(String),
    Ping,
}

/// A place in a log.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) epoch: Option<Epoch>,
    /// The offset that must come next.
    pub(super) next: u64,
    pub(super) durable: bool,
    /// The `end` event was seen.
    pub(super) ended: bool,
    pub(super) window_ms: u64,
}

impl Cursor {
    pub(super) fn new(epoch: Option<Epoch>, next: u64, durable: bool, window_ms: u64) -> Self {
        Self { epoch, next, durable, ended: false, window_ms }
    }
}

impl Book {
    /// A new connection: whatever has no answer is asked again, and what was followed is followed on.
    pub(super) fn connected(&mut self) {
        let asked = std::mem::take(&mut self.asked).into_values().chain(std::mem::take(&mut self.later));
        let mut cursors: BTreeMap<String, Cursor> = std::mem::take(&mut self.cursors);
        for asked in asked {
            if let Asked::Follow(log, cursor) = asked {
                cursors.insert(log, cursor);
            }
        }
        self.outbox.clear();
        // A transient task that got no answer has no key to ask for it by: nobody knows whether it runs.
        self.submits.retain(|_, submit| submit.key.is_some());
        let again: Vec<u64> = self.submits.keys().copied().collect();
        for number in again {
            self.send_submit(number);
        }
        for (log, cursor) in cursors {
            if cursor.ended {
                self.cursors.insert(log, cursor);
            } else {
                self.send_follow(&log, cursor);
            }
        }
        for task in self.stops.clone() {
            self.send_stop(&task);
        }
    }

    pub(super) fn outbox(&mut self) -> Vec<String> {
        std::mem::take(&mut self.outbox)
    }

    /// Follows what it has submitted and does not follow, from the start: the calm has begun, and all has to end.
    pub(super) fn follow_own(&mut self) {
        for (task, submit) in self.own.clone() {
            if !self.cursors.contains_key(&task) && !self.is_asked(&task) {
                self.send_follow(&task, Cursor::new(None, 0, true, submit.window_ms));
            }
        }
    }

    fn is_asked(&self, log: &str) -> bool {
        let mut asked = self.asked.values().chain(&self.later);
        asked.any(|asked| matches!(asked, Asked::Follow(asked, _) if asked == log))
    }

    /// Nothing is asked and every followed log has ended.
    pub(super) fn is_done(&self) -> bool {
        self.submits.is_empty()
            && self.stops.is_empty()
            && self.asked.is_empty()
            && self.later.is_empty()
            && self.cursors.values().all(|cursor| cursor.ended)
    }

    pub(super) fn retry_later(&mut self, asked: Asked) {
        self.later.push(asked);
    }

    /// Asks again for what was refused.
    pub(super) fn retry(&mut self) {
        for asked in std::mem::take(&mut self.later) {
            match asked {
                Asked::Submit(number) => self.send_submit(number),
                Asked::Follow(log, cursor) => self.send_follow(&log, cursor),
                Asked::Stop(task) => self.send_stop(&task),
                Asked::Unfollow | Asked::Ping => {}
            }
        }
    }

    fn ask(&mut self, asked: Asked, frame: impl FnOnce(&str) -> String) {
        let reference = self.next_ref.to_string();
        self.next_ref += 1;
        self.outbox.push(frame(&reference));
        self.asked.insert(reference, asked);
    }

    pub(super) fn send_submit(&mut self, number: u64) {
        let Some(submit) = self.submits.get(&number).cloned() else { return };
        self.ask(Asked::Submit(number), |reference| {
            let Submit { task, follow, window_ms, .. } = submit;
            format!(r#"{{"op":"submit","ref":"{reference}","task":{task},"follow":{follow},"window_ms":{window_ms}}}"#)
        });
    }

    /// Follows a log from this place.
    pub(super) fn send_follow(&mut self, log: &str, cursor: Cursor) {
        let Cursor { epoch, next, window_ms, .. } = cursor;
        self.ask(Asked::Follow(log.to_owned(), cursor), |reference| {
            let after = next.checked_sub(1).map(|after| format!(r#","after":{after}"#)).unwrap_or_default();
            let epoch = epoch.map(|epoch| format!(r#","epoch":{}"#, epoch.0)).unwrap_or_default();
            format!(r#"{{"op":"follow","ref":"{reference}","log":"{log}","window_ms":{window_ms}{after}{epoch}}}"#)
        });
    }

    pub(super) fn send_unfollow(&mut self, log: &str) {
        let frame = |reference: &str| format!(r#"{{"op":"unfollow","ref":"{reference}","log":"{log}"}}"#);
        self.ask(Asked::Unfollow, frame);
    }

    pub(super) fn send_stop(&mut self, task: &str) {
        self.ask(Asked::Stop(task.to_owned()), |reference| {
            format!(r#"{{"op":"stop","ref":"{reference}","task":"{task}"}}"#)
        });
    }

    pub(super) fn send_ping(&mut self) {
        self.ask(Asked::Ping, |reference| format!(r#"{{"op":"ping","ref":"{reference}"}}"#));
    }
}
