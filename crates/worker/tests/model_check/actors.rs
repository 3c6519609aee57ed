//! Who does what: the steps of `run.rs`, one call at a time, and what can happen in between.

use crate::world::{Answer, Fault, MAX_ATTEMPTS, Variant, World};
use tidewire_core::{Outcome, State};

/// The reaper stands behind the two workers.
const REAPER: usize = 2;
/// Events that one attempt writes at most, besides its end.
const TEXTS: u64 = 1;

/// A call on its way to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    /// Without texts it only shuts earlier writers out.
    Append {
        fence: u64,
        expect: u64,
        texts: usize,
    },
    End {
        fence: u64,
        expect: u64,
        how: How,
    },
    /// With `counts` the attempt failed; else it was handed back.
    Release {
        fence: u64,
        counts: bool,
    },
    Settle,
    Finish,
}

/// How a log ends: an `Outcome`, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum How {
    Whole,
    Failed,
    Stopped,
}

impl From<How> for Outcome {
    fn from(how: How) -> Self {
        match how {
            How::Whole => Self::Done,
            How::Failed => Self::Failed,
            How::Stopped => Self::Stopped,
        }
    }
}

/// A worker, or the reaper, in the middle of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    /// Holds nothing.
    #[default]
    Idle,
    /// Has a lease, and waits for nothing.
    Holds(Hold),
    /// Waits for an answer. One that comes and is not read yet is a worker that is slow with its next call.
    Waits(Hold, Call),
}

/// What an actor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hold {
    fence: u64,
    attempt: u32,
    tail: u64,
    /// Events that this attempt wrote.
    texts: u64,
    /// Earlier writers are shut out.
    fenced: bool,
    /// The `retry` event is in the log.
    failed: bool,
}

/// What was done: by whom, what, and with which call.
#[derive(Clone, Copy)]
pub(crate) struct Step(&'static str, &'static str, Option<Call>);

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(who, what, call) = self;
        match call {
            Some(call) => write!(f, "{who} {what}: {call:?}"),
            None => write!(f, "{who} {what}"),
        }
    }
}

fn step(who: &'static str, what: &'static str, call: Option<Call>, mut world: World) -> (Step, World) {
    // The workers are alike: which of them does it makes no difference.
    world.actors[..REAPER].sort_unstable();
    world.orphans.sort_unstable();
    (Step(who, what, call), world)
}

/// Every world that can follow, and what led to it.
pub(crate) fn next(world: &World, variant: Variant) -> Vec<(Step, World)> {
    let mut worlds = Vec::new();
    for place in 0..world.actors.len() {
        act(world, place, variant, &mut worlds);
    }
    for place in 0..world.orphans.len() {
        let mut late = world.clone();
        let call = late.orphans.remove(place);
        let lost = late.clone();
        late.apply(call, variant);
        worlds.push(step("a call of a lost worker", "arrives", Some(call), late));
        worlds.push(step("a call of a lost worker", "is lost too", Some(call), lost));
    }
    lapse(world, variant, &mut worlds);
    if variant.stops && !world.record.state.is_ended() && !world.record.is_stopping() {
        let mut stopping = world.clone();
        stopping.record.request_stop();
        worlds.push(step("somebody", "stops the task", None, stopping));
    }
    worlds
}

/// A lease lapses: for free once its worker is gone, else because the worker is slow.
fn lapse(world: &World, variant: Variant, worlds: &mut Vec<(Step, World)>) {
    if world.record.state != State::Running || world.record.has_lapsed() {
        return;
    }
    let of_holder = |actor: &Actor| actor.hold().is_some_and(|hold| world.record.is_held_by(hold.fence));
    let is_kept = world.actors.iter().any(of_holder);
    if !is_kept || world.lapses < variant.lapses {
        let mut lapsed = world.clone();
        lapsed.record.lapse();
        lapsed.lapses += u8::from(is_kept);
        worlds.push(step("the lease", "lapses", None, lapsed));
    }
}

impl Actor {
    fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Idle => None,
            Self::Holds(hold) | Self::Waits(hold, _) => Some(hold),
        }
    }
}

fn act(world: &World, place: usize, variant: Variant, worlds: &mut Vec<(Step, World)>) {
    let name = ["a worker", "a worker", "the reaper"][place];
    let becomes = |actor: Actor| {
        let mut world = world.clone();
        world.actors[place] = actor;
        world
    };
    if world.actors[place] != Actor::Idle && world.crashes < variant.crashes {
        let mut fallen = becomes(Actor::Idle);
        fallen.crashes += 1;
        if let Actor::Waits(_, call) = world.actors[place] {
            fallen.orphans.push(call);
        }
        worlds.push(step(name, "falls", None, fallen));
    }
    match world.actors[place] {
        Actor::Idle => {
            let wanted = place != REAPER || world.record.is_stopping();
            let mut leased = world.clone();
            if let Some((fence, attempt)) = leased.record.lease(place == REAPER).filter(|_| wanted) {
                let first = fence == 1;
                let hold = Hold { fence, attempt, tail: 0, texts: 0, fenced: first, failed: false };
                leased.actors[place] = Actor::Holds(hold);
                worlds.push(step(name, "takes the lease", None, leased));
            }
        }
        Actor::Holds(hold) => {
            for call in calls(world, place, hold) {
                let mut sent = becomes(Actor::Waits(hold, call));
                // A worker hands its task back where its server shuts down: as bad as a fall, and as seldom.
                let shuts_down = matches!(call, Call::Release { counts: false, .. });
                sent.crashes += u8::from(shuts_down);
                if sent.crashes <= variant.crashes {
                    worlds.push(step(name, "sends", Some(call), sent));
                }
            }
        }
        Actor::Waits(hold, call) => {
            let mut arrived = world.clone();
            let answer = arrived.apply(call, variant);
            arrived.actors[place] = heard(hold, call, answer, variant);
            worlds.push(step(name, "is answered", Some(call), arrived));
        }
    }
}

/// What an actor that waits for nothing may do.
fn calls(world: &World, place: usize, hold: Hold) -> Vec<Call> {
    let Hold { fence, attempt, tail, texts, fenced, failed } = hold;
    let append = |texts| Call::Append { fence, expect: tail, texts };
    let end = |how| Call::End { fence, expect: tail, how };
    if !fenced {
        return vec![append(0)];
    }
    if place == REAPER {
        return vec![end(How::Stopped)];
    }
    if attempt > MAX_ATTEMPTS {
        return vec![end(How::Failed)];
    }
    if failed {
        return vec![Call::Release { fence, counts: true }];
    }
    let mut calls = vec![end(How::Whole), Call::Release { fence, counts: false }];
    if texts < TEXTS {
        calls.push(append(1));
    }
    if attempt < MAX_ATTEMPTS {
        // The `retry` event; its release follows.
        calls.push(append(2));
    }
    if world.record.is_stopping() {
        calls.push(end(How::Stopped));
    }
    calls
}

/// What an answer makes of an actor.
fn heard(hold: Hold, call: Call, answer: Answer, variant: Variant) -> Actor {
    let finishes_first = variant.fault == Some(Fault::FinishesFirst);
    let carry = |call| Actor::Waits(hold, call);
    match (call, answer) {
        (Call::Append { texts: 0, .. }, Answer::Done) => Actor::Holds(Hold { fenced: true, ..hold }),
        (Call::Append { texts: 0, .. }, Answer::TailMoved(tail)) => Actor::Holds(Hold { tail, ..hold }),
        (Call::Append { texts, .. }, Answer::Done) => {
            let written = texts as u64;
            let hold = Hold { tail: hold.tail + written, texts: hold.texts + written, failed: texts == 2, ..hold };
            Actor::Holds(hold)
        }
        // Its end is carried to where it has not arrived.
        (Call::Append { .. } | Call::End { .. }, Answer::Ended) => {
            carry(if finishes_first { Call::Finish } else { Call::Settle })
        }
        (Call::Settle, _) if !finishes_first => carry(Call::Finish),
        (Call::Finish, _) if finishes_first => carry(Call::Settle),
        _ => Actor::Idle,
    }
}
