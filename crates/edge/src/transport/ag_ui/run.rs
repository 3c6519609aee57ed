//! A log as AG-UI's events.

use super::request::About;
use crate::follow::Batch;
use crate::transport::answer::{Answer, Part, Role, Step};
use crate::transport::openai::fault::not_whole;
use crate::transport::parts::{Said, joins};
use serde_json::{Value, json};
use tidewire_core::{Ending, Event, Kind, Outcome, Task};
use tidewire_proto::{Code, WireError};

/// A run, as far as it was told.
pub(super) struct Run {
    about: About,
    /// The task's id, as messages carry it.
    name: String,
    task: String,
    model: String,
    answer: Answer,
    open: Open,
}

/// Where the telling stands.
#[derive(Default)]
struct Open {
    /// The part that is being told: it has to be ended before the run fails.
    part: Option<Part>,
    /// The assistant's message that calls of tools belong to: one for all of them.
    parent: Option<String>,
}

impl Run {
    pub(super) fn new(task: &Task, about: About) -> Self {
        let id = task.id.to_string();
        Self {
            about,
            name: id.trim_start_matches("task_").to_owned(),
            task: id,
            model: task.spec.model.clone(),
            answer: Answer::default(),
            open: Open::default(),
        }
    }

    /// What is said before the log has anything.
    pub(super) fn open(&mut self) -> Vec<Value> {
        let About { thread, run, .. } = &self.about;
        let mut events = vec![
            json!({ "type": "RUN_STARTED", "threadId": thread, "runId": run }),
            json!({ "type": "CUSTOM", "name": "tidewire.task", "value": { "task": self.task, "model": self.model } }),
        ];
        // A client that comes back has the beginning already, and is told it again.
        let said = self.about.messages.len();
        let prefix = format!("msg_{}_", self.name);
        self.about.messages.retain(|message| !message["id"].as_str().is_some_and(|id| id.starts_with(&prefix)));
        if self.about.messages.len() < said {
            events.push(self.snapshot());
        }
        events
    }

    /// The messages as they were before the run.
    fn snapshot(&self) -> Value {
        json!({ "type": "MESSAGES_SNAPSHOT", "messages": self.about.messages })
    }

    /// What a batch of the log amounts to, or why there is none.
    pub(super) fn write(&mut self, batch: Result<&Batch, &WireError>) -> Said {
        let mut events = Vec::new();
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                self.fail(error, &mut events);
                return Said { objects: events, more: false };
            }
        };
        for event in &batch.events {
            if event.kind == Kind::End {
                self.end(event, &mut events);
                return Said { objects: events, more: false };
            }
            let mut taken_back = false;
            let (name, open) = (&self.name, &mut self.open);
            self.answer.hear(event, &mut |step| {
                taken_back |= matches!(step, Step::TakenBack);
                tell(&step, name, open, &mut events);
            });
            if taken_back {
                // The screen forgets what the failed attempt had said.
                events.push(self.snapshot());
            }
        }
        Said { objects: events, more: !batch.over }
    }

    fn end(&mut self, event: &Event, events: &mut Vec<Value>) {
        let Ok(ending) = serde_json::from_slice::<Ending>(&event.data) else {
            return self.fail(&WireError::new(Code::Damaged, "the end of the log can't be read"), events);
        };
        if let Some(error) = not_whole(&ending).filter(|_| ending.state != Outcome::Stopped) {
            return self.fail(&error, events);
        }
        let (name, open) = (&self.name, &mut self.open);
        self.answer.finish(&mut |step| tell(&step, name, open, events));
        let usage = ending.usage;
        let outcome = if ending.state == Outcome::Stopped { "cancelled" } else { "success" };
        let About { thread, run, .. } = &self.about;
        events.push(json!({
            "type": "RUN_FINISHED", "threadId": thread, "runId": run, "outcome": { "type": outcome },
            "usage": [{
                "model": self.model, "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens,
                "totalTokens": usage.input_tokens + usage.output_tokens, "cachedInputTokens": usage.cached_tokens,
            }],
            "result": {
                "task": self.task, "deployment": ending.deployment, "costUsd": usage.cost.dollars(),
                "finishReason": ending.finish_reason, "cache": ending.cache,
            },
        }));
    }

    fn fail(&mut self, error: &WireError, events: &mut Vec<Value>) {
        if let Some(part) = self.open.part.take() {
            end_of(&part, &self.name, events);
        }
        events.push(json!({ "type": "RUN_ERROR", "message": error.message, "code": error.code }));
    }
}

/// The id of a part's message. No two parts of a task's log have the same.
fn message(part: &Part, name: &str) -> String {
    format!("msg_{name}_{}", part.serial)
}

fn tell(step: &Step<'_>, name: &str, open: &mut Open, events: &mut Vec<Value>) {
    match step {
        Step::Begins(part) => {
            open.part = Some((*part).clone());
            let message = message(part, name);
            match &part.role {
                Role::Text => {
                    open.parent = Some(message.clone());
                    events.push(json!({ "type": "TEXT_MESSAGE_START", "messageId": message, "role": "assistant" }));
                }
                Role::Reasoning => {
                    events.push(json!({ "type": "REASONING_START", "messageId": message }));
                    let begun = json!({ "type": "REASONING_MESSAGE_START", "messageId": message, "role": "reasoning" });
                    events.push(begun);
                }
                Role::Call { id, name, .. } => {
                    let parent = open.parent.get_or_insert(message);
                    events.push(json!({ "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": name,
                        "parentMessageId": parent }));
                }
            }
        }
        Step::Adds(part, text) => {
            let (kind, field, id) = match &part.role {
                Role::Text => ("TEXT_MESSAGE_CONTENT", "messageId", message(part, name)),
                Role::Reasoning => ("REASONING_MESSAGE_CONTENT", "messageId", message(part, name)),
                Role::Call { id, .. } => ("TOOL_CALL_ARGS", "toolCallId", id.clone()),
            };
            if !joins(events, (kind, field, &id), "delta", text) {
                events.push(json!({ "type": kind, field: id, "delta": text }));
            }
        }
        Step::Ends(part) => {
            open.part = None;
            end_of(part, name, events);
        }
        Step::TakenBack => {
            open.parent = None;
            if let Some(part) = open.part.take() {
                end_of(&part, name, events);
            }
        }
    }
}

fn end_of(part: &Part, name: &str, events: &mut Vec<Value>) {
    let message = message(part, name);
    match &part.role {
        Role::Text => events.push(json!({ "type": "TEXT_MESSAGE_END", "messageId": message })),
        Role::Reasoning => {
            events.push(json!({ "type": "REASONING_MESSAGE_END", "messageId": message }));
            events.push(json!({ "type": "REASONING_END", "messageId": message }));
        }
        Role::Call { id, .. } => events.push(json!({ "type": "TOOL_CALL_END", "toolCallId": id })),
    }
}
