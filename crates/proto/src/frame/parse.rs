//! Reading frames. One flat struct a direction, because the op decides what `task` is and because raw JSON
//! does not pass through serde's tagged enums.

use super::{ClientFrame, OPS, ServerFrame};
use crate::error::{Code, WireError};
use crate::event::WireEvent;
use crate::http::{Ack, LeftBody};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The longest `ref` that is given back.
const MAX_REFERENCE_BYTES: usize = 64;

/// A frame that was refused, with the `ref` that its answer carries.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The frame's, where it could be read.
    pub reference: Option<String>,
    /// Why.
    pub error: WireError,
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    follow: Option<bool>,
    log: Option<String>,
    after: Option<u64>,
    epoch: Option<u32>,
    window_ms: Option<u64>,
}

impl ClientFrame {
    /// Reads a frame.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if !text.trim_ascii_start().starts_with('{') {
            let error = WireError::new(Code::InvalidJson, "a frame is a JSON object");
            return Err(Refused { reference: None, error });
        }
        let asked: Asked<'_> = serde_json::from_str(text)
            .map_err(|error| Refused { reference: reference_of(text), error: json_error(&error, "the frame") })?;
        let reference = asked.reference.clone();
        if reference.as_ref().is_some_and(|text| text.len() > MAX_REFERENCE_BYTES) {
            let message = format!("`ref` may have {MAX_REFERENCE_BYTES} bytes");
            return Err(Refused { reference: None, error: WireError::new(Code::InvalidRequest, message) });
        }
        asked.frame().map_err(|error| Refused { reference, error })
    }
}

impl Asked<'_> {
    fn frame(self) -> Result<ClientFrame, WireError> {
        let reference = self.reference;
        match self.op.as_deref() {
            Some("submit") => {
                let task = self.task.ok_or_else(|| missing("submit", "task"))?;
                let task = serde_json::from_str(task.get()).map_err(|error| json_error(&error, "`task`"))?;
                Ok(ClientFrame::Submit { reference, task, follow: self.follow, window_ms: self.window_ms })
            }
            Some("follow") => {
                let log = self.log.ok_or_else(|| missing("follow", "log"))?;
                let (after, epoch, window_ms) = (self.after, self.epoch, self.window_ms);
                Ok(ClientFrame::Follow { reference, log, after, epoch, window_ms })
            }
            Some("unfollow") => {
                let log = self.log.ok_or_else(|| missing("unfollow", "log"))?;
                Ok(ClientFrame::Unfollow { reference, log })
            }
            Some("stop") => {
                let task = self.task.ok_or_else(|| missing("stop", "task"))?;
                let task = serde_json::from_str(task.get()).map_err(|error| json_error(&error, "`task`"))?;
                Ok(ClientFrame::Stop { reference, task })
            }
            Some("ping") => Ok(ClientFrame::Ping { reference }),
            Some(op) => Err(WireError::new(Code::UnknownOp, format!("`{op}` is no op; there are {}", OPS.join(", ")))),
            None => Err(WireError::new(Code::InvalidRequest, format!("a frame needs `op`, one of {}", OPS.join(", ")))),
        }
    }
}

fn missing(op: &str, field: &str) -> WireError {
    WireError::new(Code::InvalidRequest, format!("`{op}` needs `{field}`"))
}

/// Tells text that is no JSON from JSON of the wrong shape.
fn json_error(error: &serde_json::Error, what: &str) -> WireError {
    let code = if error.is_data() { Code::InvalidRequest } else { Code::InvalidJson };
    WireError::new(code, format!("{what} can't be read: {error}"))
}

/// The `ref` of a frame whose other fields are wrong, so that its sender knows which one it was.
fn reference_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(rename = "ref")]
        reference: Option<String>,
    }
    let only: Only = serde_json::from_str(text).ok()?;
    only.reference.filter(|text| text.len() <= MAX_REFERENCE_BYTES)
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(rename = "ref", borrow)]
    reference: Option<Cow<'a, str>>,
    task: Option<String>,
    log: Option<String>,
    epoch: Option<u32>,
    state: Option<String>,
    place: Option<u64>,
    wait_ms: Option<u64>,
    #[serde(default)]
    known: bool,
    limits: Option<LeftBody>,
    tail: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    #[serde(borrow, default)]
    events: Vec<WireEvent<'a>>,
    reason: Option<String>,
    error: Option<WireError>,
}

impl<'a> ServerFrame<'a> {
    /// Reads a frame. `Ok(None)` is an op that this version does not know, and that a client passes over.
    pub fn parse(text: &'a str) -> Result<Option<Self>, serde_json::Error> {
        let said: Said<'a> = serde_json::from_str(text)?;
        Ok(said.frame())
    }
}

impl<'a> Said<'a> {
    fn frame(self) -> Option<ServerFrame<'a>> {
        let reference = self.reference;
        let log = self.log.unwrap_or_default();
        let epoch = self.epoch.unwrap_or_default();
        let task = self.task.unwrap_or_default();
        let state = self.state.unwrap_or_default();
        Some(match &*self.op {
            "ack" => {
                let (place, wait_ms, known, limits) = (self.place, self.wait_ms, self.known, self.limits);
                let ack = Ack { task, log, epoch, state, place, wait_ms, known, limits };
                ServerFrame::Ack { reference, ack }
            }
            "following" => ServerFrame::Following { reference, log, epoch, tail: self.tail.unwrap_or_default() },
            "events" => {
                let (from, to) = (self.from.unwrap_or_default(), self.to.unwrap_or_default());
                ServerFrame::Events { log, epoch, from, to, events: self.events }
            }
            "waiting" => ServerFrame::Waiting { task, place: self.place.unwrap_or_default(), wait_ms: self.wait_ms },
            "unfollowed" => ServerFrame::Unfollowed { reference, log, reason: self.reason.unwrap_or_default() },
            "stopped" => ServerFrame::Stopped { reference, task, state },
            "pong" => ServerFrame::Pong { reference },
            "error" => {
                let unnamed = || WireError::new(Code::Internal, "the server named no error");
                ServerFrame::Error { reference, error: self.error.unwrap_or_else(unnamed) }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<String>, String) {
        let refused = ClientFrame::parse(text).unwrap_err();
        (refused.reference, refused.error.code)
    }

    #[test]
    fn a_refused_frame_keeps_its_ref_and_says_which_kind_of_wrong() {
        assert_eq!(refused("{"), (None, "invalid_json".into()));
        assert_eq!(refused("[]").1, "invalid_json");
        assert_eq!(refused(r#"{"ref":"7"}"#), (Some("7".into()), "invalid_request".into()));
        assert_eq!(refused(r#"{"op":"fly","ref":"7"}"#), (Some("7".into()), "unknown_op".into()));
        assert_eq!(refused(r#"{"op":"follow","ref":"7"}"#), (Some("7".into()), "invalid_request".into()));
        assert_eq!(refused(r#"{"op":"submit","ref":"7","task":3}"#), (Some("7".into()), "invalid_request".into()));
        assert_eq!(refused(r#"{"op":"follow","ref":"7","log":3}"#), (Some("7".into()), "invalid_request".into()));
    }

    #[test]
    fn frames_survive_the_wire() {
        let text = r#"{"op":"submit","ref":"1","task":{"input":{"messages":[],"x":1.50},"nonsense":1}}"#;
        let ClientFrame::Submit { task, .. } = ClientFrame::parse(text).unwrap() else { panic!("{text}") };
        assert_eq!(task.input.unwrap().get(), r#"{"messages":[],"x":1.50}"#);
        assert!(task.unknown.contains_key("nonsense"));

        let text = r#"{"op":"events","log":"task_1","epoch":7,"from":0,"to":3,"events":[{"offset":0,"count":3,"type":"text","at":1,"data":"a\nb"}]}"#;
        let frame = ServerFrame::parse(text).unwrap().unwrap();
        let ServerFrame::Events { events, .. } = &frame else { panic!("{frame:?}") };
        assert_eq!(events[0].text().unwrap(), "a\nb");
        assert_eq!(serde_json::to_string(&frame).unwrap(), text);

        let text = r#"{"op":"ack","ref":"1","task":"task_1","log":"task_1","epoch":7,"state":"queued","place":0}"#;
        assert_eq!(serde_json::to_string(&ServerFrame::parse(text).unwrap().unwrap()).unwrap(), text);
        assert!(ServerFrame::parse(r#"{"op":"from_tomorrow"}"#).unwrap().is_none());
    }
}
