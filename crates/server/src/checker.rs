//! Asks a checker over HTTP whether a text may pass: `POST` with `stage`, `task`, `route`, `tenant` and `text`, answered by
//! `{"allow": ..., "reason"?, "replacement"?}`.

use crate::config::CheckerConfig;
use crate::outgoing::{Outgoing, SystemLookup};
use async_trait::async_trait;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TenantId;
use tidewire_core::port::{CheckError, Checker, Opinion, Question};
use tokio::sync::Semaphore;

/// The largest opinion: a replacement as long as the longest text that is asked about.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// The longest reason that is told to a client.
const MAX_REASON_CHARS: usize = 200;

/// A tenant's name, by its number.
pub(crate) type Names = Arc<dyn Fn(TenantId) -> String + Send + Sync>;

/// A checker at a URL.
pub(crate) struct HttpChecker {
    outgoing: Outgoing,
    url: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    /// Questions at once; a further one waits, within its time.
    places: Semaphore,
    names: Names,
}

#[derive(Serialize)]
struct Asked<'a> {
    stage: &'static str,
    task: String,
    route: &'a str,
    tenant: String,
    text: &'a str,
}

#[derive(Deserialize)]
struct Answered {
    allow: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    replacement: Option<String>,
}

impl HttpChecker {
    /// `key`: sent as a bearer token.
    pub(crate) fn new(
        config: &CheckerConfig,
        key: Option<&str>,
        allow: &[String],
        names: Names,
    ) -> Result<Self, String> {
        let outgoing = Outgoing::new(allow, &config.url, Arc::new(SystemLookup))?;
        let authorization = key.map(|key| HeaderValue::from_str(&format!("Bearer {key}"))).transpose();
        let mut authorization = authorization.map_err(|_| "the checker's key can't be sent in a header".to_owned())?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self {
            outgoing,
            url: config.url.clone(),
            authorization,
            timeout: Duration::from_millis(config.timeout_ms),
            places: Semaphore::new(config.concurrency),
            names,
        })
    }

    async fn ask(&self, question: &Question) -> Result<Opinion, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let asked = Asked {
            stage: question.stage.name(),
            task: question.task.task.to_string(),
            route: &question.route,
            tenant: (self.names)(question.task.tenant),
            text: &question.text,
        };
        let mut request = self.outgoing.request(http::Method::POST, &self.url)?.json(&asked);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = request.send().await.map_err(failed)?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("it answered with the status {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(format!("its answer has more than {MAX_ANSWER_BYTES} bytes"));
            }
        }
        // What it says is not repeated: it may repeat the text.
        let answered: Answered = serde_json::from_slice(&body).map_err(|_| "its answer is no opinion".to_owned())?;
        let reason = answered.reason.map(|reason| reason.chars().take(MAX_REASON_CHARS).collect());
        Ok(Opinion { allow: answered.allow, reason, replacement: answered.replacement })
    }
}

#[async_trait]
impl Checker for HttpChecker {
    async fn check(&self, question: Question) -> Result<Opinion, CheckError> {
        match tokio::time::timeout(self.timeout, self.ask(&question)).await {
            Ok(opinion) => opinion.map_err(|reason| CheckError { reason }),
            Err(_) => Err(CheckError { reason: format!("none within {} ms", self.timeout.as_millis()) }),
        }
    }
}
