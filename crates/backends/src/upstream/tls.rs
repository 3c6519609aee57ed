//! Connections to an upstream, encrypted where its URL asks for it.

use super::BadSettings;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// An upstream that thinks for minutes sends nothing: the system asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// HTTP/1 over TCP, with TLS where the base URL asks for it. Never less than the base URL asks for.
pub(super) fn connector(encrypted: bool) -> Result<HttpsConnector<HttpConnector>, BadSettings> {
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
