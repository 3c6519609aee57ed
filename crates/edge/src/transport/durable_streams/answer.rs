//! What this face answers: the protocol's headers, and refusals in its shape.

use crate::refusal::Refusal;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tidewire_core::port::{PutError, ReadError, RemoveError, RemoveRecordError, Unavailable};
use tidewire_proto::Code;

/// A refusal, and what the protocol tells beside it.
#[derive(Debug)]
pub(super) struct Refused {
    refusal: Box<Refusal>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal::new(code, message).into()
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    pub(super) fn unknown_stream(path: &str) -> Self {
        Self::new(Code::UnknownStream, format!("there is no stream `{path}`: it never was, was deleted or has expired"))
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.refusal.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal: Box::new(refusal), headers: Vec::new() }
    }
}

macro_rules! as_refusals {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Refusal::from(error).into()
            }
        }
    )*};
}
as_refusals!(Unavailable, ReadError);

/// Somebody else changed the record meanwhile, again and again.
pub(super) fn busy() -> Refused {
    Unavailable::new("others are changing this stream; try again").into()
}

impl From<PutError> for Refused {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Conflict { .. } => busy(),
            PutError::TooLarge { .. } => Self::invalid(error.to_string()),
            PutError::Unavailable(error) => error.into(),
        }
    }
}

impl From<RemoveRecordError> for Refused {
    fn from(error: RemoveRecordError) -> Self {
        match error {
            RemoveRecordError::Conflict { .. } => busy(),
            RemoveRecordError::Unavailable(error) => error.into(),
        }
    }
}

impl From<RemoveError> for Refused {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::OfATask => Self::new(Code::Internal, error.to_string()),
            RemoveError::Unavailable(error) => error.into(),
        }
    }
}

/// An answer with its headers.
pub(super) fn reply(status: StatusCode, headers: HeaderMap, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A header's value from what is shown; what is not plain text is left out.
pub(super) fn value(shown: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(shown.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Every answer of this face: no other site may embed it, and a browser that is led to a stream with
/// `text/html` in it shows it without letting it act as a page of this server.
pub(super) fn sealed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let own = HeaderValue::from_static("same-origin");
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), own);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}
