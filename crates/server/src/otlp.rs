//! Exports the stories of tasks that have ended to an OpenTelemetry collector: OTLP over HTTP, as JSON, which the protocol
//! has beside its binary form (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>) and which needs nothing that is not
//! here already.
//!
//! It reads what every reader can: the task's record and its log. So no request waits for it, and what it can't keep up with
//! is dropped and counted.

mod encode;
mod text;

use crate::telemetry::Metrics;
use encode::Resource;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use text::Said;
use tidewire_core::TaskRef;
use tidewire_core::port::{Clock, EventLog, TaskStore};
use tidewire_core::trace::{Story, each_event};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tasks that wait to be exported: some seconds of a busy server, while a collector restarts.
pub(crate) const QUEUE: usize = 4096;

/// Tasks that go in one request: a few hundred kilobytes.
const BATCH_TASKS: usize = 64;

/// What ends a batch early: a fifth of what a collector takes unless told otherwise.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How long the first task of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// How long a connection, and a whole request, may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// How often a batch is sent that a collector could not take for now, and the wait before the second time; it doubles. After
/// that the next batch's turn has come.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_secs(1);

/// The longest wait that a collector may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// What is set.
pub(crate) struct Settings {
    /// Where spans are sent.
    pub(crate) url: String,
    /// What goes with them: often a key. Marked as sensitive, so that none is printed.
    pub(crate) headers: HeaderMap,
    /// Prompts and answers go along.
    pub(crate) include_text: bool,
    /// Who runs the model of each deployment.
    pub(crate) providers: BTreeMap<String, &'static str>,
    /// This worker's name.
    pub(crate) instance: String,
}

/// What spans are made from, and where they go.
pub(crate) struct Exporter {
    settings: Settings,
    client: reqwest::Client,
    log: Arc<dyn EventLog>,
    tasks: Arc<dyn TaskStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// The last batch was not taken: told once, not with each.
    away: bool,
}

/// What becomes of a batch.
enum Sent {
    Taken,
    /// It may be taken later.
    Later(Option<Duration>, String),
    Refused(String),
}

impl Exporter {
    pub(crate) fn new(
        settings: Settings,
        (log, tasks): (Arc<dyn EventLog>, Arc<dyn TaskStore>),
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        // An error says that the process has chosen its cryptography before us: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: what goes along is for the address that the operator named.
        let none = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().connect_timeout(CONNECT).timeout(ANSWER).redirect(none).build()?;
        Ok(Self { settings, client, log, tasks, clock, metrics, away: false })
    }

    /// Exports what has ended, until the server closes; then what is left, without waiting for anything.
    pub(crate) async fn run(mut self, mut ended: mpsc::Receiver<TaskRef>, closing: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                first = ended.recv() => first,
                () = closing.cancelled() => return,
            };
            let Some(first) = first else { return };
            let mut batch = Batch::default();
            self.add(&mut batch, first).await;
            let mut linger = self.clock.sleep(LINGER);
            while !batch.is_full() {
                let next = tokio::select! {
                    biased;
                    next = ended.recv() => next,
                    () = &mut linger => None,
                    () = closing.cancelled() => None,
                };
                let Some(next) = next else { break };
                self.add(&mut batch, next).await;
            }
            self.send(batch, &closing).await;
        }
    }

    async fn add(&self, batch: &mut Batch, at: TaskRef) {
        // One that is gone already has no story any more.
        let Ok(Some(task)) = self.tasks.get(at).await else { return self.metrics.traces.dropped(1) };
        let mut story = Story::new(&task);
        let mut said = self.settings.include_text.then(Said::default);
        let read = each_event(&*self.log, at.log(), |event| {
            story.hear(event);
            if let Some(said) = &mut said {
                said.hear(event);
            }
        });
        if let Err(error) = read.await {
            tracing::debug!(task = %at.task, %error, "its story can't be read");
            return self.metrics.traces.dropped(1);
        }
        let attributes = said.map(|said| said.attributes(&task.spec.input)).unwrap_or_default();
        let trace = task.trace();
        for (index, span) in story.tell().iter().enumerate() {
            let extra = if index == 0 { attributes.as_slice() } else { &[] };
            batch.push(&encode::span(&trace, span, extra, &self.settings.providers));
        }
        batch.tasks += 1;
    }

    async fn send(&mut self, batch: Batch, closing: &CancellationToken) {
        let resource = Resource { instance: &self.settings.instance };
        let body = resource.around(&batch.spans);
        for tried in 1..=TRIES {
            let (wait, reason) = match self.post(body.clone()).await {
                Sent::Taken => {
                    self.metrics.traces.exported(batch.tasks);
                    if std::mem::take(&mut self.away) {
                        tracing::info!("the collector takes traces again");
                    }
                    return;
                }
                Sent::Later(wait, reason) => (Some(wait), reason),
                Sent::Refused(reason) => (None, reason),
            };
            let wait = wait.filter(|_| tried < TRIES && !closing.is_cancelled());
            let Some(wait) = wait else {
                self.metrics.traces.dropped(batch.tasks);
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(reason, "the collector takes no traces; they are dropped until it does");
                }
                return;
            };
            let wait = wait.unwrap_or(WAIT * 2_u32.pow(tried - 1)).min(MAX_WAIT);
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = closing.cancelled() => {}
            }
        }
    }

    async fn post(&self, body: String) -> Sent {
        let request = self.client.post(&self.settings.url).headers(self.settings.headers.clone());
        let answer = match request.header(CONTENT_TYPE, "application/json").body(body).send().await {
            Ok(answer) => answer,
            // Without the URL: an operator may have put a key into it.
            Err(error) => return Sent::Later(None, error.without_url().to_string()),
        };
        let status = answer.status();
        let wait = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        let passing = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        match status {
            status if status.is_success() => Sent::Taken,
            status if passing.contains(&status) => Sent::Later(wait.map(Duration::from_secs), format!("HTTP {status}")),
            status => Sent::Refused(format!("HTTP {status}")),
        }
    }
}

/// Spans of some tasks.
#[derive(Default)]
struct Batch {
    tasks: u64,
    /// JSON objects with commas between them.
    spans: String,
}

impl Batch {
    fn push(&mut self, span: &serde_json::Value) {
        if !self.spans.is_empty() {
            self.spans.push(',');
        }
        self.spans.push_str(&span.to_string());
    }

    fn is_full(&self) -> bool {
        self.tasks >= BATCH_TASKS as u64 || self.spans.len() >= BATCH_BYTES
    }
}
