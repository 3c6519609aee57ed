//! `POST`: adds to a stream, closes it, or both at once.

use super::answer::{Refused, reply, value};
use super::asked::{self, Producer};
use super::messages::{Form, media_type};
use super::read::live;
use super::record::{Found, Name};
use super::view::View;
use super::{
    CLOSED, NEXT_OFFSET, PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_RECEIVED_SEQ, PRODUCER_SEQ, Place, TRUE,
};
use crate::Edge;
use crate::identity::Caller;
use crate::transport::body;
use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use tidewire_core::port::{Append, AppendError, Appended, Writer};
use tidewire_core::{Ending, Entry, Outcome, Usage};
use tidewire_proto::Code;

/// How a stream ends: nothing was run, and nothing is to be paid.
pub(super) fn closing() -> Ending {
    Ending {
        state: Outcome::Done,
        error: None,
        finish_reason: None,
        stop_sequence: None,
        usage: Usage::default(),
        deployment: None,
        attempts: 0,
        cache: None,
    }
}

pub(super) async fn post(edge: &Edge, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Refused> {
    let name = Place::parse(caller, parts.uri.path())?.stream()?;
    let headers = &parts.headers;
    let (closes, producer, seq) = (asked::closes(headers), asked::producer(headers)?, asked::seq(headers)?);
    let mut found = live(edge, &name).await?;
    let body = body::read(edge, body).await?;
    if body.is_empty() && !closes {
        return Err(Refused::invalid("an append needs a body, or `Stream-Closed: true` to close the stream"));
    }
    if !body.is_empty() {
        check_content_type(edge, &name, &found, headers).await?;
    }
    let entries = Form::of(&found.stream.content_type).entries(&body, edge.clock.now())?;
    if entries.is_empty() && !body.is_empty() {
        return Err(Refused::invalid("an empty array appends nothing"));
    }
    let writer = match &producer {
        Some(Producer { id, epoch, seq: sequence }) => {
            Writer::Producer { producer: id.clone(), epoch: *epoch, sequence: *sequence, rank: seq }
        }
        None => Writer::Open { rank: seq },
    };
    let is_close_only = entries.is_empty();
    let appended = say(edge, &name, &found, writer, entries, closes).await;
    edge.streams.touch(edge, &name, &mut found).await;
    let view = View::of(edge, &name, &found).await?;
    match appended {
        Ok(appended) => Ok(accepted(&view, appended, producer.as_ref(), closes, is_close_only)),
        // Closing a closed stream is done already, whoever closed it.
        Err(AppendError::Ended { .. }) if closes && is_close_only => Ok(reply(StatusCode::NO_CONTENT, told(&view), ())),
        Err(error) => Err(refused(error, &name, &view, producer.as_ref())),
    }
}

async fn say(
    edge: &Edge,
    name: &Name,
    found: &Found,
    writer: Writer,
    entries: Vec<Entry>,
    closes: bool,
) -> Result<Appended, AppendError> {
    let append = Append { log: name.log(found.stream.log), writer, entries };
    if closes { edge.log.end(append, closing()).await } else { edge.log.append(append).await }
}

/// A closed stream is told first: its writer must stop, whatever it says.
async fn check_content_type(edge: &Edge, name: &Name, found: &Found, headers: &HeaderMap) -> Result<(), Refused> {
    let known = &found.stream.content_type;
    let Some(given) = asked::content_type(headers)? else {
        return Err(Refused::invalid(format!("an append needs a `Content-Type`: this stream has `{known}`")));
    };
    if media_type(given).eq_ignore_ascii_case(media_type(known)) {
        return Ok(());
    }
    let view = View::of(edge, name, found).await?;
    if view.closed {
        return Err(closed(name, &view));
    }
    let message = format!("this stream has `{known}`, and the append `{given}`");
    Err(Refused::new(Code::ContentTypeMismatch, message))
}

/// Where the stream stands.
fn told(view: &View) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NEXT_OFFSET, value(view.token(view.tail)));
    if view.closed {
        headers.insert(CLOSED, TRUE);
    }
    headers
}

fn accepted(
    view: &View,
    appended: Appended,
    producer: Option<&Producer>,
    closes: bool,
    is_close_only: bool,
) -> Response {
    let mut headers = told(view);
    if appended.repeats.is_none() {
        // Others may have appended since: what is told is the place after this append.
        let hidden = u64::from(closes);
        headers.insert(NEXT_OFFSET, value(view.token(view.position(appended.to) - hidden)));
    }
    let Some(producer) = producer else { return reply(StatusCode::NO_CONTENT, headers, ()) };
    headers.insert(PRODUCER_EPOCH, HeaderValue::from(producer.epoch));
    headers.insert(PRODUCER_SEQ, HeaderValue::from(appended.repeats.unwrap_or(producer.seq)));
    // A producer hears whether its data was new.
    let is_new = appended.repeats.is_none() && !is_close_only;
    reply(if is_new { StatusCode::OK } else { StatusCode::NO_CONTENT }, headers, ())
}

fn closed(name: &Name, view: &View) -> Refused {
    let message = format!("the stream `{name}` is closed: nothing is appended any more");
    Refused::new(Code::StreamClosed, message).with(CLOSED, TRUE).with(NEXT_OFFSET, value(view.token(view.tail)))
}

fn refused(error: AppendError, name: &Name, view: &View, producer: Option<&Producer>) -> Refused {
    let message = error.to_string();
    match error {
        AppendError::Unknown => Refused::unknown_stream(name.path()),
        AppendError::Ended { .. } => closed(name, view),
        AppendError::SequenceGap { .. } if producer.is_some_and(|producer| producer.epoch > 0 && is_first(&error)) => {
            Refused::invalid("a new epoch of a producer begins with `Producer-Seq: 0`")
        }
        AppendError::SequenceGap { expected } => {
            let received = producer.map_or(0, |producer| producer.seq);
            Refused::new(Code::SequenceGap, message)
                .with(PRODUCER_EXPECTED_SEQ, HeaderValue::from(expected))
                .with(PRODUCER_RECEIVED_SEQ, HeaderValue::from(received))
        }
        AppendError::StaleProducer { epoch } => {
            Refused::new(Code::StaleProducer, message).with(PRODUCER_EPOCH, HeaderValue::from(epoch))
        }
        AppendError::RankTaken { last } => {
            let message = format!("`Stream-Seq` must sort after the last one, which is {last:?}");
            Refused::new(Code::SequenceTaken, message)
        }
        AppendError::TooManyProducers => Refused::new(Code::TooManyProducers, message),
        AppendError::TooLarge { .. } => Refused::new(Code::TooLarge, message),
        AppendError::Unavailable(error) => error.into(),
        AppendError::Fenced { .. } | AppendError::TailMoved { .. } | AppendError::WrongWriter => {
            Refused::new(Code::Internal, message)
        }
    }
}

fn is_first(error: &AppendError) -> bool {
    matches!(error, AppendError::SequenceGap { expected: 0 })
}
