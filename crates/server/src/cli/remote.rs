//! What the commands that talk to a running server share: its address, and a session with it.

use clap::Args;
use std::time::Duration;
use tidewire_client::{ConnectError, Endpoint, Options, Session};
use tokio::time::timeout;

/// How long a command that has done its work waits to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// Which server to talk to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Remote {
    /// The server's address
    #[arg(long, value_name = "URL", env = "TIDEWIRE_URL", default_value = "http://127.0.0.1:8080")]
    url: Endpoint,
    /// A key for it; better set the variable, which other users of this machine don't see
    #[arg(long, value_name = "KEY", env = "TIDEWIRE_KEY", hide_env_values = true)]
    key: Option<Key>,
}

/// A key, which is never printed.
#[derive(Clone)]
pub(crate) struct Key(String);

impl std::str::FromStr for Key {
    type Err = std::convert::Infallible;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Ok(Self(key.to_owned()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Key")
    }
}

impl Key {
    /// The key itself.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl Remote {
    /// The key, where one was given.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The server, asked with the key.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.url.clone().with_key(self.key.as_ref().map(|key| key.0.as_str()))
    }

    /// Opens a session, and keeps it alive while the work goes on.
    pub(crate) async fn session<T>(&self, work: impl AsyncFnOnce(Session) -> T) -> Result<T, ConnectError> {
        let (session, driver) = Session::open(&self.endpoint(), Options::default()).await?;
        let (driver, work) = (driver.run(), work(session));
        tokio::pin!(driver, work);
        tokio::select! {
            done = &mut work => {
                // A server that does not answer the goodbye is none of the user's business.
                let _ = timeout(GOODBYE, driver).await;
                Ok(done)
            }
            // The session is over; the work's calls say why.
            _ = &mut driver => Ok(work.await),
        }
    }
}
