//! A method and a path, what a caller needs for it, and what answers. The one list of them makes the router, so that no
//! endpoint is without its guard.

use super::{anthropic, openai, trace};
use crate::Edge;
use crate::identity::{Audit, Caller, Note, Peer, Scope};
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::{Extensions, Method, StatusCode};
use std::sync::Arc;
use tidewire_proto::admin::{AuditEntry, EndpointView};

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
    Anthropic,
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

    /// With Anthropic's errors.
    pub fn anthropic(method: Method, path: &'static str, needs: Needs, handler: MethodRouter) -> Self {
        Self { speaks: Speaks::Anthropic, ..Self::new(method, path, needs, handler) }
    }

    /// As the list of endpoints shows it.
    pub(super) fn view(&self) -> EndpointView {
        EndpointView {
            method: self.method.to_string(),
            path: self.path.to_owned(),
            needs: self.needs.name().to_owned(),
        }
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

/// Finds out who is asking, lets those through who may, and writes down what operators do.
async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if door.needs == Needs::Nothing {
        return next.run(request).await;
    }
    let caller = match introduce(&door, &mut request) {
        Ok(caller) => caller,
        Err(refusal) => {
            return match door.speaks {
                Speaks::Native => refusal.into_response(),
                Speaks::OpenAi => openai::Fault::from(refusal).into_response(),
                Speaks::Anthropic => anthropic::Fault::from(refusal).into_response(),
            };
        }
    };
    let submits = door.needs == Needs::Scope(Scope::TasksWrite) && request.method() == Method::POST;
    let written_down = caller.is_operator() && door.is_written_down(request.method());
    if !written_down {
        return trace::told(&door.edge, next.run(request).await, &caller, submits);
    }
    let action = format!("{} {}", request.method(), request.uri().path());
    let from = from(request.extensions());
    let response = next.run(request).await;
    let detail = response.extensions().get::<Note>().map(|note| note.0.clone());
    let entry = AuditEntry { detail, ..entry(&action, from, response.status()) };
    Audit(&door.edge).write(&caller, entry).await;
    trace::told(&door.edge, response, &caller, submits)
}

impl Door {
    /// What only operators may, or often do for others: all of it that is more than a look.
    fn is_written_down(&self, method: &Method) -> bool {
        let by_operators = matches!(
            self.needs,
            Needs::Scope(Scope::AdminRead | Scope::AdminOperate | Scope::AdminWrite | Scope::TasksStop)
        );
        by_operators && !matches!(*method, Method::GET | Method::HEAD)
    }
}

/// Where a request comes from, as far as the connection tells.
pub(super) fn from(extensions: &Extensions) -> Option<String> {
    extensions.get::<Peer>().map(|peer| peer.0.to_string())
}

/// A line of the audit log, as far as the request tells it.
pub(super) fn entry(action: &str, from: Option<String>, status: StatusCode) -> AuditEntry {
    AuditEntry {
        offset: 0,
        at: 0,
        who: String::new(),
        key: None,
        from,
        tenant: None,
        action: action.to_owned(),
        detail: None,
        status: status.as_u16(),
    }
}

fn introduce(door: &Door, request: &mut Request) -> Result<Caller, Refusal> {
    let caller = door.edge.identity.authenticate(request)?;
    if let Needs::Scope(scope) = door.needs {
        caller.require(scope)?;
    }
    let trace = trace::asked_in(request.headers());
    let caller = if trace.is_some() { caller.in_trace(trace) } else { caller };
    request.extensions_mut().insert(caller.clone());
    Ok(caller)
}
