//! Agents that go round in a circle: who sends the same request again and again, or a conversation that grows by the same
//! tool call each time.
//!
//! An agent is the root of its tasks where they name a parent, else the lane, else the key and user: the nearest thing to one
//! conversation that a request tells of. What is counted is bounded for each tenant and in all; where there is no more room,
//! what was seen longest ago is forgotten, so under a flood of other requests a loop may go unnoticed, and nothing else.

use crate::id::{KeyId, TaskId, TenantId};
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Requests that are remembered of one tenant: each different request of the last window, at 48 bytes.
const MAX_OF_TENANT: usize = 4096;

/// And in all: 3 MiB.
const MAX_IN_ALL: usize = 65_536;

/// How many messages name a conversation: what the system is told, and the first question.
const FIRST_MESSAGES: usize = 2;

/// The longest that a request is put off.
const MAX_DELAY: Duration = Duration::from_mins(1);

/// When a repetition is a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runaway {
    /// Over how long repetitions are counted.
    pub window: Duration,
    /// From which repetition on an agent is slowed; never where it is 0.
    pub slow_after: u32,
    /// From which on it is stopped; never where it is 0.
    pub stop_after: u32,
    /// How long the first that is slowed waits. Each further one waits twice as long.
    pub delay: Duration,
}

impl Default for Runaway {
    /// Off.
    fn default() -> Self {
        Self { window: Duration::from_mins(1), slow_after: 0, stop_after: 0, delay: Duration::from_secs(1) }
    }
}

impl Runaway {
    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.slow_after > 0 || self.stop_after > 0
    }
}

/// Whose requests are compared with each other.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Agent<'a> {
    /// All tasks below this one.
    Root(TaskId),
    /// All tasks of a lane.
    Lane(&'a str),
    /// All that a key asks for a user.
    Payer(Option<KeyId>, Option<&'a str>),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes its way.
    Goes,
    /// It begins later.
    Slowed {
        /// How often it was seen.
        times: u32,
        /// How much later.
        delay: Duration,
    },
    /// It is refused.
    Stopped {
        /// How often it was seen.
        times: u32,
    },
}

/// How often something was seen in the window before and in this one.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    window: u64,
    before: u32,
    now: u32,
    /// The idempotency key that came with it last: a repetition of that is the same request.
    last: u64,
}

/// What is known of one tenant's requests.
type Seen = HashMap<u64, Count>;

/// What was seen lately.
#[derive(Debug)]
pub struct Loops {
    seen: Mutex<HashMap<TenantId, Seen>>,
    room: Room,
}

/// How many requests are remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) of_tenant: usize,
    pub(super) in_all: usize,
}

impl Default for Loops {
    fn default() -> Self {
        Self::with_room(Room { of_tenant: MAX_OF_TENANT, in_all: MAX_IN_ALL })
    }
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What two requests of one loop have in common.
struct Marks {
    /// All that is said.
    whole: u64,
    /// The conversation, and the tool call that it ends with, where it ends with several equal ones.
    step: Option<(u64, u32)>,
}

impl Marks {
    fn of(agent: Agent<'_>, route: &str, input: &[u8]) -> Option<Self> {
        let request: Value = serde_json::from_slice(input).ok()?;
        let said = |field: &str| request.get(field).map(Value::to_string);
        let whole = hash((agent, route, said("messages"), said("input"), said("tools")));
        let messages = request.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let step = repeated_call(messages).map(|(call, times)| {
            let first: Vec<String> = messages.iter().take(FIRST_MESSAGES).map(Value::to_string).collect();
            (hash((agent, route, first, call)), times)
        });
        Some(Self { whole, step })
    }
}

/// The tool calls that a conversation ends with, and how often they were made in a row.
fn repeated_call(messages: &[Value]) -> Option<(String, u32)> {
    let called = |message: &Value| {
        let calls = message.get("tool_calls")?.as_array()?.iter();
        // Each call has another id; what is asked is the same.
        Some(calls.map(|call| call.get("function").unwrap_or(call).to_string()).collect::<Vec<_>>().join("\n"))
    };
    let role = |message: &&Value| message.get("role").and_then(Value::as_str) != Some("tool");
    let mut steps = messages.iter().rev().filter(role).map(called);
    let last = steps.next()??;
    let times = 1 + steps.take_while(|step| step.as_deref() == Some(&*last)).count();
    (times > 1).then(|| (last, u32::try_from(times).unwrap_or(u32::MAX)))
}

impl Loops {
    pub(super) fn with_room(room: Room) -> Self {
        Self { seen: Mutex::default(), room }
    }

    /// Looks at a request, and remembers it. `idempotency_key`: one that is sent again with the same key counts once.
    pub fn look(
        &self,
        runaway: &Runaway,
        (tenant, agent): (TenantId, Agent<'_>),
        (route, input): (&str, &[u8]),
        idempotency_key: Option<&str>,
        now: Duration,
    ) -> Verdict {
        let Some(marks) = Marks::of(agent, route, input) else { return Verdict::Goes };
        let window = u64::try_from(now.as_millis() / runaway.window.as_millis().max(1)).unwrap_or(u64::MAX);
        let left = 1.0 - (now.as_secs_f64() / runaway.window.as_secs_f64()).fract();
        let key = idempotency_key.map_or(0, |key| hash(key) | 1);
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = seen((&mut all, self.room), (tenant, marks.whole), (window, left), key);
        if let Some((step, in_a_row)) = marks.step {
            // A conversation that says so of itself, and that came so often: either alone may be an accident.
            times = times
                .max(seen((&mut all, self.room), (tenant, step), (window, left), key).saturating_add(1).min(in_a_row));
        }
        drop(all);
        if runaway.stop_after > 0 && times >= runaway.stop_after {
            return Verdict::Stopped { times };
        }
        if runaway.slow_after > 0 && times >= runaway.slow_after {
            let doublings = (times - runaway.slow_after).min(16);
            let delay = runaway.delay.saturating_mul(1 << doublings).min(MAX_DELAY);
            return Verdict::Slowed { times, delay };
        }
        Verdict::Goes
    }

    /// How many requests are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }
}

/// Counts one more, and says how many there were within about one window.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a smaller count")]
fn seen(
    (all, room): (&mut HashMap<TenantId, Seen>, Room),
    (tenant, mark): (TenantId, u64),
    (window, left): (u64, f64),
    key: u64,
) -> u32 {
    if !all.get(&tenant).is_some_and(|seen| seen.contains_key(&mark)) && !make_room((all, room), tenant, window) {
        return 1;
    }
    let count = all.entry(tenant).or_default().entry(mark).or_default();
    if count.window + 1 == window {
        (count.before, count.now) = (count.now, 0);
    } else if count.window != window {
        (count.before, count.now) = (0, 0);
    }
    count.window = window;
    if key == 0 || key != count.last {
        count.now = count.now.saturating_add(1);
    }
    count.last = key;
    // Of the window before, the share that still lies within one window of now.
    count.now.saturating_add((f64::from(count.before) * left) as u32)
}

/// Makes room for one more of this tenant, if there can be.
fn make_room((all, room): (&mut HashMap<TenantId, Seen>, Room), tenant: TenantId, window: u64) -> bool {
    if all.values().map(HashMap::len).sum::<usize>() >= room.in_all {
        for seen in all.values_mut() {
            seen.retain(|_, count| count.window + 1 >= window);
        }
        all.retain(|_, seen| !seen.is_empty());
    }
    let full = all.values().map(HashMap::len).sum::<usize>() >= room.in_all;
    let Some(own) = all.get_mut(&tenant) else { return !full };
    if own.len() >= room.of_tenant {
        own.retain(|_, count| count.window + 1 >= window);
    }
    if own.len() >= room.of_tenant || full {
        // Half of them at once, so that a flood does not look through all of them for each request.
        let mut marks: Vec<(u64, u32, u64)> =
            own.iter().map(|(mark, count)| (count.window, count.now, *mark)).collect();
        marks.sort_unstable();
        for (_, _, mark) in marks.into_iter().take(own.len().div_ceil(2)) {
            own.remove(&mark);
        }
    }
    true
}
