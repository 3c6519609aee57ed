//! When streams expire: at a moment, or after a time in which nobody read or wrote them.

use super::answer::Refused;
use super::delete::{collect, dismantle, is_abandoned, retire};
use super::record::{Found, Name, State, Stream, find, put};
use crate::Edge;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::port::{Clock, Expect, PutError, Shelf};
use tidewire_core::{LogId, TenantId, Timestamp};

/// A touch is written down once this part of the TTL has gone by since the last one that was: so a stream that
/// is read a thousand times a second costs one small write in that time.
const WRITTEN_PART: u32 = 8;
/// Touches that are not written down yet, at some 50 bytes each. Beyond it each one is written down.
const MAX_TOUCHED: usize = 64 * 1024;
/// How often the sweep looks, and at how many streams: all of 100,000 within nine minutes, for some
/// milliseconds of reading each time. A stream that has expired can't be used meanwhile.
const SWEEP: Duration = Duration::from_secs(5);
const SWEEP_AT_ONCE: usize = 1000;

/// What this process knows of its streams beyond the directory.
pub struct Streams {
    /// From then on it knows of every touch.
    since: Timestamp,
    touched: Mutex<HashMap<LogId, Timestamp>>,
}

impl Streams {
    /// Knows of nothing before now.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { since: clock.now(), touched: Mutex::default() }
    }

    fn touched(&self) -> MutexGuard<'_, HashMap<LogId, Timestamp>> {
        // Nothing panics while it is held.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, log: LogId) {
        self.touched().remove(&log);
    }

    /// Whether a stream is past its time.
    pub(super) fn is_expired(&self, stream: &Stream, now: Timestamp) -> bool {
        if stream.expires_at.is_some_and(|at| now >= at) {
            return true;
        }
        let Some(ttl) = stream.ttl_s.map(Duration::from_secs) else { return false };
        let noted = self.touched().get(&stream.log).copied();
        let last = noted.unwrap_or_default().max(stream.touched_at);
        // It may have been touched once more before this process began, without that being written down:
        // nothing expires early.
        let grace = if last < self.since { ttl / WRITTEN_PART } else { Duration::ZERO };
        now >= last.plus(ttl).plus(grace)
    }

    /// Somebody reads or writes a stream. What goes wrong here must not fail the reader: at worst the stream
    /// expires as if this touch had not been.
    pub(super) async fn touch(&self, edge: &Edge, name: &Name, found: &mut Found) {
        let Some(ttl) = found.stream.ttl_s.map(Duration::from_secs).filter(|_| found.stream.state == State::Open)
        else {
            return;
        };
        let now = edge.clock.now();
        let is_noted = {
            let mut touched = self.touched();
            let has_room = touched.len() < MAX_TOUCHED || touched.contains_key(&found.stream.log);
            if has_room {
                touched.insert(found.stream.log, now);
            }
            has_room
        };
        if is_noted && now.since(found.stream.touched_at) < ttl / WRITTEN_PART {
            return;
        }
        let stream = Stream { touched_at: now, ..found.stream.clone() };
        match put(edge, name, &stream, Expect::Version(found.version)).await {
            Ok(version) => {
                *found = Found { stream, version };
                let mut touched = self.touched();
                // A later one stays.
                if touched.get(&found.stream.log) == Some(&now) {
                    touched.remove(&found.stream.log);
                }
            }
            // Somebody else's touch, or the stream's end. A reader that stays writes over it the next time.
            Err(PutError::Conflict { .. }) => {
                let fresh = find(edge, name).await.ok().flatten();
                if let Some(fresh) = fresh.filter(|fresh| fresh.stream.log == found.stream.log) {
                    *found = fresh;
                }
            }
            Err(_) => {}
        }
    }
}

/// Takes away what has expired, and what makers or deleters left half done, until the server drains.
pub async fn sweep(edge: Arc<Edge>) {
    // Each tenant's last one that was looked at: a tenant with many streams must not keep the others waiting.
    let mut after: HashMap<TenantId, String> = HashMap::new();
    loop {
        tokio::select! {
            () = edge.clock.sleep(SWEEP) => {}
            () = edge.draining.cancelled() => return,
        }
        for tenant in edge.identity.tenants() {
            if let Some(last) = round(&edge, tenant, after.remove(&tenant)).await {
                after.insert(tenant, last);
            }
        }
    }
}

/// Looks at the streams after one of them; the last one that it looked at, or none at their end.
async fn round(edge: &Edge, tenant: TenantId, after: Option<String>) -> Option<String> {
    let listed = edge.directory.list(tenant, Shelf::Streams, after.as_deref(), SWEEP_AT_ONCE).await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "streams can't be swept now");
            return None;
        }
    };
    let is_last = listed.len() < SWEEP_AT_ONCE;
    let mut last = None;
    for (path, record) in listed {
        let name = Name::new(tenant, path);
        let swept = match Found::parse(name.path(), &record) {
            Ok(found) => one(edge, &name, found).await,
            Err(damaged) => Err(damaged),
        };
        if let Err(refused) = swept {
            tracing::warn!(stream = %name, ?refused, "a stream can't be swept now");
        }
        last = Some(name.path().to_owned());
    }
    last.filter(|_| !is_last)
}

async fn one(edge: &Edge, name: &Name, found: Found) -> Result<(), Refused> {
    match found.stream.state {
        State::Making if is_abandoned(edge, &found.stream) => dismantle(edge, name, &found).await,
        State::Gone => collect(edge, name.clone(), found).await,
        State::Open if edge.streams.is_expired(&found.stream, edge.clock.now()) => {
            retire(edge, name, &found).await.map(drop)
        }
        State::Making | State::Open => Ok(()),
    }
}
