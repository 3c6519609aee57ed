//! When a task runs: its priority, its lane, its start, and what its deployment must have.

use super::invalid;
use crate::refusal::Refusal;
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::task::{OnBusy, Priority, Turn};
use tidewire_proto::Submission;

/// The longest name of a lane: a conversation's id, or a user's.
const MAX_LANE_BYTES: usize = 255;

/// How far ahead a start may lie: a month covers what people plan, and what waits is kept that long.
const MAX_DELAY_MS: u64 = 31 * 86_400_000;

/// How many capabilities a task may name, and how long their names may be.
const MAX_NEEDS: usize = 16;
const MAX_NEED_BYTES: usize = 64;

/// What an answer is taken to be where the request sets no limit: a paragraph or three.
const USUAL_ANSWER_TOKENS: u64 = 256;

/// No estimate is larger: one task must not cost its tenant the turn of a day.
const MAX_ESTIMATE_TOKENS: u64 = 1_000_000;

/// Tokens that the task will read and write, an estimate that costs nothing: only shares among tenants depend on it.
pub(super) fn estimate(read: u64, max_tokens: Option<u64>) -> u64 {
    read.saturating_add(max_tokens.unwrap_or(USUAL_ANSWER_TOKENS)).clamp(1, MAX_ESTIMATE_TOKENS)
}

/// When it runs.
pub(super) fn turn(submission: &Submission, needs: Vec<String>, now: Timestamp, tokens: u64) -> Result<Turn, Refusal> {
    let priority = match submission.priority.as_deref() {
        None => Priority::default(),
        Some(text) => Priority::parse(text)
            .ok_or_else(|| invalid(format!("`priority` is `interactive`, `normal` or `bulk`, not `{text}`")))?,
    };
    let on_busy = match submission.on_busy.as_deref() {
        None => OnBusy::default(),
        Some(text) => OnBusy::parse(text)
            .ok_or_else(|| invalid(format!("`on_busy` is `queue`, `steer` or `replace`, not `{text}`")))?,
    };
    if submission.on_busy.is_some() && submission.lane.is_none() {
        return Err(invalid("`on_busy` says what a task does while its lane is busy: name a `lane`"));
    }
    let lane = match submission.lane.as_deref() {
        Some(lane) if !(1..=MAX_LANE_BYTES).contains(&lane.len()) => {
            return Err(invalid(format!("a lane's name has 1 to {MAX_LANE_BYTES} bytes")));
        }
        lane => lane.map(Into::into),
    };
    let start_at = start_at(submission, now)?;
    Ok(Turn { priority, tokens, lane, on_busy, steers: None, start_at, needs })
}

/// When it may begin; `None` for at once.
fn start_at(submission: &Submission, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let latest = now.plus(Duration::from_millis(MAX_DELAY_MS));
    let start = match (submission.start_at, submission.delay_ms) {
        (Some(_), Some(_)) => return Err(invalid("give either `start_at` or `delay_ms`, not both")),
        (Some(millis), None) => Timestamp::from_millis(millis),
        (None, Some(millis)) => now.plus(Duration::from_millis(millis)),
        (None, None) => return Ok(None),
    };
    if start > latest {
        return Err(invalid(format!("a task starts within {} days", MAX_DELAY_MS / 86_400_000)));
    }
    Ok(Some(start).filter(|start| *start > now))
}

/// What its deployment must have.
pub(super) fn needs(needs: Option<&[String]>) -> Result<Vec<String>, Refusal> {
    let needs = needs.unwrap_or_default();
    let fits = |need: &String| (1..=MAX_NEED_BYTES).contains(&need.len());
    if needs.len() > MAX_NEEDS || !needs.iter().all(fits) {
        return Err(invalid(format!("`needs` is a list of at most {MAX_NEEDS} names of 1 to {MAX_NEED_BYTES} bytes")));
    }
    Ok(needs.to_vec())
}
