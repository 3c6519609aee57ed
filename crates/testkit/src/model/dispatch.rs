//! The port `Dispatch`, against a line of names for each capability.

use crate::given::task_ref;
use crate::random::Random;
use futures_util::FutureExt;
use std::collections::VecDeque;
use tidewire_core::port::{Claim, Dispatch};
use tidewire_core::{Durability, TaskRef};

const CAPABILITIES: [&str; 2] = ["gpu", "image"];
const CALLS: u64 = 200;
const TASKS: u64 = 4;

/// Offers, claims, forgets and gives back at random, and panics where the engine hands out another task than the
/// next one in line, or none where one waits.
pub async fn check_dispatch<D: Dispatch>(open: impl Fn() -> D, cases: u64, seed: u64) {
    for case in 0..cases {
        let engine = open();
        let mut random = Random::new(seed.wrapping_add(case));
        let mut lines: [VecDeque<TaskRef>; 2] = Default::default();
        let mut claimed: Vec<Claim> = Vec::new();
        for _ in 0..CALLS {
            let which = random.place(CAPABILITIES.len());
            let capability = CAPABILITIES[which];
            match random.below(5) {
                0 | 1 => {
                    let task = task_ref(Durability::Durable, random.below(TASKS));
                    engine.offer(task, capability).await.expect("it takes offers");
                    lines[which].push_back(task);
                }
                2 | 3 => {
                    let claim = engine.claim(capability).now_or_never();
                    let claim = claim.map(|claim| claim.expect("it hands out tasks"));
                    let handed_out = claim.as_ref().map(|claim| (claim.task, &*claim.capability));
                    let next = lines[which].pop_front().map(|task| (task, capability));
                    assert_eq!(handed_out, next, "seed {seed}, case {case}: another task than the next in line");
                    claimed.extend(claim);
                }
                _ if claimed.is_empty() => {}
                _ => {
                    let claim = claimed.swap_remove(random.place(claimed.len()));
                    if random.once_in(2) {
                        engine.forget(claim).await.expect("it forgets");
                    } else {
                        let place = usize::from(*claim.capability == *CAPABILITIES[1]);
                        lines[place].push_front(claim.task);
                        engine.give_back(claim).await.expect("it takes back");
                    }
                }
            }
        }
    }
}
