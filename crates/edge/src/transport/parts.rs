//! What the faces of screens share that speak in JSON objects: said, and as server-sent events.

use super::events::Written;
use serde_json::Value;

/// What is to be said, and whether more may follow.
pub(super) struct Said {
    pub(super) objects: Vec<Value>,
    pub(super) more: bool,
}

impl Said {
    /// As server-sent events; after the last one comes `end`.
    pub(super) fn into_sse(self, end: &[u8]) -> Written {
        let mut bytes = frames(&self.objects);
        if !self.more {
            bytes.extend_from_slice(end);
        }
        Written { bytes: bytes.into(), more: self.more }
    }
}

/// Objects as server-sent events.
pub(super) fn frames(objects: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for object in objects {
        out.extend_from_slice(b"data: ");
        // Strings and numbers: writing them to a vector can't fail.
        let _ = serde_json::to_writer(&mut out, object);
        out.extend_from_slice(b"\n\n");
    }
    out
}

/// Adds a piece to what was said last, where that was of the same kind and about the same thing: what was read at once is
/// said at once.
pub(super) fn joins(objects: &mut [Value], (kind, name, id): (&str, &str, &str), field: &str, text: &str) -> bool {
    let last = objects.last_mut().filter(|last| last["type"] == kind && last[name] == id);
    match last.map(|last| &mut last[field]) {
        Some(Value::String(said)) => {
            said.push_str(text);
            true
        }
        _ => false,
    }
}
