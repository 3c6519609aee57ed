//! One task's way, as its user sees it: submitted, acknowledged, read to its end.

use crate::check::Check;
use crate::options::Options;
use crate::tally::Tally;
use std::time::Duration;
use tidewire_client::{Follow, Session, SessionError, Stopwatch};
use tidewire_proto::Submission;
use tokio::time::timeout;

/// What every task of a run has in common.
#[derive(Debug)]
pub(crate) struct Plan {
    submission: Submission,
    script_tokens: Option<u32>,
    limit: Duration,
}

/// What was seen of a task.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ack: Option<Duration>,
    pub(crate) first_text: Option<Duration>,
    pub(crate) last_text: Option<Duration>,
    pub(crate) total: Option<Duration>,
    pub(crate) check: Check,
    pub(crate) failure: Option<Failure>,
}

/// Why a task was not read to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server did not take it.
    Refused(String),
    /// It was taken, and its end did not come.
    Unfinished(String),
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Result<Self, serde_json::Error> {
        let script_tokens = options.script.map(|script| script.tokens);
        Ok(Self { submission: options.submission()?, script_tokens, limit: options.task_limit })
    }

    /// Runs one task; `watch` was started when it was due.
    pub(crate) async fn task(&self, session: &Session, watch: Stopwatch, tally: &Tally) {
        let mut seen = Seen {
            ack: None,
            first_text: None,
            last_text: None,
            total: None,
            check: Check::new(self.script_tokens),
            failure: None,
        };
        let outcome = timeout(self.limit, seen.run(session, self.submission.clone(), watch)).await;
        let reason = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(SessionError::Refused(error))) => Some(error.code),
            Ok(Err(other)) => Some(other.to_string()),
            Err(_) => Some(format!("no end within {} s", self.limit.as_secs())),
        };
        seen.failure = reason.map(|reason| match seen.ack {
            None => Failure::Refused(reason),
            Some(_) => Failure::Unfinished(reason),
        });
        tally.task(&seen);
    }
}

impl Seen {
    async fn run(&mut self, session: &Session, task: Submission, watch: Stopwatch) -> Result<(), SessionError> {
        let mut submitted = session.submit(task).await?;
        self.ack = Some(watch.elapsed());
        self.read(&mut submitted.log, watch).await
    }

    async fn read(&mut self, log: &mut Follow, watch: Stopwatch) -> Result<(), SessionError> {
        while let Some(batch) = log.next().await {
            let batch = batch?;
            let now = watch.elapsed();
            if batch.starts_over {
                self.check.start_over();
            }
            let Ok(events) = batch.events() else { continue };
            for event in &events {
                if self.check.event(event) {
                    self.first_text.get_or_insert(now);
                    self.last_text = Some(now);
                }
            }
            if self.check.end().is_some() {
                self.total.get_or_insert(now);
            }
        }
        // Reading goes on after the `end` event, until the server says that the log has ended: an event after
        // its end would be seen.
        Ok(())
    }
}
