//! `DELETE`, and all else that ends a stream. One with forks is only marked: they read its log. The last fork
//! takes it along.

use super::answer::{Refused, reply};
use super::read::live;
use super::record::{Found, Name, State, Stream, find, fork_note, has_forks, put};
use super::{Place, answer};
use crate::Edge;
use crate::identity::Caller;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Expect, PutError, RemoveRecordError};
use tidewire_proto::Code;

/// How long a stream may be in the making: a few commits, and far more time than they take. A maker that is
/// slower finds its record gone, and its client tries again.
const MAKING: Duration = Duration::from_secs(10);
/// How often a change is tried again where somebody else changed the record meanwhile, such as by reading it.
const MAX_TRIES: usize = 16;

/// Its maker is gone, by all that is known.
pub(super) fn is_abandoned(edge: &Edge, stream: &Stream) -> bool {
    stream.state == State::Making && edge.clock.now().since(stream.touched_at) > MAKING
}

pub(super) async fn delete(edge: Arc<Edge>, caller: &Caller, parts: &Parts) -> Result<Response, Refused> {
    let name = Place::parse(caller, parts.uri.path())?.stream()?;
    let edge_of_task = edge.clone();
    // To its end, also where the client goes away; the sweep would finish it later.
    let deleting = edge.tracker.spawn(async move {
        for _ in 0..MAX_TRIES {
            let found = live(&edge_of_task, &name).await?;
            if retire(&edge_of_task, &name, &found).await? {
                return Ok(());
            }
        }
        Err(answer::busy())
    });
    deleting.await.map_err(|_| Refused::new(Code::Internal, "deleting the stream was cut off"))??;
    Ok(reply(StatusCode::NO_CONTENT, HeaderMap::new(), ()))
}

/// Marks a stream as gone, and takes it away if no fork needs it. `false` where it changed meanwhile.
pub(super) async fn retire(edge: &Edge, name: &Name, found: &Found) -> Result<bool, Refused> {
    let mut found = found.clone();
    found.stream.state = State::Gone;
    // From here on nobody forks it: see `create::fill`.
    found.version = match put(edge, name, &found.stream, Expect::Version(found.version)).await {
        Ok(version) => version,
        Err(PutError::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    collect(edge, name.clone(), found).await?;
    Ok(true)
}

/// Takes away a stream that is gone, if no fork needs it, and then, if that was its last fork, the stream that it
/// was forked from, and so on. A crash in between leaves the rest to the sweep.
pub(super) async fn collect(edge: &Edge, name: Name, found: Found) -> Result<(), Refused> {
    let mut next = Some((name, found));
    while let Some((name, found)) = next {
        if has_forks(edge, name.tenant(), found.stream.log).await? {
            return Ok(());
        }
        dismantle_one(edge, &name, &found).await?;
        next = freed_source(edge, &name, &found).await?;
    }
    Ok(())
}

/// Takes away all that a record names, and the record itself, whatever state it is in.
pub(super) async fn dismantle(edge: &Edge, name: &Name, found: &Found) -> Result<(), Refused> {
    dismantle_one(edge, name, found).await?;
    match freed_source(edge, name, found).await? {
        Some((source, found)) => collect(edge, source, found).await,
        None => Ok(()),
    }
}

/// The record goes last: as long as anything of the stream is left, it can be found.
async fn dismantle_one(edge: &Edge, name: &Name, found: &Found) -> Result<(), Refused> {
    let stream = &found.stream;
    edge.keeping.remove(name.log(stream.log)).await?;
    if let Some(fork) = &stream.fork {
        let note = fork_note(name.tenant(), fork.log, stream.log);
        edge.directory.remove(&note, Expect::Anything).await?;
    }
    edge.streams.forget(stream.log);
    match edge.directory.remove(name.record(), Expect::Version(found.version)).await {
        // Somebody else has taken it away, or made it anew.
        Ok(_) | Err(RemoveRecordError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The stream that this one was forked from, if it is gone and waited for its forks.
async fn freed_source(edge: &Edge, name: &Name, found: &Found) -> Result<Option<(Name, Found)>, Refused> {
    let Some(fork) = &found.stream.fork else { return Ok(None) };
    let source = name.sibling(&fork.path);
    let freed = find(edge, &source).await?;
    let freed = freed.filter(|found| found.stream.log == fork.log && found.stream.state == State::Gone);
    Ok(freed.map(|found| (source, found)))
}
