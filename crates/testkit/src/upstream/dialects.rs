//! The same answers in the words of other APIs: Anthropic's messages and Gemini's `generateContent`, streamed, which is the
//! only form that tidewire asks them for.

use super::frames::{Frames, Key, closing, event, head, named_event, usage};
use super::request::Path;
use super::script::{Script, token};
use serde_json::{Value, json};

/// How Anthropic writes a stream.
pub(super) fn messages(script: &Script, key: &Key) -> Frames {
    let (input, output) = usage(script, key).unwrap_or_default();
    let say = |name: &str, data: Value| named_event(name, &data);
    let message = json!({
        "id": "msg_scripted", "type": "message", "role": "assistant", "model": key.model, "content": [],
        "stop_reason": null, "usage": {"input_tokens": input, "output_tokens": 1},
    });
    let mut opening = head(script, 200, "text/event-stream; charset=utf-8", None).into_bytes();
    opening.extend(say("message_start", json!({"type": "message_start", "message": message})));
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    opening.extend(say("content_block_start", block));
    let one = |number| {
        let delta = json!({"type": "text_delta", "text": token(number)});
        say("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta})).into()
    };
    let stop = if key.to < script.tokens { "max_tokens" } else { "end_turn" };
    let mut reason = say("content_block_stop", json!({"type": "content_block_stop", "index": 0}));
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    let last = json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}});
    reason.extend(say("message_delta", last));
    let mut ending = say("message_stop", json!({"type": "message_stop"}));
    ending.extend(closing());
    Frames {
        opening: opening.into(),
        tokens: (key.from..key.to).map(one).collect(),
        reason: reason.into(),
        ending: ending.into(),
    }
}

/// How Gemini writes one: no frame says that it was the last, the body's end does.
pub(super) fn pieces(script: &Script, key: &Key) -> Frames {
    let opening = head(script, 200, "text/event-stream", None).into_bytes();
    let piece = |parts: Value, reason: Option<&str>| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        if let Some(reason) = reason {
            candidate["finishReason"] = reason.into();
        }
        json!({"candidates": [candidate], "modelVersion": key.model, "responseId": "scripted"})
    };
    let one = |number| event(&piece(json!([{"text": token(number)}]), None)).into();
    let mut last = piece(json!([{"text": ""}]), Some(if key.to < script.tokens { "MAX_TOKENS" } else { "STOP" }));
    if let Some((input, output)) = usage(script, key) {
        last["usageMetadata"] =
            json!({"promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output});
    }
    Frames {
        opening: opening.into(),
        tokens: (key.from..key.to).map(one).collect(),
        reason: event(&last).into(),
        ending: closing().into(),
    }
}

/// An error in the place of a chunk.
pub(super) fn error(path: Path) -> Vec<u8> {
    let message = "The scripted upstream broke.";
    match path {
        Path::Messages => {
            let error = json!({"type": "overloaded_error", "message": message});
            named_event("error", &json!({"type": "error", "error": error}))
        }
        Path::Generate => event(&json!({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})),
        _ => event(&super::frames::error_body()),
    }
}
