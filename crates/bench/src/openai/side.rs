//! One endpoint under load: its connections, and what was seen of its answers.

use super::answer::Answer;
use super::connection::Connection;
use super::options::{Options, Target};
use super::report::Answered;
use crate::run::Error;
use crate::tally::Timings;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_client::Stopwatch;
use tokio::time::timeout;

/// Kinds of failure that are told apart.
const REASONS: usize = 20;

pub(super) struct Side {
    pub(super) target: Target,
    request: Bytes,
    stream: bool,
    limit: Duration,
    idle: Mutex<Vec<Connection>>,
    sums: Mutex<Sums>,
}

/// What was seen of all answers.
#[derive(Clone)]
pub(super) struct Sums {
    pub(super) first_token: Timings,
    pub(super) per_token: Timings,
    pub(super) total: Timings,
    pub(super) refused: Timings,
    pub(super) answered: Answered,
    pub(super) tokens: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

impl Sums {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            first_token: Timings::new()?,
            per_token: Timings::new()?,
            total: Timings::new()?,
            refused: Timings::new()?,
            answered: Answered::default(),
            tokens: 0,
            reasons: BTreeMap::new(),
        })
    }
}

/// How a request ended.
enum Outcome {
    Done,
    Refused(String),
    Failed(String),
}

impl Side {
    pub(super) fn new(target: &Target, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            target: target.clone(),
            request: request(target, options)?,
            stream: options.stream,
            limit: options.limit,
            idle: Mutex::new(Vec::new()),
            sums: Mutex::new(Sums::new()?),
        })
    }

    /// Asks once; `watch` was started when the request was due.
    pub(super) async fn once(&self, watch: Stopwatch) {
        let mut answer = Answer::default();
        let asked = timeout(self.limit, self.ask(&mut answer, watch)).await;
        let outcome = match asked {
            Err(_) => Outcome::Failed("no_end".to_owned()),
            Ok(Err(error)) => Outcome::Failed(name(&error)),
            Ok(Ok(429)) => Outcome::Refused(answer.refusal(429)),
            Ok(Ok(200)) => answer.fault().map_or(Outcome::Done, Outcome::Failed),
            Ok(Ok(status)) => Outcome::Failed(answer.refusal(status)),
        };
        self.record(&answer, outcome, watch.elapsed());
    }

    async fn ask(&self, answer: &mut Answer, watch: Stopwatch) -> io::Result<u16> {
        let idle = lock(&self.idle).pop();
        let (mut connection, status) = match idle {
            Some(mut connection) => match connection.ask(&self.request).await {
                Ok(status) => (connection, status),
                // A server may close an idle connection in the moment in which it is used again.
                Err(_) => self.ask_afresh().await?,
            },
            None => self.ask_afresh().await?,
        };
        while let Some(piece) = connection.piece().await? {
            if self.stream && status == 200 {
                answer.events(&piece, watch.elapsed());
            } else {
                answer.document(&piece);
            }
        }
        if status == 200 && !self.stream {
            answer.end_document(watch.elapsed());
        }
        if connection.is_reusable() {
            lock(&self.idle).push(connection);
        }
        Ok(status)
    }

    async fn ask_afresh(&self) -> io::Result<(Connection, u16)> {
        let mut connection = Connection::open(&self.target.base).await?;
        let status = connection.ask(&self.request).await?;
        Ok((connection, status))
    }

    fn record(&self, answer: &Answer, outcome: Outcome, took: Duration) {
        let mut sums = lock(&self.sums);
        let sums = &mut *sums;
        sums.tokens += answer.tokens();
        let reason = match outcome {
            Outcome::Done => {
                sums.answered.done += 1;
                sums.total.record(took);
                if let Some((first, _)) = answer.span {
                    sums.first_token.record(first);
                }
                if let Some(per_token) = answer.per_token() {
                    sums.per_token.record(per_token);
                }
                return;
            }
            Outcome::Refused(reason) => {
                sums.answered.refused += 1;
                sums.refused.record(took);
                reason
            }
            Outcome::Failed(reason) => {
                sums.answered.failed += 1;
                reason
            }
        };
        if sums.reasons.len() < REASONS || sums.reasons.contains_key(&reason) {
            *sums.reasons.entry(reason).or_default() += 1;
        }
    }

    /// A request was due and was not begun, because too many were under way.
    pub(super) fn not_begun(&self) {
        lock(&self.sums).answered.not_begun += 1;
    }

    pub(super) fn sums(&self) -> Sums {
        lock(&self.sums).clone()
    }

    /// Forgets what was seen: the connections stay.
    pub(super) fn forget(&self) -> Result<(), Error> {
        *lock(&self.sums) = Sums::new()?;
        Ok(())
    }
}

/// The request's bytes, head and body.
fn request(target: &Target, options: &Options) -> Result<Bytes, Error> {
    let mut body = serde_json::json!({
        "model": options.model, "messages": [{"role": "user", "content": options.prompt}], "stream": options.stream,
    });
    if options.stream {
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    if let Some(tokens) = options.tokens {
        body["max_tokens"] = tokens.into();
    }
    let body = serde_json::to_string(&body)?;
    let url = target.base.url();
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or_default();
    let (host, port) = (target.base.host(), target.base.port());
    let key = target.key.as_ref().map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
    if key.trim_end().contains(['\r', '\n']) {
        return Err(Error::Load("a key has no line breaks"));
    }
    let length = body.len();
    Ok(Bytes::from(format!(
        "POST {path}/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n{key}\
         content-length: {length}\r\n\r\n{body}"
    )))
}

fn name(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection_reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection_cut".to_owned(),
        _ => error.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A request that panicked has lost itself, not the sums of the others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
