//! The state machine: draws calls, makes them on both, compares, and makes few of the calls where they differ.

use super::draw::Draw;
use super::play::{Playing, Subject, same};
use super::{Answer, Model, Op};
use crate::random::Random;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use std::marker::PhantomData;
use tokio::runtime::Runtime;

/// How many calls one case has: enough for a task's whole life among others.
const CALLS: std::ops::Range<usize> = 1..60;

struct Machine<S>(PhantomData<S>);

impl<S: Subject> ReferenceStateMachine for Machine<S> {
    type State = Model;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model { survives: S::SURVIVES, ..Model::default() }).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Op> {
        let model = model.clone();
        let draw = move |seed| Draw { model: &model, random: Random::new(seed), durability: S::durability }.op();
        // A call is dropped or kept: another seed is another call, not a simpler one.
        any::<u64>().no_shrink().prop_map(draw).boxed()
    }

    fn preconditions(model: &Model, op: &Op) -> bool {
        match op {
            // A task's log comes with its task.
            Op::Create(log) => log.log.task().is_none() || model.logs.get(*log).is_some(),
            Op::Fail(op) => Self::preconditions(model, op),
            // An engine remembers for a while that a task was settled, and not over a restart.
            Op::Reserve(task, ..) => !model.settled.contains(task),
            _ => true,
        }
    }

    fn apply(model: Model, op: &Op) -> Model {
        model.take(op)
    }
}

struct UnderTest<S> {
    runtime: Runtime,
    playing: Playing<S>,
}

impl<S: Subject> StateMachineTest for Machine<S> {
    type SystemUnderTest = UnderTest<S>;
    type Reference = Self;

    fn init_test(_: &Model) -> UnderTest<S> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let playing = runtime.block_on(Playing::open());
        UnderTest { runtime, playing }
    }

    fn apply(mut test: UnderTest<S>, model: &Model, op: Op) -> UnderTest<S> {
        let answer = test.runtime.block_on(test.playing.make(&op));
        let expected = model.answer.as_ref().expect("the op was taken");
        // What changes nothing may be committed all the same.
        let refused = matches!(op, Op::Fail(_)) && answer == Answer::Unavailable;
        if !refused && !answer.is_as_good_as(expected) {
            same(&format!("the answer to {op:?}"), &answer, expected);
        }
        test
    }

    fn check_invariants(test: &UnderTest<S>, model: &Model) {
        test.runtime.block_on(test.playing.compare(model));
    }
}

/// Runs so many cases, drawn from this seed, and panics with the calls after which engine and model differ.
pub fn check<S: Subject>(cases: u32, seed: u64) {
    // Each try is a case of its own: enough to leave few calls, and a minute at most.
    if let Some(difference) = run::<S>(cases, seed, 2_000) {
        panic!("{difference}");
    }
}

/// Runs cases until engine and model differ, and says how: to see that a known fault is found.
pub fn difference<S: Subject>(cases: u32, seed: u64) -> Option<String> {
    // The machine's strategy takes no fewer.
    run::<S>(cases, seed, 10)
}

fn run<S: Subject>(cases: u32, seed: u64, max_shrink_iters: u32) -> Option<String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config.clone(), random);
    let cases = <Machine<S> as ReferenceStateMachine>::sequential_strategy(CALLS);
    let run = runner.run(&cases, |(model, ops, seen)| {
        Machine::<S>::test_sequential(config.clone(), model, ops, seen);
        Ok(())
    });
    match run {
        Ok(()) => None,
        Err(TestError::Abort(why)) => Some(format!("seed {seed}: {why}")),
        Err(TestError::Fail(why, (_, ops, _))) => {
            let ops: Vec<String> = ops.iter().map(|op| format!("  {op:?}")).collect();
            Some(format!("seed {seed}: {why}\nafter these calls:\n{}", ops.join("\n")))
        }
    }
}
