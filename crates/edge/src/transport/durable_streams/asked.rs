//! What a request asks for, in its headers and its query.

use super::answer::Refused;
use super::offset::{Begin, Token};
use super::{
    CLOSED, EXPIRES_AT, FORK_OFFSET, FORK_SUB_OFFSET, FORKED_FROM, PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ, SEQ, TTL,
    date,
};
use http::{HeaderMap, HeaderName, Uri, header};
use std::sync::Arc;
use tidewire_core::Timestamp;

/// The longest TTL: ten years, beyond which a stream has none.
const MAX_TTL_S: u64 = 10 * 366 * 86_400;
/// The longest content type: those with parameters have some 100 bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 256;
/// The longest name of a producer, and the longest `Stream-Seq`: both are kept with the log.
const MAX_WRITER_BYTES: usize = 256;
/// The largest integer that every client can write: 2^53 - 1.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A header's text; absent and empty are apart.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let plain = value.to_str().map(|text| Some(text.trim()));
    plain.map_err(|_| Refused::invalid(format!("`{name}` must be plain text")))
}

/// A whole number in the one way to write it.
fn integer(name: &HeaderName, text: &str) -> Result<u64, Refused> {
    let canonical = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = canonical.then(|| text.parse().ok()).flatten().filter(|number| *number <= MAX_INTEGER);
    number.ok_or_else(|| Refused::invalid(format!("`{name}` is a whole number, 0 to {MAX_INTEGER}")))
}

/// `Stream-Closed`: any value but `true` is none.
pub(super) fn closes(headers: &HeaderMap) -> bool {
    headers.get(CLOSED).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let given = text(headers, &header::CONTENT_TYPE)?.filter(|given| !given.is_empty());
    if given.is_some_and(|given| given.len() > MAX_CONTENT_TYPE_BYTES) {
        return Err(Refused::invalid(format!("`Content-Type` has at most {MAX_CONTENT_TYPE_BYTES} bytes")));
    }
    Ok(given)
}

/// When a stream is to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    AfterIdle { seconds: u64 },
    At(Timestamp),
}

pub(super) fn expiry(headers: &HeaderMap) -> Result<Option<Expiry>, Refused> {
    match (text(headers, &TTL)?, text(headers, &EXPIRES_AT)?) {
        (Some(_), Some(_)) => Err(Refused::invalid("give either `Stream-TTL` or `Stream-Expires-At`, not both")),
        (Some(ttl), None) => match integer(&TTL, ttl)? {
            seconds @ 0..=MAX_TTL_S => Ok(Some(Expiry::AfterIdle { seconds })),
            _ => Err(Refused::invalid(format!("`Stream-TTL` is at most {MAX_TTL_S} seconds"))),
        },
        (None, Some(at)) => {
            let at = date::parse(at);
            at.map(|at| Some(Expiry::At(at))).ok_or_else(|| {
                Refused::invalid("`Stream-Expires-At` is a moment of RFC 3339, such as 2030-01-31T12:00:00Z")
            })
        }
        (None, None) => Ok(None),
    }
}

/// What a new stream is to be forked from.
pub(super) struct Forking<'a> {
    pub(super) from: &'a str,
    pub(super) offset: Option<Token>,
    pub(super) sub_offset: u64,
}

pub(super) fn forking(headers: &HeaderMap) -> Result<Option<Forking<'_>>, Refused> {
    let (offset, sub_offset) = (text(headers, &FORK_OFFSET)?, text(headers, &FORK_SUB_OFFSET)?);
    let Some(from) = text(headers, &FORKED_FROM)? else {
        return match (offset, sub_offset) {
            (None, None) => Ok(None),
            _ => {
                Err(Refused::invalid("`Stream-Fork-Offset` and `Stream-Fork-Sub-Offset` go with `Stream-Forked-From`"))
            }
        };
    };
    let offset = offset.map(Token::parse).transpose()?;
    let sub_offset = sub_offset.map_or(Ok(0), |text| integer(&FORK_SUB_OFFSET, text))?;
    Ok(Some(Forking { from, offset, sub_offset }))
}

/// Who appends.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) id: Arc<str>,
    pub(super) epoch: u64,
    pub(super) seq: u64,
}

pub(super) fn producer(headers: &HeaderMap) -> Result<Option<Producer>, Refused> {
    let given = (text(headers, &PRODUCER_ID)?, text(headers, &PRODUCER_EPOCH)?, text(headers, &PRODUCER_SEQ)?);
    let (id, epoch, seq) = match given {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        _ => {
            return Err(Refused::invalid("`Producer-Id`, `Producer-Epoch` and `Producer-Seq` go together"));
        }
    };
    if id.is_empty() || id.len() > MAX_WRITER_BYTES {
        return Err(Refused::invalid(format!("`Producer-Id` has 1 to {MAX_WRITER_BYTES} bytes")));
    }
    let (epoch, seq) = (integer(&PRODUCER_EPOCH, epoch)?, integer(&PRODUCER_SEQ, seq)?);
    Ok(Some(Producer { id: id.into(), epoch, seq }))
}

pub(super) fn seq(headers: &HeaderMap) -> Result<Option<Arc<str>>, Refused> {
    match text(headers, &SEQ)? {
        Some(seq) if seq.len() > MAX_WRITER_BYTES => {
            Err(Refused::invalid(format!("`Stream-Seq` has at most {MAX_WRITER_BYTES} bytes")))
        }
        seq => Ok(seq.map(Arc::from)),
    }
}

/// How a reader wants what is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// Not at all.
    No,
    LongPoll,
    Sse,
}

/// A read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) begin: Begin,
    pub(super) live: Live,
    pub(super) cursor: Option<u64>,
}

pub(super) fn read(uri: &Uri) -> Result<Read, Refused> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = pairs.map_err(|_| Refused::invalid("the query can't be read"))?.0;
    let once = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refused::invalid(format!("`{name}` is given more than once"))),
            (value, None) => Ok(value),
        }
    };
    let begin = once("offset")?.map(Begin::parse).transpose()?;
    let live = match once("live")? {
        None => Live::No,
        Some("long-poll") => Live::LongPoll,
        Some("sse") => Live::Sse,
        Some(other) => return Err(Refused::invalid(format!("`live` is `long-poll` or `sse`, not `{other}`"))),
    };
    if live != Live::No && begin.is_none() {
        return Err(Refused::invalid("a live read needs `offset`"));
    }
    // A cursor that this server did not give means nothing, and is no error.
    let cursor = once("cursor")?.and_then(|cursor| cursor.parse().ok());
    Ok(Read { begin: begin.unwrap_or(Begin::Start), live, cursor })
}
