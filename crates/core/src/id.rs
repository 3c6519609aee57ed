//! Names and places: who, which task, which log, where in it. Each is a type of its own, so that no two
//! numbers can change places.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod base32;

/// Who pays. Every record and every call carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The server itself: what it keeps of tenants and keys. Nobody asks in its name.
    pub const SYSTEM: Self = Self(0);
    /// The one tenant there always is.
    pub const DEFAULT: Self = Self(1);
}

/// A key's name: what usage is counted under and what an operator revokes. It is no secret, and shown as `key_` and 16
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub u64);

/// Whether a record survives a crash. A property of a task and its log, carried in their ids, so that every
/// node knows without asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Survives a crash: kept by the configured engine.
    #[default]
    Durable,
    /// Gone with the process: kept by the memory engine.
    Transient,
}

/// The top bit of an id's 80 random ones says "transient".
const TRANSIENT: u128 = 1 << 79;
const RANDOM: u128 = TRANSIENT - 1;

fn fresh(at: Timestamp, random: u128, durability: Durability) -> u128 {
    let transient = if durability == Durability::Transient { TRANSIENT } else { 0 };
    (u128::from(at.as_millis()) << 80) | transient | (random & RANDOM)
}

fn durability(id: u128) -> Durability {
    if id & TRANSIENT == 0 { Durability::Durable } else { Durability::Transient }
}

/// A task's name: 48 bits of milliseconds, then 80 random ones, so that ids sort by age. Shown as `task_` and
/// 26 letters of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u128);

impl TaskId {
    /// A fresh id, from a moment and randomness of the caller's [`Clock`](crate::port::Clock).
    pub fn new(at: Timestamp, random: u128, durability: Durability) -> Self {
        Self(fresh(at, random, durability))
    }

    /// What no id made at this moment or later sorts before.
    pub fn oldest_of(at: Timestamp) -> Self {
        Self(fresh(at, 0, Durability::Durable))
    }

    /// The id that sorts right after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether the task survives a crash.
    pub fn durability(self) -> Durability {
        durability(self.0)
    }

    /// The log that carries the task's output.
    pub fn log(self) -> LogId {
        LogId { kind: LogKind::Task, id: self.0 }
    }

    /// The id as bytes that sort as the ids do: a store's key.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`TaskId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// Who may write a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogKind {
    /// A task's output: one fenced writer.
    Task = 1,
    /// Many writers, each deduplicated by (producer, epoch, sequence): conversations, Durable Streams.
    Shared = 2,
}

/// A log's name. A task's log has the task's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    kind: LogKind,
    id: u128,
}

impl LogId {
    /// A fresh name for a log with many writers.
    pub fn shared(at: Timestamp, random: u128, durability: Durability) -> Self {
        Self { kind: LogKind::Shared, id: fresh(at, random, durability) }
    }

    /// When it was named.
    pub fn made_at(self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.id >> 80).unwrap_or(u64::MAX))
    }

    /// Who may write it.
    pub fn kind(self) -> LogKind {
        self.kind
    }

    /// Whether the log survives a crash.
    pub fn durability(self) -> Durability {
        durability(self.id)
    }

    /// The task whose output this log carries, if it is a task's.
    pub fn task(self) -> Option<TaskId> {
        (self.kind == LogKind::Task).then_some(TaskId(self.id))
    }

    /// The id as bytes that sort by kind, then age: a store's key.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [self.kind as u8; 17];
        bytes[1..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// The inverse of [`LogId::to_bytes`]; `None` where the first byte names no kind.
    pub fn from_bytes(bytes: [u8; 17]) -> Option<Self> {
        let kind = match bytes[0] {
            1 => LogKind::Task,
            2 => LogKind::Shared,
            _ => return None,
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[1..]);
        Some(Self { kind, id: u128::from_be_bytes(id) })
    }
}

/// A log and whose it is: the address that every port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogRef {
    /// Whose log it is.
    pub tenant: TenantId,
    /// Which log.
    pub log: LogId,
}

/// A task and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// Whose task it is.
    pub tenant: TenantId,
    /// Which task.
    pub task: TaskId,
}

impl TaskRef {
    /// The task's log.
    pub fn log(self) -> LogRef {
        LogRef { tenant: self.tenant, log: self.task.log() }
    }
}

/// An event's place in its log: dense, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The place `count` events on.
    #[must_use]
    pub const fn plus(self, count: usize) -> Self {
        Self(self.0 + count as u64)
    }
}

/// The incarnation of a log. An engine that lost its tail begins a new one, and old cursors are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// Rises with each lease of a task, so that an old worker's append is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of the next lease.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A worker's name, for people who read a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub Arc<str>);

/// The text is no id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `{prefix}` and 26 letters or digits")]
pub struct ParseIdError {
    prefix: &'static str,
}

const KEY: &str = "key_";
const TASK: &str = "task_";
const SHARED: &str = "log_";

fn parse(text: &str, prefix: &'static str) -> Result<u128, ParseIdError> {
    text.strip_prefix(prefix).and_then(base32::decode).ok_or(ParseIdError { prefix })
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY}{:016x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(KEY).filter(|digits| digits.len() == 16);
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or(ParseIdError { prefix: KEY })
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TASK)?;
        base32::encode(self.0, f)
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, TASK).map(Self)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            LogKind::Task => TASK,
            LogKind::Shared => SHARED,
        })?;
        base32::encode(self.id, f)
    }
}

impl FromStr for LogId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SHARED) {
            return parse(text, SHARED).map(|id| Self { kind: LogKind::Shared, id });
        }
        text.parse().map(TaskId::log)
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
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
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(TaskId, LogId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text_and_its_bytes(millis in 0..(1u64 << 48), random: u128, transient: bool) {
            let durability = if transient { Durability::Transient } else { Durability::Durable };
            let task = TaskId::new(Timestamp::from_millis(millis), random, durability);
            prop_assert_eq!(task.to_string().parse(), Ok(task));
            prop_assert_eq!(TaskId::from_bytes(task.to_bytes()), task);
            prop_assert_eq!(task.durability(), durability);
            let log = LogId::shared(Timestamp::from_millis(millis), random, durability);
            prop_assert_eq!(log.to_string().parse(), Ok(log));
            prop_assert_eq!(LogId::from_bytes(log.to_bytes()), Some(log));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<TaskId>();
            let _ = format!("task_{text}").parse::<LogId>();
        }
    }

    #[test]
    fn ids_sort_by_age() {
        let older = TaskId::new(Timestamp::from_millis(1), u128::MAX, Durability::Transient);
        let newer = TaskId::new(Timestamp::from_millis(2), 0, Durability::Durable);
        assert!(older.to_string() < newer.to_string());
    }
}
