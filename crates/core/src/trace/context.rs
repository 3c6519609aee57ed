//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): where in which trace a task belongs.

use super::Part;
use crate::id::{Offset, TaskId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The longest `tracestate` that is passed on, as the specification asks for at the least.
const MAX_STATE_BYTES: usize = 512;

/// The most members of a `tracestate`, by the specification.
const MAX_STATE_MEMBERS: usize = 32;

/// What begins the hash that a trace's id is made of, so that it is no other hash of the task's id.
const TRACE: &[u8] = b"tidewire trace";

macro_rules! hex_id {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// From its letters: lower-case hexadecimal, not all zero.
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                if text.len() != 2 * $bytes {
                    return None;
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// From the beginning of a hash. All zero means none, so one that is becomes another.
            fn of_hash(hash: &[u8]) -> Self {
                let mut bytes = [0; $bytes];
                bytes.copy_from_slice(&hash[..$bytes]);
                if bytes == [0; $bytes] {
                    bytes[$bytes - 1] = 1;
                }
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no trace or span id"))
            }
        }
    };
}

/// Names a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

hex_id!(TraceId, 16);
hex_id!(SpanId, 8);

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

impl SpanId {
    /// The span of a part of a task's story that begins with the event at this offset: the same whenever it is asked for,
    /// so that it can be sent upstream before it is over, and told later without having been kept.
    pub fn of(task: TaskId, part: Part, offset: Offset) -> Self {
        let mut hash = Sha256::new();
        hash.update(task.to_bytes());
        hash.update([part as u8]);
        hash.update(offset.0.to_be_bytes());
        Self::of_hash(&hash.finalize())
    }

    /// The span of a task as a whole.
    pub fn of_task(task: TaskId) -> Self {
        Self::of(task, Part::Task, Offset(0))
    }
}

/// Where in which trace a task belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Which trace.
    pub id: TraceId,
    /// The span that asked for the task; none where the trace begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// Whoever asked may have recorded it, so that it is worth recording here.
    #[serde(default)]
    pub sampled: bool,
    /// What other systems keep beside it, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
}

/// A context as it goes to a model's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<Arc<str>>,
}

impl Trace {
    /// A context as it came. None where there is none that can be read: a new trace begins, as the specification says. A
    /// `tracestate` that is wrong is left out; the trace goes on.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = parent.trim_matches([' ', '\t']);
        let (version, rest) = parent.split_at_checked(2)?;
        let version = digit(version.as_bytes()[0])? << 4 | digit(version.as_bytes()[1])?;
        // 00-32 digits-16 digits-2 digits; a later version may add to it, after another dash.
        let fits = match version {
            0 => rest.len() == 53,
            0xff => false,
            _ => rest.len() == 53 || rest.as_bytes().get(53) == Some(&b'-'),
        };
        if !fits || !rest.is_ascii() {
            return None;
        }
        let mut parts = rest[1..53].split('-');
        let (id, span, flags) = (TraceId::parse(parts.next()?)?, SpanId::parse(parts.next()?)?, parts.next()?);
        if !rest.starts_with('-') || flags.len() != 2 || parts.next().is_some() {
            return None;
        }
        let flags = digit(flags.as_bytes()[0])? << 4 | digit(flags.as_bytes()[1])?;
        Some(Self { id, parent: Some(span), sampled: flags & 1 == 1, state: state.and_then(checked_state) })
    }

    /// The trace that begins with a task.
    pub fn begun(task: TaskId) -> Self {
        let mut hash = Sha256::new();
        hash.update(TRACE);
        hash.update(task.to_bytes());
        Self { id: TraceId::of_hash(&hash.finalize()), parent: None, sampled: false, state: None }
    }

    /// The same trace below a span of it.
    #[must_use]
    pub fn below(&self, span: SpanId) -> Self {
        Self { parent: Some(span), ..self.clone() }
    }

    /// `traceparent` as this span sends it. Of the flags only `sampled` is known here, and others must not be passed on.
    pub fn header(&self, span: SpanId) -> Header {
        let parent = format!("00-{}-{span}-{:02x}", self.id, u8::from(self.sampled));
        Header { parent, state: self.state.clone() }
    }
}

/// A `tracestate` that keeps to the specification, without the members that are too many or too long.
fn checked_state(state: &str) -> Option<Arc<str>> {
    let members: Vec<&str> =
        state.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()).collect();
    let mut keys: Vec<&str> = members.iter().filter_map(|member| key_of(member)).collect();
    if members.is_empty() || keys.len() != members.len() || members.len() > MAX_STATE_MEMBERS {
        return None;
    }
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mut kept = String::new();
    for member in members {
        let comma = usize::from(!kept.is_empty());
        // The newest are on the left: the oldest go first.
        if kept.len() + comma + member.len() > MAX_STATE_BYTES {
            break;
        }
        if comma == 1 {
            kept.push(',');
        }
        kept.push_str(member);
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// A member's key, where both it and the value keep to the specification.
fn key_of(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let simple = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-*/".contains(&letter);
    let begins = |text: &str| {
        text.as_bytes().first().is_some_and(|&letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    let part = |text: &str, longest: usize| begins(text) && text.len() <= longest && text.bytes().all(simple);
    let key_fits = match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241) && part(system, 14),
        None => part(key, 256),
    };
    let printable = |letter: u8| (0x20..=0x7e).contains(&letter) && letter != b'=';
    let value_fits = (1..=256).contains(&value.len()) && value.bytes().all(printable) && !value.ends_with(' ');
    (key_fits && value_fits).then_some(key)
}

/// Which of the traces that begin here are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling(Option<f64>);

impl Sampling {
    /// Nobody exports traces: those that begin here are not sampled, and their context is not passed on.
    pub const OFF: Self = Self(None);

    /// So many of all, from 0 to 1. The choice follows from the trace's id, so that all who see it choose alike.
    pub fn ratio(ratio: f64) -> Self {
        Self(Some(ratio.clamp(0.0, 1.0)))
    }

    /// The trace that begins with a task, where traces are exported.
    pub fn begin(self, task: TaskId) -> Option<Trace> {
        let trace = Trace::begun(task);
        self.0.map(|ratio| Trace { sampled: is_below(ratio, trace.id), ..trace })
    }
}

/// Whether a trace is among this part of all: by its last 56 bits, as OpenTelemetry does it.
// A part of 2^56 needs no more digits than a float has.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn is_below(ratio: f64, id: TraceId) -> bool {
    let mut last = [0; 8];
    last[1..].copy_from_slice(&id.0[9..]);
    u64::from_be_bytes(last) < (ratio * (1_u64 << 56) as f64) as u64
}

#[cfg(test)]
mod tests;
