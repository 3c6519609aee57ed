//! Tidewire's own frames: many tasks and logs over one connection.

use super::answers::{Answer, answer};
use super::connection::{Dialect, End, Outbox};
use super::cursors::{Cursors, Ready};
use super::standings::{self, Standings};
use crate::Edge;
use crate::follow::merged;
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::transport::body::too_large;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{LogRef, TaskRef};
use tidewire_proto::{ClientFrame, Code, ServerFrame};
use tracing::Instrument;

/// Unfinished tasks that stop with one connection.
const MAX_STOPPING: usize = 1024;

pub(in crate::transport) struct Native {
    edge: Arc<Edge>,
    caller: Caller,
    cursors: Cursors<LogRef>,
    standings: Standings,
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// What sets cursors and takes them away is answered in the order in which it came: of two frames about one log the later
    /// one counts, however long the earlier one takes.
    moves: FuturesOrdered<BoxFuture<'static, Answer>>,
    stop_with: HashSet<TaskRef>,
}

impl Dialect for Native {
    fn hear(&mut self, text: &str, out: &mut Outbox) -> Result<(), End> {
        let limit = self.edge.limits.body_bytes;
        if text.len() > limit {
            self.take(Answer::refused(None, too_large(limit)), out);
            return Ok(());
        }
        match ClientFrame::parse(text) {
            Ok(frame) => self.ask(frame, out),
            Err(refused) => self.take(Answer::refused(refused.reference, refused.error.into()), out),
        }
        Ok(())
    }

    fn asked(&self) -> usize {
        self.asked.len() + self.moves.len()
    }

    async fn speak(&mut self, events: bool, out: &mut Outbox) {
        tokio::select! {
            Some(answer) = self.asked.next() => self.take(answer, out),
            Some(answer) = self.moves.next() => self.take(answer, out),
            ready = self.cursors.next(), if events => self.tell(ready, out),
            () = self.standings.due(), if events => {
                for frame in self.standings.look(&self.edge) {
                    out.say(&frame);
                }
            }
            else => std::future::pending().await,
        }
    }

    fn stops(self) -> Vec<TaskRef> {
        self.stop_with.into_iter().collect()
    }
}

impl Native {
    pub(in crate::transport) fn new(edge: Arc<Edge>, caller: Caller) -> Self {
        let (cursors, standings) = (Cursors::default(), Standings::default());
        let (asked, moves) = (FuturesUnordered::new(), FuturesOrdered::new());
        Self { edge, caller, cursors, standings, asked, moves, stop_with: HashSet::new() }
    }

    /// Begins to do what a frame asks for.
    pub(in crate::transport) fn ask(&mut self, frame: ClientFrame, out: &mut Outbox) {
        if let Err((reference, refusal)) = self.admit(&frame) {
            return self.take(Answer::refused(reference, refusal), out);
        }
        let (edge, caller) = (self.edge.clone(), self.edge.identity.renewed(&self.caller));
        let span = tracing::error_span!("frame", task = tracing::field::Empty);
        let moves = matches!(frame, ClientFrame::Follow { .. } | ClientFrame::Unfollow { .. });
        let answer = Box::pin(async move { answer(&edge, &caller, frame).await }.instrument(span));
        if moves {
            self.moves.push_back(answer);
        } else {
            self.asked.push(answer);
        }
    }

    /// Whether there is a log to tell of, or a question that is not answered yet.
    pub(in crate::transport) fn follows_any(&self) -> bool {
        self.asked() + self.cursors.len() > 0
    }

    /// Whether one more log may be followed, and one more task may stop with the connection.
    fn admit(&self, frame: &ClientFrame) -> Result<(), (Option<String>, Refusal)> {
        let limit = self.edge.limits.follows_per_connection;
        let (reference, follows, stops) = match frame {
            ClientFrame::Submit { reference, task, follow, .. } => {
                (reference, follow.unwrap_or(true), task.on_disconnect.as_deref() == Some("stop"))
            }
            ClientFrame::Follow { reference, log, .. } => {
                let known =
                    log.parse().is_ok_and(|log| self.cursors.follows(&LogRef { tenant: self.caller.tenant, log }));
                (reference, !known, false)
            }
            _ => return Ok(()),
        };
        if follows && self.cursors.len() + self.asked() >= limit {
            let message =
                format!("a connection follows at most {limit} logs; unfollow one, or open another connection");
            return Err((reference.clone(), Refusal::new(Code::TooManyFollows, message)));
        }
        if stops && self.stop_with.len() >= MAX_STOPPING {
            let message = format!("at most {MAX_STOPPING} unfinished tasks stop with one connection");
            return Err((reference.clone(), Refusal::new(Code::TooManyFollows, message)));
        }
        Ok(())
    }

    /// An answer is ready: the frame first, and only then the events that it opens.
    fn take(&mut self, answer: Answer, out: &mut Outbox) {
        out.say(&answer.frame);
        if let Some(follower) = answer.follow {
            self.watch_standing(&answer.frame, follower.at, out);
            self.cursors.follow(follower.at, follower);
        }
        if let Some(log) = answer.unfollow {
            self.cursors.unfollow(&log);
            self.forget_standing(log);
        }
        self.stop_with.extend(answer.stop_with);
    }

    /// Tells where a task stands for as long as it waits. An ack has told it first.
    fn watch_standing(&mut self, answer: &ServerFrame<'_>, log: LogRef, out: &mut Outbox) {
        let Some(task) = log.log.task().map(|task| TaskRef { tenant: log.tenant, task }) else { return };
        if let Some(standing) = self.standings.watch(&self.edge, task)
            && !matches!(answer, ServerFrame::Ack { .. })
            && standing.wait != Some(Duration::ZERO)
        {
            out.say(&standings::frame(task, &standing));
        }
    }

    /// A log has something to say.
    fn tell(&mut self, ready: Ready<LogRef>, out: &mut Outbox) {
        let Ready { follower, batch, .. } = ready;
        let log = follower.at;
        let batch = match batch {
            Ok(batch) => batch,
            Err(refusal) => {
                let gone = refusal.0.code == Code::UnknownLog.as_str();
                let reason = if gone { "gone".to_owned() } else { refusal.0.code };
                return self.let_go(log, reason, out);
            }
        };
        if !batch.events.is_empty() {
            batch.told(&self.edge);
            out.say(&ServerFrame::Events {
                log: log.log.to_string(),
                epoch: follower.cursor.epoch.0,
                from: batch.from(),
                to: batch.to(),
                events: merged(&batch.events),
            });
        }
        if batch.over {
            if let Some(task) = log.log.task() {
                self.stop_with.remove(&TaskRef { tenant: log.tenant, task });
            }
            return self.let_go(log, "ended".to_owned(), out);
        }
        self.cursors.go_on(log, follower);
    }

    fn forget_standing(&mut self, log: LogRef) {
        if let Some(task) = log.log.task() {
            self.standings.forget(TaskRef { tenant: log.tenant, task });
        }
    }

    fn let_go(&mut self, log: LogRef, reason: String, out: &mut Outbox) {
        self.cursors.unfollow(&log);
        self.forget_standing(log);
        out.say(&ServerFrame::Unfollowed { reference: None, log: log.log.to_string(), reason });
    }
}
