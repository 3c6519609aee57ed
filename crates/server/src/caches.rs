//! Tells HTTP caches in front of the server to forget a public result: nginx and Varnish take a request of a method that the
//! operator chooses, at the path that they know it by.

use crate::config::PublicConfig;
use futures_util::future::{BoxFuture, join_all};
use http::header::ACCEPT;
use http::{HeaderName, Method, StatusCode};
use std::time::Duration;
use tidewire_edge::public::{Caches, Eviction};
use tidewire_proto::public::Evicted;

/// The most caches: each is asked for each form of a result.
const MAX_CACHES: usize = 16;

/// How long a cache may take to forget something: it looks into a table. Whoever withdraws a result waits so long at most.
const PATIENCE: Duration = Duration::from_secs(2);

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Both forms of a path without a suffix: a cache keeps them apart by what was accepted.
const FORMS: [&str; 2] = ["text/plain", "application/json"];

/// The caches that are set.
pub(crate) struct HttpCaches {
    client: reqwest::Client,
    urls: Vec<String>,
    method: Method,
}

impl HttpCaches {
    /// Those of the configuration.
    pub(crate) fn new(config: &PublicConfig) -> Result<Self, Box<dyn std::error::Error>> {
        // An error says that the process has chosen its cryptography before us: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if config.purge_urls.len() > MAX_CACHES {
            return Err(format!("`public.purge_urls` names at most {MAX_CACHES} caches").into());
        }
        let is_http = |url: &&String| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if let Some(url) = config.purge_urls.iter().find(|url| !is_http(url) || url.parse::<http::Uri>().is_err()) {
            return Err(format!("`public.purge_urls`: `{url}` is no http or https URL").into());
        }
        let method =
            config.purge_method.parse().map_err(|_| "`public.purge_method` is an HTTP method, such as PURGE")?;
        let none = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(none).no_proxy().build()?;
        let urls = config.purge_urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Self { client, urls, method })
    }

    /// All that one cache is asked.
    fn requests(&self, url: &str, what: &Eviction) -> Vec<reqwest::RequestBuilder> {
        let request = |path: &str| {
            self.client.request(self.method.clone(), format!("{url}{path}")).header(SURROGATE_KEY, &what.key)
        };
        if what.paths.is_empty() {
            return vec![request("/v1/public/")];
        }
        let one = |path: &String| match path.rsplit_once('.') {
            Some(_) => vec![request(path)],
            None => FORMS.map(|form| request(path).header(ACCEPT, form)).into(),
        };
        what.paths.iter().flat_map(one).collect()
    }
}

impl Caches for HttpCaches {
    fn evict(&self, what: Eviction) -> BoxFuture<'static, Vec<Evicted>> {
        let asked = self.urls.iter().map(|url| {
            let (cache, requests) = (url.clone(), self.requests(url, &what));
            async move {
                let answers = join_all(requests.into_iter().map(forgotten)).await;
                let error = answers.into_iter().find_map(Result::err);
                Evicted { cache, done: error.is_none(), error }
            }
        });
        Box::pin(join_all(asked.collect::<Vec<_>>()))
    }
}

/// Asks. What a cache never had (404, and 412 of nginx' module) is forgotten as well.
async fn forgotten(request: reqwest::RequestBuilder) -> Result<(), String> {
    match request.send().await {
        Ok(answer) => match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => Ok(()),
            status => Err(format!("HTTP {status}")),
        },
        Err(error) => Err(error.without_url().to_string()),
    }
}
