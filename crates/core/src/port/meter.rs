//! The port `Meter`: where measurements go.

use crate::cache::Source;
use crate::ending::Usage;
use crate::id::TaskRef;
use crate::port::Limited;
use crate::task::Spec;
use memchr::memmem;
use std::time::Duration;

/// Takes measurements. Called on hot paths: it never waits and never fails.
pub trait Meter: Send + Sync {
    /// Takes one.
    fn record(&self, measurement: Measurement<'_>);
}

/// What is measured, by the server's own clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measurement<'a> {
    /// From a submit's receipt to its ack.
    Ack(Duration),
    /// From a task's receipt to the commit of its first token (TTFT).
    FirstToken(Duration),
    /// From one token to the next, the mean over a task: (last - first) / (n - 1) (TPOT).
    PerToken(Duration),
    /// From a task's receipt to its end.
    Total(Duration),
    /// Output tokens of a task that ended.
    OutputTokens(u64),
    /// An attempt failed and another will follow.
    Retry,
    /// A submit was refused because too many tasks wait.
    QueueFull,
    /// A submit was refused because an account has used up this limit.
    OverLimit(Limited),
    /// From an event's own moment to the one at which it was handed to a follower's connection: of the newest event of what was
    /// told at once, and only where the follower had all that came before it. Catching up is no lag.
    DeliveryLag(Duration),
    /// A connection was opened.
    Connected,
    /// A connection was closed.
    Disconnected,
    /// What a screen has seen: from its submit to the first token that arrived (TTFT).
    SeenFirstToken(Duration),
    /// The same to the first frame that showed something of the answer (TTAR, time to the first AI result).
    SeenFirstResult(Duration),
    /// Of an answer that a caller gets: from the request's receipt to its first token.
    ServedFirstToken(Subject<'a>, Duration),
    /// From one of its tokens to the next, the mean over the answer.
    ServedPerToken(Subject<'a>, Duration),
    /// From the request's receipt to its end, with the code of the error that it ended with, if it did.
    Served(Subject<'a>, Duration, Option<&'a str>),
    /// A deployment was asked, and its answer is over.
    Asked(Subject<'a>, Asked<'a>),
    /// A task of a sampled trace has ended: its story can be told. No label, and no figure: whoever exports traces hears it.
    Traced(TaskRef),
    /// A request of this route was run once more on another one: how that ended.
    Shadow(&'a str, &'static str),
    /// Somebody has judged an answer of this route: `up`, `down`, `neutral`.
    Feedback(&'a str, &'static str),
    /// A guardrail did something: which one, by the configuration's name for it, and what.
    Guarded {
        /// Which.
        rule: &'a str,
        /// What it did.
        action: &'static str,
    },
    /// A task of a route that keeps or shares answers got one from there.
    Answered(Subject<'a>, Source),
    /// It was looked for a question that means the same as a task's: `hit`, `miss`, `told_apart` (close, and its words say that
    /// it is another one), `failed` (there was no vector). Or one was remembered: `kept`; or forgotten: `judged`.
    Semantic(Subject<'a>, &'static str),
}

/// What an answer is an answer to. No ids: each of these becomes a label, and the configuration says how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// The public name of the model. One that no route has counts among the others.
    pub route: &'a str,
}

/// What was asked for, as OpenTelemetry's `gen_ai.operation.name` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An answer to messages.
    Chat,
    /// Numbers for inputs.
    Embeddings,
}

impl Operation {
    /// What a task asks for. A chat has messages; all else asks for embeddings. Within a JSON text the quotes are escaped, so
    /// what is said can't be taken for the field; and the field comes early, so that the whole request is rarely looked
    /// through.
    pub fn of(spec: &Spec) -> Self {
        match memmem::find(&spec.input, b"\"messages\"") {
            Some(_) => Self::Chat,
            None => Self::Embeddings,
        }
    }

    /// In OpenTelemetry's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// How a call of a deployment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its name.
    pub deployment: &'a str,
    /// From the call to the end of its answer.
    pub took: Duration,
    /// What it used.
    pub usage: Usage,
    /// The code of its failure, if it failed.
    pub error: Option<&'a str>,
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn record(&self, _: Measurement<'_>) {}
}
