//! Calls that this server makes of its own: to issuers of keys, to a checker, to whatever a configuration or a user names.
//! None of them reaches an address within the operator's own network, unless the operator says so.
//!
//! A name is resolved here, the addresses are looked at, and the connection goes to one of those and no other: a name that
//! resolves to something else a moment later changes nothing. Redirects are not followed, and no proxy is used, which would
//! resolve names by itself. Deployments are not called through here: their URLs are the operator's own.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Resolves names. A test has its own.
pub(crate) trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn addresses(&self, name: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// Asks the system.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads one; an address alone is one as well.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
        Some(Self { first, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The ranges of IPv4 that lead to nobody outside (IANA's special-purpose registry, RFC 6890), multicast among them.
const PRIVATE: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Whether an address is one of the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !PRIVATE.iter().any(|&(first, bits)| Network { first: first.into(), bits }.holds(address.into()))
        }
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Of IPv6, what is given to anybody at all begins with 001 (RFC 4291). Addresses that hold one of IPv4 lead there.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| is_public(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into());
    match parts {
        // IPv4-mapped, and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // And 6to4 (RFC 3056).
        | [0x2002, high, low, ..] => v4(high, low),
        // Teredo and other protocols' own (2001::/23), documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first >> 13 == 0b001,
    }
}

/// What may be reached.
struct Gate {
    allowed: Vec<Network>,
    /// The host that the operator has named: as an address, or `localhost`, it is meant as it stands there.
    configured: Option<String>,
    lookup: Arc<dyn Lookup>,
}

impl Gate {
    fn permits(&self, address: IpAddr) -> bool {
        is_public(address)
            || self.allowed.iter().any(|network| network.holds(address) || network.holds(address.to_canonical()))
    }

    fn is_configured(&self, host: &str) -> bool {
        self.configured.as_deref() == Some(host)
    }
}

/// Resolves a name to what may be reached of it.
struct Resolver(Arc<Gate>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let gate = self.0.clone();
        Box::pin(async move {
            let name = name.as_str();
            let found = gate.lookup.addresses(name).await?;
            let is_local = name == "localhost" && gate.is_configured(name);
            let reachable = |address: &IpAddr| gate.permits(*address) || (is_local && address.is_loopback());
            let reached: Vec<SocketAddr> =
                found.iter().copied().filter(reachable).map(|address| SocketAddr::new(address, 0)).collect();
            if reached.is_empty() {
                let refused =
                    found.first().map_or_else(|| format!("`{name}` has no address"), |first| private(name, *first));
                return Err(refused.into());
            }
            Ok(Box::new(reached.into_iter()) as Addrs)
        })
    }
}

fn private(name: &str, address: IpAddr) -> String {
    format!("`{name}` is at {address}, which is not public: name it in `outgoing.allow` if it may be called")
}

/// An HTTP client that reaches only what may be reached.
#[derive(Clone)]
pub(crate) struct Outgoing {
    client: reqwest::Client,
    gate: Arc<Gate>,
}

impl Outgoing {
    /// `allow`: further ranges. `configured`: the URL that the operator has set.
    pub(crate) fn new(allow: &[String], configured: &str, lookup: Arc<dyn Lookup>) -> Result<Self, String> {
        // An error says that the process has chosen its cryptography before us: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = networks(allow)?;
        let configured = Url::parse(configured).ok().and_then(|url| url.host_str().map(str::to_owned));
        let gate = Arc::new(Gate { allowed, configured, lookup });
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(gate.clone())))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, gate })
    }

    /// A request that may be sent. An address in the place of a name is looked at here; names are, when they are resolved.
    pub(crate) fn request(&self, method: http::Method, url: &str) -> Result<reqwest::RequestBuilder, String> {
        let url = Url::parse(url).map_err(|error| format!("the URL can't be read: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if let Some(address) = address.filter(|address| !self.gate.permits(*address) && !self.gate.is_configured(host))
        {
            return Err(private(host, address));
        }
        Ok(self.client.request(method, url))
    }
}

/// Reads `outgoing.allow`.
pub(crate) fn networks(allow: &[String]) -> Result<Vec<Network>, String> {
    let read = |text: &String| {
        Network::parse(text)
            .ok_or_else(|| format!("`outgoing.allow` lists networks such as \"10.0.0.0/8\", not `{text}`"))
    };
    allow.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
