//! People who were sent to the provider and are not back yet. They are of this process, and gone with it.

use super::super::secret::{Hash, fresh};
use super::SIGN_IN_LIFE;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;

/// How many there may be at once, at some 500 bytes each. One more forgets the oldest: were it refused instead, a stranger
/// who begins this many would lock everybody out for ten minutes. So a stranger has to begin 65,536 sign-ins within
/// the time that one person takes for theirs.
const MOST: usize = 65_536;

/// A sign-in that was begun.
pub(super) struct SignIn {
    cookie: Hash,
    /// What the ID token must repeat.
    pub(super) nonce: String,
    /// What proves to the provider that the code was asked for here.
    pub(super) verifier: String,
    /// Where the browser goes afterwards.
    pub(super) return_to: String,
    until: Timestamp,
}

/// What goes out with a sign-in that begins.
pub(super) struct Begun {
    /// Goes with the browser to the provider, and comes back.
    pub(super) state: String,
    /// Stays in the browser: whoever learns the state has not got it.
    pub(super) cookie: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

#[derive(Default)]
struct Held {
    by_state: HashMap<[u8; 32], SignIn>,
    /// Oldest first; some of them are back already.
    order: VecDeque<([u8; 32], Timestamp)>,
}

/// All of them.
#[derive(Default)]
pub(in crate::identity) struct Pending(Mutex<Held>);

impl Pending {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(super) fn begin(&self, return_to: String, clock: &dyn Clock) -> Begun {
        self.begin_within(MOST, return_to, clock)
    }

    fn begin_within(&self, most: usize, return_to: String, clock: &dyn Clock) -> Begun {
        let begun = Begun {
            state: fresh("st_", clock),
            cookie: fresh("si_", clock),
            nonce: fresh("no_", clock),
            verifier: fresh("", clock),
        };
        let (now, state) = (clock.now(), Hash::of(&begun.state).bytes());
        let sign_in = SignIn {
            cookie: Hash::of(&begun.cookie),
            nonce: begun.nonce.clone(),
            verifier: begun.verifier.clone(),
            return_to,
            until: now.plus(SIGN_IN_LIFE),
        };
        let mut held = self.held();
        while held.order.len() >= most || held.order.front().is_some_and(|(_, until)| *until <= now) {
            let Some((oldest, _)) = held.order.pop_front() else { break };
            held.by_state.remove(&oldest);
        }
        held.order.push_back((state, sign_in.until));
        held.by_state.insert(state, sign_in);
        begun
    }

    /// The one of this state, where this browser began it; nobody else's any more in either case.
    pub(super) fn take(&self, state: &str, cookie: &str, now: Timestamp) -> Option<SignIn> {
        let sign_in = self.held().by_state.remove(&Hash::of(state).bytes())?;
        (sign_in.until > now && sign_in.cookie.is(&Hash::of(cookie))).then_some(sign_in)
    }
}

/// What a provider's error means to the person. The provider's own words are the operator's to read: they came through
/// the browser, so anybody may have written them.
pub(super) fn told(error: &str) -> &'static str {
    match error {
        "access_denied" => "the provider did not let you in, or you changed your mind",
        "login_required" | "interaction_required" | "consent_required" => {
            "the provider wants you to sign in there first"
        }
        "temporarily_unavailable" | "server_error" => "the provider has a fault",
        _ => "the provider does not take it as the configuration has it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_testkit::clock::HandClock;

    #[test]
    fn a_sign_in_is_used_once_by_its_own_browser_within_its_time() {
        let (pending, clock) = (Pending::default(), HandClock::new(7));
        let begin = || pending.begin("/".to_owned(), &clock);
        let take = |begun: &Begun, cookie: &str| pending.take(&begun.state, cookie, clock.now());
        let first = begin();
        let taken = take(&first, &first.cookie).expect("the first use");
        assert_eq!((taken.nonce, taken.verifier), (first.nonce.clone(), first.verifier.clone()));
        assert!(take(&first, &first.cookie).is_none(), "the second use");
        let (second, third) = (begin(), begin());
        assert!(take(&second, &third.cookie).is_none(), "another browser");
        assert!(take(&second, &second.cookie).is_none(), "whose attempt was the one use");
        clock.advance(SIGN_IN_LIFE);
        assert!(take(&third, &third.cookie).is_none(), "too late");
    }

    #[test]
    fn too_many_sign_ins_forget_the_oldest_and_late_ones_make_room() {
        let (pending, clock) = (Pending::default(), HandClock::new(7));
        let begun: Vec<Begun> = (0..4).map(|_| pending.begin_within(3, "/".to_owned(), &clock)).collect();
        let held = || {
            let held = pending.held();
            (held.by_state.len(), held.order.len())
        };
        assert_eq!(held(), (3, 3));
        assert!(pending.take(&begun[0].state, &begun[0].cookie, clock.now()).is_none());
        assert!(pending.take(&begun[1].state, &begun[1].cookie, clock.now()).is_some());
        clock.advance(SIGN_IN_LIFE);
        pending.begin_within(3, "/".to_owned(), &clock);
        assert_eq!(held(), (1, 1), "what nobody can use any more is gone");
    }
}
