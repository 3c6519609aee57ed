//! What goes wrong, where in the answer, at which kind of upstream, and whether another deployment can help.

use std::fmt::Write;
use std::time::Duration;
use tidewire_testkit::upstream::{Break, Fault, Script, Upstream};

/// Tokens of each answer.
pub(crate) const TOKENS: u32 = 20;

/// How long a silence lasts before it counts as a stall: long enough that a busy machine is not taken for one.
const STALL_MS: u32 = 1500;

/// How long one that answers `429` asks to be left alone: longer than any task waits.
const ASKED_TIME: Duration = Duration::from_hours(1);

/// A kind of API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenAi,
    /// The same from a server that can't stream.
    OpenAiDocument,
    Anthropic,
    Gemini,
}

impl Kind {
    fn backend(self) -> &'static str {
        match self {
            Self::OpenAi | Self::OpenAiDocument => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    number: usize,
    kind: Kind,
    fault: Fault,
    /// Another deployment is there, which is well.
    pub(crate) twin: bool,
}

impl Case {
    /// The model at the upstream that breaks.
    fn model(&self) -> String {
        format!("m{}", self.number)
    }

    /// The route of one of its runs. Each has its own, so that no breaker keeps a run from its fault.
    pub(crate) fn route(&self, run: &str) -> String {
        format!("r{}-{run}", self.number)
    }

    /// Whether some of the answer may have been told before it broke.
    pub(crate) fn may_have_spoken(&self) -> bool {
        match self.fault {
            Fault::Breaks { after_tokens, .. } => after_tokens > 0,
            Fault::BreaksAfterReason { .. } => true,
            _ => false,
        }
    }

    /// Whether the upstream says when it may be asked again.
    pub(crate) fn asks_for_time(&self) -> bool {
        matches!(&self.fault, Fault::Refused(refusal) if refusal.retry_after.is_some())
    }

    fn stalls(&self) -> bool {
        matches!(
            self.fault,
            Fault::Silent | Fault::Breaks { how: Break::Stall, .. } | Fault::BreaksAfterReason { how: Break::Stall }
        )
    }
}

/// Every fault, at every place, of every kind, alone and with a twin.
pub(crate) fn all() -> Vec<Case> {
    let hows = [Break::Cut, Break::Reset, Break::Stall, Break::Malformed, Break::Error, Break::Early];
    let mut faults = vec![
        Fault::too_many_requests(None),
        Fault::too_many_requests(Some(ASKED_TIME)),
        Fault::status(500),
        Fault::status(503),
        Fault::Reset,
        Fault::Silent,
    ];
    for how in hows {
        faults.extend((0..=TOKENS).map(|after| Fault::after(after, how)));
        faults.push(Fault::BreaksAfterReason { how });
    }
    let mut cases = Vec::new();
    for kind in [Kind::OpenAi, Kind::OpenAiDocument, Kind::Anthropic, Kind::Gemini] {
        // A document has no tokens to break after.
        let is_one = |fault: &&Fault| match fault {
            Fault::Breaks { after_tokens, .. } => *after_tokens == 1,
            Fault::BreaksAfterReason { .. } => false,
            _ => true,
        };
        for fault in faults.iter().filter(|fault| kind != Kind::OpenAiDocument || is_one(fault)) {
            for twin in [false, true] {
                cases.push(Case { number: cases.len(), kind, fault: fault.clone(), twin });
            }
        }
    }
    cases
}

/// One upstream that does what the cases say, and one that is well.
pub(crate) struct Upstreams {
    bad: Upstream,
    good: Upstream,
}

impl Upstreams {
    pub(crate) fn start(cases: &[Case]) -> Self {
        let upstreams =
            Self { bad: Upstream::start(Script::tokens(TOKENS)), good: Upstream::start(Script::tokens(TOKENS)) };
        for case in cases {
            let streams = case.kind != Kind::OpenAiDocument;
            let script = Script { streams, ..Script::tokens(TOKENS) }.with(case.fault.clone());
            upstreams.bad.play_to(&case.model(), script);
        }
        upstreams
    }

    /// A server's configuration: for each run of each case a deployment that breaks, and a route that asks it first.
    pub(crate) fn config(&self, cases: &[Case]) -> String {
        let mut config = String::from("[worker]\nbackoff_ms = 1\nbackoff_cap_ms = 10\n");
        for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Gemini] {
            deployment(&mut config, kind, &format!("good-{}", kind.backend()), "good", &self.good);
        }
        for case in cases {
            for run in ["stream", "whole", "rstream", "rwhole", "mstream", "mwhole", "native"] {
                let route = case.route(run);
                deployment(&mut config, case.kind, &format!("bad-{route}"), &case.model(), &self.bad);
                let twin = format!(", {{ name = \"good-{}\", weight = 0 }}", case.kind.backend());
                let twin = if case.twin { &*twin } else { "" };
                let timeouts = format!("first_token_ms = {STALL_MS}\nbetween_tokens_ms = {STALL_MS}\n");
                let timeouts = if case.stalls() { &*timeouts } else { "" };
                let _ = write!(
                    config,
                    "[[route]]\nname = \"{route}\"\nwait_ms = 100\n{timeouts}\
                     deployments = [{{ name = \"bad-{route}\", weight = 1 }}{twin}]\n"
                );
            }
        }
        config
    }
}

fn deployment(config: &mut String, kind: Kind, name: &str, model: &str, upstream: &Upstream) {
    let _ = write!(
        config,
        "[[deployment]]\nname = \"{name}\"\nbackend = \"{}\"\nmodel = \"{model}\"\nurl = \"{}\"\n",
        kind.backend(),
        upstream.url()
    );
}
