//! The HTTP face: one request, one answer.

mod admin;
mod files;

pub use files::NewFile;

use crate::endpoint::Endpoint;
use bytes::Bytes;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::io;
use std::time::Duration;
use tidewire_proto::admin::{PurgeBody, Purged};
use tidewire_proto::batch::{BatchAccepted, BatchList, BatchPart, BatchSubmission, BatchView};
use tidewire_proto::feedback::{Feedback, NewFeedback};
use tidewire_proto::http::{Accepted, Ready, RetriedLetters, RetryLetters, TaskList};
use tidewire_proto::routes::{Reloaded, RouteList};
use tidewire_proto::trace::TraceView;
use tidewire_proto::usage::UsageReport;
use tidewire_proto::{Code, ErrorBody, Submission, TaskView, WireError};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer may take that waits for nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How much of a body that is no error of ours is shown.
const SHOWN_CHARS: usize = 200;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing listens there.
    #[error("no server at {url}: start one with `tidewire serve`")]
    NoServer {
        /// The server's address.
        url: String,
    },
    /// The server said no.
    #[error("{} ({})", .error.message, .error.code)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's code and words.
        error: WireError,
    },
    /// The answer stopped coming.
    #[error("{url} says nothing any more")]
    Silent {
        /// The server's address.
        url: String,
    },
    /// The network, the name, the certificate, or an answer that can't be read.
    #[error("can't talk to {url}: {source}")]
    Broken {
        /// The server's address.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `queued`, `running`, `done`, `failed`, `stopped`; several with commas.
    pub state: Option<String>,
    /// The public model name.
    pub model: Option<String>,
    /// How many; 20 unless told otherwise.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
    /// Only children of this task.
    pub parent: Option<String>,
    /// Only tasks of this batch.
    pub batch: Option<String>,
    /// Only tasks of this lane.
    pub lane: Option<String>,
    /// Only those that failed with this code.
    pub code: Option<String>,
}

impl Filter {
    fn query(&self) -> String {
        let mut query = Query::default();
        query.add("state", self.state.as_deref());
        query.add("model", self.model.as_deref());
        query.add("limit", self.limit.map(|limit| limit.to_string()).as_deref());
        query.add("cursor", self.cursor.as_deref());
        query.add("parent", self.parent.as_deref());
        query.add("batch", self.batch.as_deref());
        query.add("lane", self.lane.as_deref());
        query.add("code", self.code.as_deref());
        query.0
    }
}

/// Rows of usage that are asked for at once: as many as the server gives.
const USAGE_ROWS: &str = "10000";

/// Where an answer in CSV names its next page.
const USAGE_NEXT: &str = "tidewire-next";

/// Which usage, and how it is summed up.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// The first day, `2026-11-01`.
    pub from: Option<String>,
    /// The last day.
    pub to: Option<String>,
    /// Some of `day`, `tenant`, `key`, `user`, `route`, `deployment`, with commas.
    pub group_by: Option<String>,
    /// Another tenant's, or `all`.
    pub tenant: Option<String>,
}

impl UsageFilter {
    fn path(&self, format: &str, cursor: Option<&str>) -> String {
        let mut query = Query::default();
        query.add("format", Some(format));
        query.add("from", self.from.as_deref());
        query.add("to", self.to.as_deref());
        query.add("group_by", self.group_by.as_deref());
        query.add("tenant", self.tenant.as_deref());
        query.add("limit", Some(USAGE_ROWS));
        query.add("cursor", cursor);
        format!("/v1/usage{}", query.0)
    }
}

/// A server's HTTP face. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    base: String,
}

impl Http {
    /// A client of this server. It connects when it is used.
    pub fn new(endpoint: &Endpoint) -> Result<Self, HttpError> {
        // An error says that the process has chosen its cryptography before us: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = endpoint.url().to_owned();
        // No proxy, as the WebSocket has none: both must reach the same server.
        let headers = endpoint.key().map(|key| (AUTHORIZATION, key.clone())).into_iter().collect();
        let builder = reqwest::Client::builder().default_headers(headers);
        let client = builder.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true).no_proxy().build();
        match client {
            Ok(client) => Ok(Self { client, base }),
            Err(source) => Err(HttpError::Broken { url: base, source }),
        }
    }

    /// Submits a task.
    pub async fn submit(&self, task: &Submission) -> Result<Accepted, HttpError> {
        self.json(self.request(Method::POST, "/v1/tasks").json(task)).await
    }

    /// What was used and what it cost: all pages.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<UsageReport, HttpError> {
        let mut report: UsageReport = self.json(self.request(Method::GET, &filter.path("json", None))).await?;
        while let Some(cursor) = report.next.take() {
            let page: UsageReport = self.json(self.request(Method::GET, &filter.path("json", Some(&cursor)))).await?;
            report.rows.extend(page.rows);
            report.next = page.next;
        }
        Ok(report)
    }

    /// The same as CSV.
    pub async fn usage_csv(&self, filter: &UsageFilter) -> Result<String, HttpError> {
        let (mut text, mut cursor) = (String::new(), None);
        loop {
            let response = self.send(self.request(Method::GET, &filter.path("csv", cursor.as_deref()))).await?;
            cursor = response.headers().get(USAGE_NEXT).and_then(|next| next.to_str().ok()).map(str::to_owned);
            let page = response.text().await.map_err(|source| self.broken(source))?;
            // Each page begins with the header.
            let rows = if text.is_empty() { &page[..] } else { page.split_once('\n').map_or("", |(_, rows)| rows) };
            text.push_str(rows);
            if cursor.is_none() {
                return Ok(text);
            }
        }
    }

    /// A task's record.
    pub async fn task(&self, id: &str) -> Result<TaskView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/tasks/{}", segment(id)))).await
    }

    /// A task's story as spans.
    pub async fn trace(&self, id: &str) -> Result<TraceView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/tasks/{}/trace", segment(id)))).await
    }

    /// A page of tasks, newest first.
    pub async fn tasks(&self, filter: &Filter) -> Result<TaskList, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/tasks{}", filter.query()))).await
    }

    /// Submits many tasks at once.
    pub async fn submit_batch(&self, batch: &BatchSubmission) -> Result<BatchAccepted, HttpError> {
        self.json(self.request(Method::POST, "/v1/tasks/batch").json(batch)).await
    }

    /// How far a batch has come.
    pub async fn batch(&self, id: &str) -> Result<BatchView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/tasks/batch/{}", segment(id)))).await
    }

    /// A page of batches, oldest first.
    pub async fn batches(&self, limit: Option<u32>, cursor: Option<&str>) -> Result<BatchList, HttpError> {
        let mut query = Query::default();
        query.add("limit", limit.map(|limit| limit.to_string()).as_deref());
        query.add("cursor", cursor);
        self.json(self.request(Method::GET, &format!("/v1/tasks/batch{}", query.0))).await
    }

    /// Stops a batch, or the part of it that is named.
    pub async fn stop_batch(&self, id: &str, part: &BatchPart) -> Result<BatchView, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/tasks/batch/{}/stop", segment(id))).json(part)).await
    }

    /// Tries a batch's failed tasks again, or those of them that are named, as a batch of its own.
    pub async fn retry_batch(&self, id: &str, part: &BatchPart) -> Result<BatchAccepted, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/tasks/batch/{}/retry", segment(id))).json(part)).await
    }

    /// A page of dead letters, newest first: tasks that failed and were not tried again.
    pub async fn dead_letters(&self, filter: &Filter) -> Result<TaskList, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/dead-letters{}", filter.query()))).await
    }

    /// Tries dead letters again.
    pub async fn retry_letters(&self, letters: &RetryLetters) -> Result<RetriedLetters, HttpError> {
        self.json(self.request(Method::POST, "/v1/dead-letters/retry").json(letters)).await
    }

    /// Tries one dead letter again. Asked twice, it gives the same task.
    pub async fn retry(&self, id: &str) -> Result<Accepted, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/tasks/{}/retry", segment(id)))).await
    }

    /// A task's record with its input.
    pub async fn task_with_input(&self, id: &str) -> Result<TaskView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/tasks/{}?input=true", segment(id)))).await
    }

    /// Says what one thinks of a task's answer.
    pub async fn judge(&self, id: &str, feedback: &NewFeedback) -> Result<Feedback, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/tasks/{}/feedback", segment(id))).json(feedback)).await
    }

    /// Stops a task, and waits for its end, two seconds at most.
    pub async fn stop(&self, id: &str) -> Result<TaskView, HttpError> {
        self.json(self.request(Method::POST, &format!("/v1/tasks/{}/stop", segment(id)))).await
    }

    /// A task's text so far. With `wait`, the server waits so long for the task to end.
    pub async fn text(&self, id: &str, wait: Option<Duration>) -> Result<String, HttpError> {
        let mut query = Query::default();
        query.add("wait_ms", wait.map(|wait| wait.as_millis().to_string()).as_deref());
        let request = self.request(Method::GET, &format!("/v1/tasks/{}/text{}", segment(id), query.0));
        self.plain(request.timeout(ANSWER_LIMIT + wait.unwrap_or_default())).await
    }

    /// Whether the server takes work, and what it promises. A server that takes none is no error here.
    pub async fn ready(&self) -> Result<Ready, HttpError> {
        let response = self.send(self.request(Method::GET, "/readyz")).await?;
        if response.status().as_u16() == 503 {
            return self.read(response).await;
        }
        self.read(self.accepted(response).await?).await
    }

    /// The public models, as OpenAI lists them.
    pub async fn models(&self) -> Result<serde_json::Value, HttpError> {
        self.json(self.request(Method::GET, "/v1/models")).await
    }

    /// The routes, and how their deployments are.
    pub async fn routes(&self) -> Result<RouteList, HttpError> {
        self.json(self.request(Method::GET, "/v1/routes")).await
    }

    /// Lets the server read its configuration again.
    pub async fn reload(&self) -> Result<Reloaded, HttpError> {
        self.json(self.request(Method::POST, "/v1/admin/reload")).await
    }

    /// Lets the server forget kept answers.
    pub async fn purge_cache(&self, which: &PurgeBody) -> Result<Purged, HttpError> {
        self.json(self.request(Method::POST, "/v1/admin/cache/purge").json(which)).await
    }

    /// The server's metrics, as Prometheus text.
    pub async fn metrics(&self) -> Result<String, HttpError> {
        self.plain(self.request(Method::GET, "/metrics")).await
    }

    /// A backup of the server's data, as it comes.
    pub async fn backup(&self) -> Result<Download, HttpError> {
        // No limit on the whole: it takes as long as the data is large. Each piece has one.
        let asking = self.client.post(format!("{}/v1/backup", self.base)).send();
        let response = asking.await.map_err(|source| self.broken(source))?;
        Ok(Download { response: self.accepted(response).await?, of: self.clone() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(ANSWER_LIMIT)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, HttpError> {
        let response = self.accepted(self.send(request).await?).await?;
        self.read(response).await
    }

    async fn plain(&self, request: RequestBuilder) -> Result<String, HttpError> {
        let response = self.accepted(self.send(request).await?).await?;
        response.text().await.map_err(|source| self.broken(source))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, HttpError> {
        request.send().await.map_err(|source| self.broken(source))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, HttpError> {
        response.json().await.map_err(|source| self.broken(source))
    }

    async fn accepted(&self, response: Response) -> Result<Response, HttpError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.map_err(|source| self.broken(source))?;
        let foreign = || {
            let shown: String = body.chars().take(SHOWN_CHARS).collect();
            WireError::new(Code::Internal, format!("HTTP {status}: {shown}"))
        };
        let error = serde_json::from_str(&body).map_or_else(|_| foreign(), |body: ErrorBody| body.error);
        Err(HttpError::Refused { status: status.as_u16(), error })
    }

    fn broken(&self, source: reqwest::Error) -> HttpError {
        let url = self.base.clone();
        let mut cause: Option<&dyn std::error::Error> = source.source();
        while let Some(error) = cause {
            let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            if error.downcast_ref::<io::Error>().is_some_and(refused) {
                return HttpError::NoServer { url };
            }
            cause = error.source();
        }
        HttpError::Broken { url, source }
    }
}

/// A large answer, piece by piece.
#[derive(Debug)]
pub struct Download {
    response: Response,
    of: Http,
}

impl Download {
    /// The next piece; `None` at the end of a whole answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let piece = tokio::time::timeout(ANSWER_LIMIT, self.response.chunk()).await;
        let piece = piece.map_err(|_| HttpError::Silent { url: self.of.base.clone() })?;
        piece.map_err(|source| self.of.broken(source))
    }
}

/// A query string that is written as it grows.
#[derive(Default)]
struct Query(String);

impl Query {
    fn add(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&segment(value));
        }
    }
}

/// One segment of a path or one value of a query, percent-encoded: an id comes from a user's keyboard.
fn segment(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(byte.into());
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_typed_stays_one_segment() {
        assert_eq!(segment("task_01k-x.y~z"), "task_01k-x.y~z");
        assert_eq!(segment("../a b?é"), "..%2Fa%20b%3F%C3%A9");
        let mut query = Query::default();
        query.add("state", Some("queued,running"));
        query.add("model", None);
        query.add("limit", Some("3"));
        assert_eq!(query.0, "?state=queued%2Crunning&limit=3");
    }
}
