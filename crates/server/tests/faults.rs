//! Whatever goes wrong at an upstream, at whatever token: each face gives the whole answer, or an error that says so. No
//! truncated answer looks whole.
//!
//! `make test` tries a share of the cases, chosen by a seed; `make soak` sets `TIDEWIRE_TEST_FAULTS=all`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "faults/cases.rs"]
mod cases;
#[path = "faults/faces.rs"]
mod faces;
mod support;

use cases::{Case, TOKENS, Upstreams};
use faces::{Face, Got};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{PATIENCE, Server, number_from_env};
use tidewire_testkit::random::Random;
use tidewire_testkit::upstream::Script;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SEED: u64 = 0xFA_0175;
/// Cases of a share: each fault, kind and face comes several times, in a few seconds of a debug build on two cores.
const SHARE: usize = 28;
/// Cases of one server: each has five deployments.
const CASES_PER_SERVER: usize = 100;
/// Cases at once: as many as a debug build on two cores serves without mistaking its own slowness for a stall.
const AT_ONCE: usize = 16;

/// What one face made of one run, judged.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Verdict {
    Whole,
    Honest(String),
    /// What must not be, and why.
    Wrong(String),
}

/// Judges what a face gave. A second deployment leaves nothing to excuse, but text that a client has and can't give back.
fn judge(case: &Case, face: Face, got: &Got) -> Verdict {
    let whole = Script::tokens(TOKENS).text();
    match got {
        Got::Answer(text) if *text == whole => Verdict::Whole,
        Got::Answer(text) => Verdict::Wrong(format!("looks whole: {text:?}")),
        Got::Error { code, .. } if code.is_empty() => Verdict::Wrong("an error without a code".to_owned()),
        Got::Error { code, .. } if case.twin => {
            let excused = face.is_final() && code == "rewound" && case.may_have_spoken();
            if excused { Verdict::Honest(code.clone()) } else { Verdict::Wrong(format!("a twin was there: {code}")) }
        }
        Got::Error { code, retry_after, .. } => {
            let says_when = *retry_after || !case.asks_for_time() || !face.tells_when();
            if says_when { Verdict::Honest(code.clone()) } else { Verdict::Wrong(format!("{code} without when")) }
        }
        Got::Open(what) => Verdict::Wrong(format!("neither an end nor an error: {what}")),
    }
}

/// Runs one case over all faces.
async fn run(server: Arc<Server>, case: Case) -> Vec<(Face, Verdict)> {
    let (chat, chat_whole, response, response_whole, message, message_whole, native) = tokio::join!(
        faces::chat_stream(&server, &case),
        faces::chat_whole(&server, &case),
        faces::responses_stream(&server, &case),
        faces::responses_whole(&server, &case),
        faces::messages_stream(&server, &case),
        faces::messages_whole(&server, &case),
        faces::native(&server, &case)
    );
    let openai = vec![
        (Face::ChatStream, chat),
        (Face::ChatWhole, chat_whole),
        (Face::ResponsesStream, response),
        (Face::ResponsesWhole, response_whole),
        (Face::MessagesStream, message),
        (Face::MessagesWhole, message_whole),
    ];
    let got = [openai, native].concat();
    got.into_iter().map(|(face, got)| (face, judge(&case, face, &got))).collect()
}

/// Runs cases side by side on one server.
async fn run_all(cases: &[Case], upstreams: &Upstreams) -> Vec<(Case, Face, Verdict)> {
    let server = Arc::new(Server::start(&upstreams.config(cases)));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for case in cases {
        let (case, server, room) = (case.clone(), server.clone(), room.clone());
        running.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let verdicts = tokio::time::timeout(PATIENCE, run(server, case.clone())).await;
            (case.clone(), verdicts.unwrap_or_else(|_| panic!("{case:?} did not come to its end")))
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (case, verdicts) = ended.unwrap();
        all.extend(verdicts.into_iter().map(|(face, verdict)| (case.clone(), face, verdict)));
    }
    all
}

/// All cases, or a share of them by a seed.
fn chosen() -> (Vec<Case>, u64) {
    let mut all = cases::all();
    if std::env::var("TIDEWIRE_TEST_FAULTS").is_ok_and(|how_many| how_many == "all") {
        return (all, 0);
    }
    let seed = number_from_env("TIDEWIRE_TEST_FAULTS_SEED", usize::try_from(SEED).unwrap()) as u64;
    let mut random = Random::new(seed);
    let mut share = Vec::new();
    while share.len() < SHARE && !all.is_empty() {
        let at = usize::try_from(random.below(all.len() as u64)).unwrap();
        share.push(all.swap_remove(at));
    }
    (share, seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_token_is_a_whole_answer_or_an_honest_error_on_every_face() {
    let (cases, seed) = chosen();
    let upstreams = Upstreams::start(&cases);
    let mut counted: BTreeMap<(Face, &'static str), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in cases.chunks(CASES_PER_SERVER) {
        for (case, face, verdict) in run_all(part, &upstreams).await {
            let name = match &verdict {
                Verdict::Whole => "whole",
                Verdict::Honest(_) => "honest",
                Verdict::Wrong(_) => "wrong",
            };
            *counted.entry((face, name)).or_default() += 1;
            if let Verdict::Wrong(why) = verdict {
                wrong.push(format!("{face:?} of {case:?}: {why}"));
            }
        }
    }
    let of = |name| counted.iter().filter(|((_, is), _)| *is == name).map(|(_, count)| count).sum::<usize>();
    println!(
        "{} faults, {} answers over {} faces: {} whole, {} honest errors, {} wrong (seed {seed:#x}): {counted:?}",
        cases.len(),
        counted.values().sum::<usize>(),
        Face::ALL.len(),
        of("whole"),
        of("honest"),
        of("wrong"),
    );
    assert!(wrong.is_empty(), "seed {seed:#x}:\n{}", wrong.join("\n"));
    assert!(of("whole") > 0 && of("honest") > 0, "both ways out were taken");
}
