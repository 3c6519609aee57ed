//! What the model reads: the task's own messages, and before them what the task that it steers was asked and said.

use crate::Worker;
use crate::draft::Barred;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tidewire_core::port::{Cursor, ReadError};
use tidewire_core::{Kind, Task, TaskRef};

/// How long a chain of tasks that steer one another is followed back. More than a person interrupts in one go.
const MAX_STEERED: usize = 32;

/// How much of a log is read at once.
const PAGE_BYTES: usize = 1024 * 1024;

/// A chat request, all of its fields as they came.
type Chat = BTreeMap<String, Box<RawValue>>;

/// The request as the backend gets it.
pub(crate) async fn input(worker: &Worker, task: &Task) -> Result<Bytes, Barred> {
    if task.spec.turn.steers.is_none() {
        return Ok(task.spec.input.clone());
    }
    let Ok(mut chat) = serde_json::from_slice::<Chat>(&task.spec.input) else { return Ok(task.spec.input.clone()) };
    // The newest first: the chain is walked back.
    let mut turns = vec![messages(&task.spec.input)];
    let mut steered = task.spec.turn.steers;
    while let Some(earlier) = steered.filter(|_| turns.len() <= MAX_STEERED) {
        let at = TaskRef { tenant: task.tenant, task: earlier };
        let earlier = worker.tasks.get(at).await.map_err(|error| Barred::Unavailable(error.reason))?;
        // One that has expired has nothing to say any more.
        let Some(earlier) = earlier else { break };
        let mut turn = messages(&earlier.spec.input);
        turn.extend(said(&text(worker, at).await?));
        turns.push(turn);
        steered = earlier.spec.turn.steers;
    }
    let all: Vec<Box<RawValue>> = turns.into_iter().rev().flatten().collect();
    let Ok(all) = serde_json::value::to_raw_value(&all) else { return Ok(task.spec.input.clone()) };
    chat.insert("messages".to_owned(), all);
    Ok(serde_json::to_vec(&chat).map_or_else(|_| task.spec.input.clone(), Bytes::from))
}

fn messages(input: &[u8]) -> Vec<Box<RawValue>> {
    let chat: Option<Chat> = serde_json::from_slice(input).ok();
    let messages = chat.and_then(|chat| serde_json::from_str(chat.get("messages")?.get()).ok());
    messages.unwrap_or_default()
}

/// A text as the assistant's message; none where nothing was said.
fn said(text: &str) -> Option<Box<RawValue>> {
    if text.is_empty() {
        return None;
    }
    serde_json::value::to_raw_value(&serde_json::json!({ "role": "assistant", "content": text })).ok()
}

/// The text that stands in a task's log.
async fn text(worker: &Worker, at: TaskRef) -> Result<String, Barred> {
    let mut text = String::new();
    let state = match worker.log.state(at.log()).await {
        Ok(state) => state,
        Err(ReadError::Unknown) => return Ok(text),
        Err(error) => return Err(error.into()),
    };
    let mut cursor = Cursor { epoch: state.epoch, next: state.first };
    while cursor.next < state.tail {
        let page = worker.log.read(at.log(), cursor, PAGE_BYTES).await?;
        let Some(last) = page.events.last() else { break };
        cursor.next = last.offset.plus(1);
        for event in &page.events {
            match event.kind {
                Kind::Text => text.push_str(&String::from_utf8_lossy(&event.data)),
                Kind::Rewind => text.clear(),
                _ => {}
            }
        }
    }
    Ok(text)
}
