//! The HTTP client: one pool of connections to one upstream, and a time limit on each phase of a request.

use super::body::{self, MAX_ERROR_BYTES, root};
use super::secret::Secret;
use super::settings::Auth;
use super::tls::connector;
use super::{BadSettings, Settings, limits, refusal};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault, Timeouts, UpstreamLimit};
use tidewire_core::trace::Header as Trace;
use tokio::time::Sleep;

/// How many idle connections are kept: about as many as one upstream runs at once. More are made when needed.
const MAX_IDLE_CONNECTIONS: usize = 512;
/// For how long: below the 60 s after which common load balancers forget a connection without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// How long an error's body or the list of models may take: an upstream sends both from memory.
const SHORT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// In what form an answer is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// As it is said.
    Events,
    /// In one piece.
    Document,
}

/// An upstream and the connections to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pooled: Http,
    /// Makes a connection for each request.
    fresh: Http,
    base: Uri,
    headers: HeaderMap,
    secret: Secret,
}

impl Upstream {
    /// The fixed headers are those that the kind of API asks for.
    pub(crate) fn new(
        settings: &Settings,
        auth: Auth,
        fixed: &[(&'static str, &'static str)],
    ) -> Result<Self, BadSettings> {
        let base = settings.base()?;
        let secret = Secret::new(settings.key.as_deref());
        let headers = settings.headers(&secret, auth, fixed)?;
        let connector = connector(base.scheme_str() == Some("https"))?;
        let client = |idle_connections| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle_connections)
                .build(connector.clone())
        };
        Ok(Self { pooled: client(MAX_IDLE_CONNECTIONS), fresh: client(0), base, headers, secret })
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The URL of a path below the base, and of a query beside the base's own (`?api-version=...`).
    pub(crate) fn at(&self, path: &str, query: &str) -> Result<Uri, BadSettings> {
        below(&self.base, path, query)
    }

    /// Asks, and returns when the head of an answer with status 200 is there. Any other is an error.
    pub(crate) async fn post(
        &self,
        uri: &Uri,
        (wanted, trace): (Wanted, Option<&Trace>),
        body: Bytes,
        connect: Duration,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Response<Incoming>, BackendError> {
        let mut request = self.request(Method::POST, uri, body);
        let accept = match wanted {
            Wanted::Events => "text/event-stream",
            Wanted::Document => "application/json",
        };
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(trace) = trace {
            request.headers_mut().extend(trace_headers(trace));
        }
        self.accepted(self.send(request, connect, deadline).await?).await
    }

    /// Asks and reads the answer whole, which is at most so long.
    pub(crate) async fn ask(
        &self,
        uri: &Uri,
        body: Bytes,
        limit_bytes: usize,
        timeouts: Timeouts,
    ) -> Result<(Vec<u8>, Vec<UpstreamLimit>), BackendError> {
        let mut deadline = Box::pin(tokio::time::sleep(timeouts.first_token));
        let answer = self.post(uri, (Wanted::Document, None), body, timeouts.connect, deadline.as_mut()).await?;
        let limits = limits::read(answer.headers());
        Ok((body::read(answer.into_body(), limit_bytes, deadline.as_mut()).await?, limits))
    }

    /// Reads a list that the upstream has ready.
    pub(crate) async fn list(&self, uri: &Uri, limit_bytes: usize) -> Result<Vec<u8>, BackendError> {
        let mut deadline = Box::pin(tokio::time::sleep(SHORT_ANSWER_TIMEOUT));
        let request = self.request(Method::GET, uri, Bytes::new());
        let answer = self.send(request, Timeouts::default().connect, deadline.as_mut()).await?;
        body::read(self.accepted(answer).await?.into_body(), limit_bytes, deadline.as_mut()).await
    }

    async fn accepted(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, BackendError> {
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let mut deadline = Box::pin(tokio::time::sleep(SHORT_ANSWER_TIMEOUT));
        // The status tells enough where the body does not come.
        let body = body::read(body, MAX_ERROR_BYTES, deadline.as_mut()).await.unwrap_or_default();
        Err(refusal::by_status(head.status, &head.headers, &body, &self.secret))
    }

    fn request(&self, method: Method, uri: &Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// An upstream may close an idle connection in the moment in which it is used again; llama.cpp does so after
    /// every stream. So where a connection ends without a byte of an answer, the request goes out once more, on
    /// one that nobody has used.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        connect: Duration,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<Response<Incoming>, BackendError> {
        match send(&self.pooled, request.clone(), connect, deadline.as_mut()).await {
            Err(Unsent::Closed(_)) => send(&self.fresh, request, connect, deadline).await,
            sent => sent,
        }
        .map_err(Unsent::into_error)
    }
}

/// A trace's context as W3C Trace Context has it. It was checked when it came, so that it can stand in a head.
fn trace_headers(trace: &Trace) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let header =
        |name: &'static str, value: &str| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
    let state = trace.state.as_deref().and_then(|state| header("tracestate", state));
    header("traceparent", &trace.parent).into_iter().chain(state)
}

/// Why there is no answer.
enum Unsent {
    /// The connection ended before the first byte of one.
    Closed(legacy::Error),
    /// The client gave up.
    Failed(legacy::Error),
    /// No connection in time.
    NotConnected,
    /// No answer in time.
    TimedOut,
}

async fn send(
    client: &Http,
    mut request: Request<Full<Bytes>>,
    connect: Duration,
    deadline: Pin<&mut Sleep>,
) -> Result<Response<Incoming>, Unsent> {
    let mut connection = capture_connection(&mut request);
    let not_connected = async {
        if tokio::time::timeout(connect, connection.wait_for_connection_metadata()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        answer = client.request(request) => answer.map_err(Unsent::from),
        () = not_connected => Err(Unsent::NotConnected),
        () = deadline => Err(Unsent::TimedOut),
    }
}

impl From<legacy::Error> for Unsent {
    fn from(error: legacy::Error) -> Self {
        let closed = error.source().and_then(|source| source.downcast_ref::<hyper::Error>()).is_some_and(|error| {
            let system = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
            let reset = matches!(system, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
            reset || error.is_incomplete_message() || error.is_canceled() || error.is_closed()
        });
        if closed && !error.is_connect() { Self::Closed(error) } else { Self::Failed(error) }
    }
}

impl Unsent {
    fn into_error(self) -> BackendError {
        match self {
            Self::Failed(error) if error.is_connect() => {
                BackendError::new(Fault::Unreachable, format!("no connection to the upstream: {}", root(&error)))
            }
            Self::Closed(error) | Self::Failed(error) => {
                BackendError::new(Fault::Broken, format!("the upstream gave no answer: {}", root(&error)))
            }
            Self::NotConnected => {
                BackendError::new(Fault::Unreachable, "the upstream took too long to accept a connection")
            }
            Self::TimedOut => BackendError::new(Fault::TimedOut, "the upstream took too long to begin its answer"),
        }
    }
}

/// The base URL with a path below its own; a query in it stays.
fn below(base: &Uri, path: &str, query: &str) -> Result<Uri, BadSettings> {
    let queries: Vec<_> = base.query().into_iter().chain([query]).filter(|query| !query.is_empty()).collect();
    let mark = if queries.is_empty() { "" } else { "?" };
    let whole = format!("{}{path}{mark}{}", base.path().trim_end_matches('/'), queries.join("&"));
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| BadSettings::Url)?);
    Uri::from_parts(parts).map_err(|_| BadSettings::Url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, key: Option<&str>) -> Settings {
        Settings { url: url.to_owned(), key: key.map(str::to_owned), headers: Vec::new() }
    }

    fn upstream(url: &str, key: Option<&str>) -> Result<Upstream, BadSettings> {
        Upstream::new(&settings(url, key), Auth::Bearer, &[])
    }

    #[test]
    fn paths_go_below_the_base() {
        let chat = |base| upstream(base, None).unwrap().at("/chat/completions", "").unwrap().to_string();
        assert_eq!(chat("http://h:1/v1"), "http://h:1/v1/chat/completions");
        assert_eq!(chat("http://h/v1/"), "http://h/v1/chat/completions");
        assert_eq!(chat("http://h"), "http://h/chat/completions");
        assert_eq!(chat("http://h/openai?api-version=1"), "http://h/openai/chat/completions?api-version=1");
        let both = upstream("http://h?a=1", None).unwrap().at("/x", "b=2").unwrap();
        assert_eq!(both.to_string(), "http://h/x?a=1&b=2");
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for base in ["", "h/v1", "ftp://h", "/v1", "http://user:secret@h/v1"] {
            let refused = upstream(base, None).unwrap_err();
            assert!(matches!(refused, BadSettings::Url), "{base}: {refused}");
            assert!(!format!("{refused:?} {refused}").contains("secret"));
        }
        assert!(matches!(upstream("http://h", Some("a\nb")), Err(BadSettings::Key)));
        for name in ["a b", "Host", "content-length"] {
            let mut settings = settings("http://h", None);
            settings.headers.push((name.to_owned(), "x".to_owned()));
            assert!(matches!(Upstream::new(&settings, Auth::Bearer, &[]), Err(BadSettings::Header(_))), "{name}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let mut settings = settings("http://h/v1", Some("sk-very-secret"));
        settings.headers.push(("x-more".to_owned(), "very much".to_owned()));
        for auth in [Auth::Bearer, Auth::Header("x-api-key")] {
            let upstream = Upstream::new(&settings, auth, &[]).unwrap();
            assert!(!format!("{settings:?} {upstream:?}").contains("very"), "{upstream:?}");
            assert_eq!(upstream.secret.redact("bad key sk-very-secret!"), "bad key [the key]!");
        }
    }
}
