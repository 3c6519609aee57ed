//! Where each client's connections are cut.

use std::net::SocketAddr;
use std::sync::Mutex;
use tidewire_testkit::proxy::{Fault, Plan, Proxy};
use tidewire_testkit::random::Random;

/// Tokens for each cut: with a seed of 14 letters and more, a number and a space, a token has 16 bytes at least.
const TOKENS_PER_CUT: usize = 24;
const LEAST_TOKEN_BYTES: u64 = 16;
/// An answer's head before its first event, at least: the WebSocket's is 129 bytes long.
const HEAD_BYTES: u64 = 129;
/// A request is longer than this, so that a cut here always comes.
const REQUEST_BYTES: u64 = 60;

/// How often each client is cut, and what follows from it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) cuts: usize,
}

impl Size {
    pub(crate) fn tokens(self) -> usize {
        TOKENS_PER_CUT * self.cuts.max(4)
    }
}

/// How each of a client's connections is cut, so that every cut is sure to come: all of them together let through
/// fewer bytes than the text has, however it is merged.
fn faults(seed: u64, size: Size) -> Vec<Plan> {
    let mut random = Random::new(seed);
    let mean = LEAST_TOKEN_BYTES * TOKENS_PER_CUT as u64 / 2;
    let mut plans = Vec::new();
    for _ in 0..size.cuts {
        let plan = match random.below(10) {
            // In the request, or in the head of its answer.
            0 => Plan::up(Fault::cut_after(1 + random.below(REQUEST_BYTES))),
            1 => Plan::down(Fault::cut_after(random.below(HEAD_BYTES))),
            2..=4 => Plan::down(Fault::reset_after(HEAD_BYTES + random.below(2 * mean))),
            _ => Plan::down(Fault::cut_after(HEAD_BYTES + random.below(2 * mean))),
        };
        plans.push(plan);
    }
    plans
}

/// A proxy of one client's own: its first connections are cut, the rest are whole.
pub(crate) async fn start_proxy(target: SocketAddr, seed: u64, size: Size) -> Proxy {
    let plans = Mutex::new(faults(seed, size).into_iter());
    let next = move |_| plans.lock().unwrap().next().unwrap_or_default();
    Proxy::start(target, next).await.unwrap()
}
