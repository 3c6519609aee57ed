//! What stands for a caller for a while: tickets that open one URL, and sessions that a browser holds in a cookie. Both
//! are of this process, and gone with it.

use super::caller::Caller;
use super::secret::{Hash, fresh};
use crate::refusal::Refusal;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;
use tidewire_proto::Code;

/// How long a ticket can be used: a page asks for it and opens its socket.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(30);

/// How long a session lasts unless it is set: a working day, so that nobody signs in twice on one.
pub(super) const SESSION_LIFE: Duration = Duration::from_hours(12);

/// How many there may be at once: 65,536 tickets in 30 s are 2,000 connections a second, at some 100 bytes each.
const MOST: usize = 65_536;

/// Secrets that stand for callers.
pub(super) struct Standing {
    prefix: &'static str,
    held: Mutex<HashMap<[u8; 32], (Caller, Timestamp)>>,
}

impl Standing {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Caller, Timestamp)>> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh one for this caller, and for so long.
    pub(super) fn issue(&self, caller: Caller, life: Duration, clock: &dyn Clock) -> Result<String, Refusal> {
        let now = clock.now();
        let mut held = self.held();
        if held.len() >= MOST {
            held.retain(|_, (caller, until)| *until > now && caller.lifetime.over().is_none());
        }
        if held.len() >= MOST {
            let message = "too many are waiting to be used; try again in a moment";
            return Err(Refusal::new(Code::Unavailable, message).retry_after(TICKET_LIFE));
        }
        let secret = fresh(self.prefix, clock);
        held.insert(Hash::of(&secret).bytes(), (caller, now.plus(life)));
        Ok(secret)
    }

    /// The caller that it stands for, while it does.
    pub(super) fn look(&self, secret: &str, now: Timestamp) -> Option<Caller> {
        let held = self.held();
        held.get(&Hash::of(secret).bytes()).filter(|(_, until)| *until > now).map(|(caller, _)| caller.clone())
    }

    /// The same, and nobody else's any more.
    pub(super) fn take(&self, secret: &str, now: Timestamp) -> Option<Caller> {
        self.held().remove(&Hash::of(secret).bytes()).filter(|(_, until)| *until > now).map(|(caller, _)| caller)
    }

    /// Ends those of such callers.
    pub(super) fn end(&self, are: impl Fn(&Caller) -> bool) {
        self.held().retain(|_, (caller, _)| !are(caller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Settings};
    use http::Request;
    use std::sync::Arc;
    use tidewire_testkit::clock::HandClock;

    #[test]
    fn a_ticket_opens_one_url_within_30_s_and_none_after() {
        let clock = Arc::new(HandClock::new(5));
        let settings = Settings { required: true, ..Settings::default() };
        let identity = Identity::with(settings, None, Some(clock.clone()));
        let ticket = || identity.ticket(&Caller::development()).unwrap();
        let shown = |ticket: &str| {
            let request = Request::get(format!("/v1/ws?ticket={ticket}")).body(()).unwrap();
            identity.authenticate(&request).map(drop).map_err(|refusal| refusal.0.code)
        };
        let refused = Err(Code::Unauthorized.as_str().to_owned());
        let (young, old) = (ticket(), ticket());
        clock.advance(TICKET_LIFE.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(shown(&young), Ok(()));
        assert_eq!(shown(&young), refused, "a second time");
        clock.advance(Duration::from_millis(1));
        assert_eq!(shown(&old), refused, "30 s old");
        clock.set_wall(clock.now().plus(Duration::from_hours(1)));
        assert_eq!(shown(&ticket()), Ok(()), "a fresh one");
    }
}
