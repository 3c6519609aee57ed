//! A method and a path, what a caller needs for it, and what answers. The one list of them makes the router, so that no
//! endpoint is without its guard.

use super::openai::Fault;
use crate::Edge;
use crate::identity::Scope;
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::Method;
use std::sync::Arc;

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Not even a key.
    Nothing,
    /// A key or a token, whatever it may do.
    Caller,
    /// One that has this scope.
    Scope(Scope),
}

impl Needs {
    /// As the list of endpoints shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Caller => "key",
            Self::Scope(scope) => scope.name(),
        }
    }
}

/// One of a server's endpoints.
pub struct Endpoint {
    /// Which method.
    pub method: Method,
    /// Which paths, as axum writes them.
    pub path: &'static str,
    /// What a caller needs.
    pub needs: Needs,
    speaks: Speaks,
    handler: MethodRouter,
}

/// Whose errors an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Native,
    OpenAi,
}

impl Endpoint {
    /// With the native faces' errors.
    pub fn new(method: Method, path: &'static str, needs: Needs, handler: MethodRouter) -> Self {
        Self { method, path, needs, speaks: Speaks::Native, handler }
    }

    /// With OpenAI's errors.
    pub fn openai(method: Method, path: &'static str, needs: Needs, handler: MethodRouter) -> Self {
        Self { speaks: Speaks::OpenAi, ..Self::new(method, path, needs, handler) }
    }

    /// Adds it to a router, behind its guard.
    pub(super) fn guarded(self, router: Router, edge: &Arc<Edge>) -> Router {
        let Self { path, needs, speaks, handler, .. } = self;
        let door = Door { edge: edge.clone(), needs, speaks };
        // A route's layer, not a method's: a method that is not taken is told to anyone.
        router.route(path, handler.route_layer(from_fn_with_state(door, admit)))
    }
}

#[derive(Clone)]
struct Door {
    edge: Arc<Edge>,
    needs: Needs,
    speaks: Speaks,
}

/// Finds out who is asking, and lets those through who may.
async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if door.needs != Needs::Nothing
        && let Err(refusal) = introduce(&door, &mut request)
    {
        return match door.speaks {
            Speaks::Native => refusal.into_response(),
            Speaks::OpenAi => Fault::from(refusal).into_response(),
        };
    }
    next.run(request).await
}

fn introduce(door: &Door, request: &mut Request) -> Result<(), Refusal> {
    let caller = door.edge.identity.authenticate(request.headers(), door.edge.clock.now())?;
    if let Needs::Scope(scope) = door.needs {
        caller.require(scope)?;
    }
    request.extensions_mut().insert(caller);
    Ok(())
}
