//! What a client does next, by its dice.

use super::Client;
use super::book::{Cursor, Submit};
use crate::clock;
use crate::plan::CALM;
use tidewire_backends::scripted::{Script, text};
use tidewire_core::Epoch;

/// So many tasks of one client are enough for one run.
const MOST: u64 = 12;

impl Client {
    /// Does something; `false` where it cuts its connection.
    pub(super) fn act(&mut self) -> bool {
        self.book.retry();
        if clock::elapsed() >= CALM {
            self.calm = true;
            self.book.follow_own();
            return true;
        }
        match self.dice.below(20) {
            0..8 => self.submit(),
            8..11 => self.stop(),
            11..16 => self.follow_another(),
            16 => self.submit_again(),
            17 => self.unfollow(),
            18 => self.book.send_ping(),
            _ => return false,
        }
        true
    }

    fn submit(&mut self) {
        if self.book.submitted >= MOST {
            return self.follow_another();
        }
        let number = self.book.submitted;
        self.book.submitted += 1;
        let submit = self.any_task(number);
        self.book.submits.insert(number, submit);
        self.book.send_submit(number);
    }

    fn any_task(&mut self, number: u64) -> Submit {
        let durable = !self.dice.per_mille(150);
        self.history.told().asked_transient |= !durable;
        let seed = format!("{}.{number}.", self.name.replace("client-", "c"));
        let tokens = self.dice.between(1, 30);
        let delay_ms = if self.dice.per_mille(400) { 0 } else { self.dice.between(1, 60) };
        let mut script = serde_json::json!({
            "tokens": tokens, "delay_ms": delay_ms, "seed": seed, "continues": self.dice.per_mille(600),
        });
        if self.dice.per_mille(350) {
            let faults = ["broken", "cut", "stall", "overloaded", "invalid"];
            script["fault"] = self.dice.pick(&faults).copied().unwrap_or("cut").into();
            script["fail_at"] = self.dice.below(tokens + 1).into();
            script["fail_attempts"] = self.dice.between(1, 3).into();
            script["key"] = seed.as_str().into();
        }
        let key = durable.then(|| format!("key-{seed}"));
        let mut task = serde_json::json!({
            "input": { "messages": [{ "role": "user", "content": "go" }], "script": script },
            "durability": if durable { "durable" } else { "transient" },
            "max_attempts": self.dice.between(1, 6),
            "deadline_ms": self.dice.between(4_000, 60_000),
        });
        if let Some(key) = &key {
            task["idempotency_key"] = key.as_str().into();
        }
        if self.dice.per_mille(100) {
            task["on_disconnect"] = "stop".into();
        }
        let words = Script { tokens: usize::try_from(tokens).unwrap_or(0), seed, ..Script::default() };
        let follow = self.dice.per_mille(850);
        Submit { key, task: task.to_string(), text: text(&words), durable, follow, window_ms: self.window() }
    }

    fn window(&mut self) -> u64 {
        if self.dice.per_mille(500) { 0 } else { self.dice.between(1, 200) }
    }

    /// A task of its own that has been acknowledged, once more with the same key.
    fn submit_again(&mut self) {
        let Some((_, submit)) = self.dice.pick(&self.book.own).cloned() else { return };
        let number = self.book.submitted;
        self.book.submitted += 1;
        self.book.submits.insert(number, submit);
        self.book.send_submit(number);
    }

    fn stop(&mut self) {
        let known: Vec<String> = self.history.told().board.keys().cloned().collect();
        let Some(task) = self.dice.pick(&known).cloned() else { return };
        if !self.book.stops.contains(&task) {
            self.book.stops.push(task.clone());
            self.book.send_stop(&task);
        }
    }

    /// Any durable log that anybody has seen, from any place in it, often while it grows; moves its own cursor
    /// where it follows the log already.
    fn follow_another(&mut self) {
        let known: Vec<(String, (u32, u64))> =
            self.history.told().board.iter().map(|(log, place)| (log.clone(), *place)).collect();
        let Some((log, (epoch, tail))) = self.dice.pick(&known).cloned() else { return };
        let next = if self.dice.per_mille(400) { 0 } else { self.dice.between(0, tail) };
        let window_ms = self.window();
        self.book.send_follow(&log, Cursor::new(Some(Epoch(epoch)), next, true, window_ms));
    }

    fn unfollow(&mut self) {
        let followed: Vec<String> = self.book.cursors.keys().cloned().collect();
        let Some(log) = self.dice.pick(&followed).cloned() else { return };
        self.book.send_unfollow(&log);
    }
}
