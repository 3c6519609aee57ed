//! What an answer's head tells of its task: which it is, who answered, how long it took and what it cost.

use crate::transport::tasks::task_header;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use tidewire_core::cache::{Source, Told};
use tidewire_core::{Ending, Event, Kind, Task, Timestamp};

const DEPLOYMENT: HeaderName = HeaderName::from_static("tidewire-deployment");
const QUEUE_MS: HeaderName = HeaderName::from_static("tidewire-queue-ms");
const TTFT_MS: HeaderName = HeaderName::from_static("tidewire-ttft-ms");
const TOTAL_MS: HeaderName = HeaderName::from_static("tidewire-total-ms");
const COST: HeaderName = HeaderName::from_static("tidewire-cost-usd");
const CACHE: HeaderName = HeaderName::from_static("tidewire-cache");
const CACHE_REASON: HeaderName = HeaderName::from_static("tidewire-cache-reason");
const CACHE_SIMILARITY: HeaderName = HeaderName::from_static("tidewire-cache-similarity");
const ATTEMPTS: HeaderName = HeaderName::from_static("tidewire-attempts");

/// What was heard of one task by now.
pub(in crate::transport) struct Head {
    headers: HeaderMap,
    submitted_at: Timestamp,
    /// Its route keeps or shares answers.
    shares: bool,
    began: bool,
    said: bool,
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow, default)]
    deployment: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    cache: Option<Told>,
}

impl Head {
    /// Of a task that was taken, beside what else is to be said.
    pub(in crate::transport) fn new(task: &Task, mut headers: HeaderMap) -> Self {
        headers.extend([task_header(task.id)]);
        Self { headers, submitted_at: task.submitted_at, shares: task.spec.cache.is_some(), began: false, said: false }
    }

    /// Whether the model has said something.
    pub(in crate::transport) fn has_said(&self) -> bool {
        self.said
    }

    /// Takes note of an event.
    pub(in crate::transport) fn hear(&mut self, event: &Event) {
        match event.kind {
            Kind::Started => {
                // The last one counts: an earlier one failed before its first word.
                if let Ok(Started { deployment: Some(name), cache }) = serde_json::from_slice(&event.data) {
                    self.set(DEPLOYMENT, &name);
                    self.came_from(cache);
                }
                if !std::mem::replace(&mut self.began, true) {
                    self.since(QUEUE_MS, event.at);
                }
            }
            Kind::Text | Kind::Reasoning | Kind::ToolCall if !self.said => {
                self.said = true;
                self.since(TTFT_MS, event.at);
            }
            Kind::End => {
                self.since(TOTAL_MS, event.at);
                if let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) {
                    self.end(&ending);
                }
            }
            _ => {}
        }
    }

    /// Where the answer came from. Its age is HTTP's own: whole seconds.
    fn came_from(&mut self, told: Option<Told>) {
        let state = told.as_ref().map_or(Source::Miss, |told| told.state);
        if told.is_some() || self.shares {
            self.headers.insert(CACHE, HeaderValue::from_static(state.name()));
        }
        if let Some(Told { age_ms, reason, semantic, .. }) = told.filter(|_| state != Source::Joined) {
            self.headers.insert(header::AGE, HeaderValue::from(age_ms / 1000));
            if let Some(reason) = reason {
                self.set(CACHE_REASON, &reason);
            }
            if let Some(semantic) = semantic {
                self.set(CACHE_SIMILARITY, &format!("{:.4}", semantic.similarity.cosine()));
            }
        }
    }

    fn end(&mut self, ending: &Ending) {
        if let Some(deployment) = &ending.deployment {
            self.set(DEPLOYMENT, deployment);
        }
        self.set(COST, &format!("{:.9}", ending.usage.cost.dollars()));
        self.headers.insert(ATTEMPTS, HeaderValue::from(ending.attempts));
    }

    fn since(&mut self, name: HeaderName, at: Timestamp) {
        let millis = u64::try_from(at.since(self.submitted_at).as_millis()).unwrap_or(u64::MAX);
        self.headers.insert(name, HeaderValue::from(millis));
    }

    /// A value that can't stand in a head is left out.
    fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// The head.
    pub(in crate::transport) fn into_headers(self) -> HeaderMap {
        self.headers
    }
}
