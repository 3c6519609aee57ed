//! The frames of `/v1/ws`: one JSON object each.

mod parse;

pub use parse::Refused;

use crate::error::WireError;
use crate::event::WireEvent;
use crate::task::Submission;
use serde::Serialize;
use std::borrow::Cow;

/// What a client may ask.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Run a task.
    Submit {
        /// Comes back with the answer.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// What to run.
        task: Box<Submission>,
        /// Whether to follow its log at once; yes, unless told otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        follow: Option<bool>,
        /// Merge what comes within so many milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        window_ms: Option<u64>,
    },
    /// Follow a log.
    Follow {
        /// Comes back with the answer.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// Which log.
        log: String,
        /// The last offset seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// The epoch it belongs to.
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
        /// Merge what comes within so many milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        window_ms: Option<u64>,
    },
    /// Stop following a log. Its task goes on.
    Unfollow {
        /// Comes back with the answer.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// Which log.
        log: String,
    },
    /// Stop a task.
    Stop {
        /// Comes back with the answer.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// Which task.
        task: String,
    },
    /// Ask for a `pong`.
    Ping {
        /// Comes back with the answer.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
}

/// The ops of [`ClientFrame`], for the error that names them.
pub const OPS: &[&str] = &["submit", "follow", "unfollow", "stop", "ping"];

/// What the server says.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The task is committed.
    Ack {
        /// The submit's.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
        /// The acknowledged task.
        #[serde(flatten)]
        ack: crate::http::Ack,
    },
    /// The cursor is set.
    Following {
        /// The follow's.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
        /// Which log.
        log: String,
        /// Its epoch.
        epoch: u32,
        /// Its tail when the cursor was set.
        tail: u64,
    },
    /// Events of one log.
    Events {
        /// Which log.
        log: String,
        /// Its epoch.
        epoch: u32,
        /// The first offset.
        from: u64,
        /// One past the last offset.
        to: u64,
        /// Dense, in order.
        events: Vec<WireEvent<'a>>,
    },
    /// Where a task stands that this connection follows and that waits: when it follows, and when it has changed.
    /// No event: it has no offset, and one that is missed is missed for good.
    Waiting {
        /// Which task.
        task: String,
        /// How many are ahead.
        place: u64,
        /// How long until it runs, an estimate, where one can be given.
        #[serde(skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// No more events of this log.
    Unfollowed {
        /// The unfollow's, where a client asked.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
        /// Which log.
        log: String,
        /// `asked`, `ended`, `gone`, or an error code.
        reason: String,
    },
    /// The answer to a stop.
    Stopped {
        /// The stop's.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
        /// Which task.
        task: String,
        /// Its state now.
        state: String,
    },
    /// The answer to a ping.
    Pong {
        /// The ping's.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
    },
    /// A frame was refused. The connection lives on.
    Error {
        /// The frame's.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Cow<'a, str>>,
        /// Why.
        error: WireError,
    },
}
