//! How long a caller's right lasts: open sockets and follows wait for its end.

use std::sync::{Arc, OnceLock};
use tidewire_proto::{Code, WireError, close};
use tokio_util::sync::CancellationToken;

/// Why a caller may do no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its key was revoked, or its tenant suspended.
    Revoked,
    /// Its key or token has expired.
    Expired,
    /// Its key may do other things than before: a client that comes back is asked anew.
    Changed,
}

impl Over {
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::Revoked => Code::KeyRevoked,
            Self::Expired => Code::KeyExpired,
            Self::Changed => Code::KeyChanged,
        }
    }

    /// As whoever is told of it reads it.
    pub fn error(self) -> WireError {
        WireError::new(self.code(), self.message())
    }

    pub(crate) const fn close_code(self) -> u16 {
        match self {
            Self::Revoked => close::KEY_REVOKED,
            Self::Expired => close::KEY_EXPIRED,
            Self::Changed => close::KEY_CHANGED,
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Revoked => "the key was revoked",
            Self::Expired => "the key or token has expired; get a new one",
            Self::Changed => "what the key may do has changed; ask again",
        }
    }
}

/// Ends once, for all who hold it.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    ended: CancellationToken,
    why: Arc<OnceLock<Over>>,
}

impl Lifetime {
    /// Ends it.
    pub fn end(&self, why: Over) {
        // The first reason stands.
        let _ = self.why.set(why);
        self.ended.cancel();
    }

    /// Whether it has ended, and why.
    pub fn over(&self) -> Option<Over> {
        self.why.get().copied()
    }

    /// For one who waits for its end again and again. A child of its own, because waiting on the parent takes a lock that
    /// all of a key's connections would share.
    pub(crate) fn waiter(&self) -> CancellationToken {
        self.ended.child_token()
    }
}
