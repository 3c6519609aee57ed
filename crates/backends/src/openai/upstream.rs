//! The HTTP client: one pool of connections to one upstream, and a time limit on each phase of a request.

use super::secret::Secret;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault};
use tokio::time::Sleep;

/// How many idle connections are kept: about as many as one upstream runs at once. More are made when needed.
const MAX_IDLE_CONNECTIONS: usize = 512;
/// For how long: below the 60 s after which common load balancers forget a connection without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// An upstream that thinks for minutes sends nothing: the system asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there can be no such upstream.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The base URL is none, or has a user name or a fragment in it.
    #[error("the base URL must be like https://host/v1, without a user name in it")]
    Url,
    /// The key has characters that no HTTP header can carry.
    #[error("the API key has characters that an HTTP header can't carry")]
    Key,
    /// There are no certificates to check the upstream's against.
    #[error("no certificates to check the upstream's against: install ca-certificates or set SSL_CERT_FILE")]
    Certificates(#[source] io::Error),
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An upstream and the connections to it.
#[derive(Debug)]
pub(super) struct Upstream {
    pooled: Http,
    /// Makes a connection for each request.
    fresh: Http,
    chat: Uri,
    models: Uri,
    headers: HeaderMap,
    secret: Secret,
}

impl Upstream {
    pub(super) fn new(base: &str, key: Option<&str>) -> Result<Self, BadSettings> {
        let base: Uri = base.parse().map_err(|_| BadSettings::Url)?;
        let encrypted = match base.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadSettings::Url),
        };
        if base.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(BadSettings::Url);
        }
        let secret = Secret::new(key);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidewire/", env!("CARGO_PKG_VERSION"))));
        if let Some(bearer) = secret.bearer().map_err(|_| BadSettings::Key)? {
            headers.insert(AUTHORIZATION, bearer);
        }
        let connector = connector(encrypted)?;
        let client = |idle_connections| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle_connections)
                .build(connector.clone())
        };
        Ok(Self {
            pooled: client(MAX_IDLE_CONNECTIONS),
            fresh: client(0),
            chat: below(&base, "/chat/completions")?,
            models: below(&base, "/models")?,
            headers,
            secret,
        })
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Asks for an answer, and returns when its head is there.
    pub(super) async fn chat(
        &self,
        body: Bytes,
        connect: Duration,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Response<Incoming>, BackendError> {
        let mut request = self.request(Method::POST, &self.chat, body);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.send(request, connect, deadline).await
    }

    /// Asks for the list of models, and returns when the answer's head is there.
    pub(super) async fn models(
        &self,
        connect: Duration,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Response<Incoming>, BackendError> {
        self.send(self.request(Method::GET, &self.models, Bytes::new()), connect, deadline).await
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

/// Reads a body whole. Longer than the limit, or later than the deadline, is an error.
pub(super) async fn read(
    mut body: Incoming,
    limit_bytes: usize,
    mut deadline: Pin<&mut Sleep>,
) -> Result<Vec<u8>, BackendError> {
    let mut whole = Vec::new();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = deadline.as_mut() => {
                return Err(BackendError::new(Fault::TimedOut, "the upstream took too long to end its answer"));
            }
        };
        let Some(frame) = frame else { return Ok(whole) };
        let data = frame.map_err(|error| broken_off(&error))?.into_data().unwrap_or_default();
        if whole.len() + data.len() > limit_bytes {
            let message = format!("the upstream's answer is longer than {limit_bytes} bytes");
            return Err(BackendError::new(Fault::Broken, message));
        }
        whole.extend_from_slice(&data);
    }
}

/// The connection ended in the middle of an answer.
pub(super) fn broken_off(error: &hyper::Error) -> BackendError {
    BackendError::new(Fault::Broken, format!("the upstream's answer broke off: {}", root(error)))
}

/// What went wrong at the bottom, where the layers above only say that something did.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

/// HTTP/1 over TCP, with TLS where the base URL asks for it. Never less than the base URL asks for.
fn connector(encrypted: bool) -> Result<HttpsConnector<HttpConnector>, BadSettings> {
    let mut tcp = HttpConnector::new();
    // A request is written in two pieces. Without this the second one waits 40 ms for an ack of the first.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.enforce_http(false);
    let provider = Arc::new(ring::default_provider());
    if encrypted {
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
        return Ok(tls.map_err(BadSettings::Certificates)?.https_only().enable_http1().wrap_connector(tcp));
    }
    // A machine without certificates can still reach an upstream that needs none: these are never looked at.
    let unused = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(unused).https_or_http().enable_http1().wrap_connector(tcp))
}

/// The base URL with a path below its own; a query in it stays (`?api-version=...`).
fn below(base: &Uri, path: &str) -> Result<Uri, BadSettings> {
    let query = base.query().map(|query| format!("?{query}")).unwrap_or_default();
    let whole = format!("{}{path}{query}", base.path().trim_end_matches('/'));
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| BadSettings::Url)?);
    Uri::from_parts(parts).map_err(|_| BadSettings::Url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_below_the_base() {
        let chat = |base| Upstream::new(base, None).map(|upstream| upstream.chat.to_string());
        assert_eq!(chat("http://h:1/v1").unwrap(), "http://h:1/v1/chat/completions");
        assert_eq!(chat("http://h/v1/").unwrap(), "http://h/v1/chat/completions");
        assert_eq!(chat("http://h").unwrap(), "http://h/chat/completions");
        assert_eq!(chat("http://h/openai?api-version=1").unwrap(), "http://h/openai/chat/completions?api-version=1");
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for base in ["", "h/v1", "ftp://h", "/v1", "http://user:secret@h/v1"] {
            let refused = Upstream::new(base, None).unwrap_err();
            assert!(matches!(refused, BadSettings::Url), "{base}: {refused}");
            assert!(!format!("{refused:?} {refused}").contains("secret"));
        }
        assert!(matches!(Upstream::new("http://h", Some("a\nb")), Err(BadSettings::Key)));
    }

    #[test]
    fn a_key_is_never_printed() {
        let upstream = Upstream::new("http://h/v1", Some("sk-very-secret")).unwrap();
        assert!(!format!("{upstream:?}").contains("very"), "{upstream:?}");
        assert_eq!(upstream.secret.redact("bad key sk-very-secret!"), "bad key [the key]!");
    }
}
