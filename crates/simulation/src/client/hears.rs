//! What the server says, checked as it comes.

use super::Client;
use super::book::{Asked, Cursor};
use crate::clock;
use crate::history::{Acked, Seen, StopAnswer};
use serde_json::Value;
use tidewire_core::Epoch;
use tidewire_proto::WireEvent;

impl Client {
    pub(super) fn hear(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return self.violation(format_args!("a frame is no JSON: {text}"));
        };
        let word = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let asked = frame["ref"].as_str().and_then(|reference| self.book.asked.remove(reference));
        match (frame["op"].as_str().unwrap_or_default(), asked) {
            ("ack", Some(Asked::Submit(number))) => self.acked(number, &frame),
            ("following", Some(Asked::Follow(log, cursor))) => self.following(&log, cursor, &frame),
            ("events", None) => self.events(&frame, text),
            ("unfollowed", asked) => self.unfollowed(&word("log"), &word("reason"), asked.is_some()),
            ("stopped", Some(Asked::Stop(task))) => {
                self.book.stops.retain(|stop| *stop != task);
                let answer = StopAnswer { task, state: word("state"), at: clock::now() };
                self.history.told().stops.push(answer);
            }
            // Where a task stands is an estimate: nothing is promised of it.
            ("pong", Some(Asked::Ping)) | ("waiting", None) => {}
            ("error", Some(asked)) => self.refused(asked, &frame),
            _ => self.violation(format_args!("a frame that answers nothing: {text}")),
        }
    }

    fn acked(&mut self, number: u64, frame: &Value) {
        let Some(submit) = self.book.submits.remove(&number) else { return };
        let task = frame["task"].as_str().unwrap_or_default().to_owned();
        let epoch = u32::try_from(frame["epoch"].as_u64().unwrap_or(0)).unwrap_or(0);
        if submit.follow {
            let cursor = Cursor::new(Some(Epoch(epoch)), 0, submit.durable, submit.window_ms);
            self.book.cursors.insert(task.clone(), cursor);
        }
        let acked = Acked {
            key: submit.key.clone(),
            task: task.clone(),
            epoch,
            durable: submit.durable,
            text: submit.text.clone(),
        };
        let mut told = self.history.told();
        told.acks.push(acked);
        if submit.durable {
            told.board.entry(task.clone()).or_insert((epoch, 0));
            self.book.own.push((task, submit));
        }
    }

    fn following(&mut self, log: &str, mut cursor: Cursor, frame: &Value) {
        let epoch = frame["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch).ok()).map(Epoch);
        let tail = frame["tail"].as_u64().unwrap_or(0);
        if cursor.epoch.is_some() && cursor.epoch != epoch {
            self.violation(format_args!("{log} has epoch {epoch:?}, and had {:?}", cursor.epoch));
        }
        if tail < cursor.next {
            self.violation(format_args!("{log} has its tail at {tail}, and {} was seen", cursor.next));
        }
        cursor.epoch = epoch;
        self.book.cursors.insert(log.to_owned(), cursor);
    }

    fn events(&mut self, frame: &Value, text: &str) {
        let log = frame["log"].as_str().unwrap_or_default().to_owned();
        let Some(cursor) = self.book.cursors.get(&log).cloned() else {
            return self.violation(format_args!("events of {log}, which is not followed"));
        };
        let (from, to) = (frame["from"].as_u64().unwrap_or(0), frame["to"].as_u64().unwrap_or(0));
        let epoch = frame["epoch"].as_u64();
        if cursor.ended || from != cursor.next || to <= from || epoch != cursor.epoch.map(|epoch| u64::from(epoch.0)) {
            self.violation(format_args!("{cursor:?} was to come next, and this came: {text}"));
        }
        let mut next = from;
        for event in frame["events"].as_array().into_iter().flatten() {
            let raw = event.to_string();
            let Ok(event) = serde_json::from_str::<WireEvent<'_>>(&raw) else {
                self.violation(format_args!("an event that can't be read: {raw}"));
                continue;
            };
            if event.offset != next {
                self.violation(format_args!("offset {} where {next} was to come: {text}", event.offset));
            }
            next = event.next();
            self.saw(&log, &cursor, &event);
        }
        if next != to {
            self.violation(format_args!("the frame ends at {next} and says {to}: {text}"));
        }
        if let Some(cursor) = self.book.cursors.get_mut(&log) {
            cursor.next = next;
        }
    }

    fn saw(&mut self, log: &str, cursor: &Cursor, event: &WireEvent<'_>) {
        let data = match &*event.kind {
            "text" | "reasoning" => event.text().unwrap_or_default().into_owned(),
            _ => event.value().to_string(),
        };
        let seen = Seen {
            who: self.name.clone(),
            log: log.to_owned(),
            epoch: cursor.epoch.unwrap_or_default(),
            offset: event.offset,
            count: event.count,
            kind: event.kind.clone().into_owned(),
            data,
        };
        if seen.kind == "end"
            && let Some(cursor) = self.book.cursors.get_mut(log)
        {
            cursor.ended = true;
        }
        let mut told = self.history.told();
        if cursor.durable {
            let (_, tail) = told.board.entry(log.to_owned()).or_insert((seen.epoch.0, 0));
            *tail = event.next().max(*tail);
        }
        told.seen.push(seen);
    }

    fn unfollowed(&mut self, log: &str, reason: &str, asked: bool) {
        let Some(cursor) = self.book.cursors.get(log).cloned() else { return };
        if asked {
            self.book.cursors.remove(log);
            return;
        }
        match reason {
            "ended" => {
                // A cursor that was set after the `end` event gets none.
                self.history.told().ends.push((self.name.clone(), log.to_owned(), cursor.next));
                self.book.cursors.insert(log.to_owned(), Cursor { ended: true, ..cursor });
            }
            "unavailable" => {
                self.book.cursors.remove(log);
                self.book.send_follow(log, cursor);
            }
            _ if !cursor.durable => drop(self.book.cursors.remove(log)),
            _ => self.violation(format_args!("{log} is no longer to be followed: {reason}")),
        }
    }

    fn refused(&mut self, asked: Asked, frame: &Value) {
        let code = frame["error"]["code"].as_str().unwrap_or_default();
        let passes = matches!(code, "queue_full" | "wait_too_long" | "unavailable" | "shutting_down");
        match asked {
            Asked::Submit(number) if passes => self.book.retry_later(Asked::Submit(number)),
            Asked::Stop(task) if passes => self.book.retry_later(Asked::Stop(task)),
            Asked::Follow(log, cursor) if passes => self.book.retry_later(Asked::Follow(log, cursor)),
            // Its log went with the process.
            Asked::Follow(_, cursor) if !cursor.durable => {}
            asked => self.violation(format_args!("{asked:?} was refused: {frame}")),
        }
    }
}
