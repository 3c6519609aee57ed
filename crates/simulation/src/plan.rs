//! What a seed decides before the run begins: how the network and the disk are, and what goes wrong when.

use crate::dice::Dice;
use std::time::Duration;

/// Until then things go wrong; after it all heals, and what was promised has to come true.
pub(crate) const CALM: Duration = Duration::from_secs(20);

/// The longest run: a task's deadline and a few leases after the calm begins. A run that takes longer hangs.
pub(crate) const END: Duration = Duration::from_secs(150);

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) slots: usize,
    /// A second pool of workers, on a host of its own, on the same engine.
    pub(crate) second_pool: bool,
    /// Logs, tasks and ledger in three engines, so that the reaper has to carry an end from one to the next.
    pub(crate) apart: bool,
    /// The longest way of a message.
    pub(crate) latency_ms: u64,
    pub(crate) disk: DiskPlan,
    pub(crate) trouble: Vec<(Duration, Trouble)>,
}

/// A fault that is planted in the disk, to see that the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A submit is answered before its commit.
    AcksEarly,
    /// Whoever has held a lease may write for ever.
    ForgetsFences,
    /// Now and then a read begins an event too late.
    SkipsAnEvent,
}

impl Plant {
    /// As the command line names it.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "acks-early" => Some(Self::AcksEarly),
            "forgets-fences" => Some(Self::ForgetsFences),
            "skips-an-event" => Some(Self::SkipsAnEvent),
            _ => None,
        }
    }
}

/// How the disk is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskPlan {
    /// The longest usual commit.
    pub(crate) commit_us: u64,
    /// The longest usual read.
    pub(crate) read_us: u64,
    /// Commits of a thousand that take longer than a lease.
    pub(crate) stalls: u64,
    /// Calls of a thousand that are refused, half of them after the commit.
    pub(crate) refusals: u64,
    pub(crate) plant: Option<Plant>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The server is killed, and started again after so long.
    Crash(Duration),
    /// The server drains, and is started again after so long.
    Drain(Duration),
    /// The second pool is killed, and started again after so long.
    CrashPool(Duration),
    /// Between a client and the server nothing moves for so long; then all arrives.
    Hold(usize, Duration),
    /// Between a client and the server everything is lost for so long.
    Lose(usize, Duration),
}

impl Plan {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let clients = usize::try_from(dice.between(2, 4)).unwrap_or(2);
        let second_pool = dice.per_mille(300);
        let mut trouble = Vec::new();
        for _ in 0..dice.below(8) {
            let at = Duration::from_millis(dice.between(500, 18_000));
            trouble.push((at, Trouble::any(&mut dice, clients, second_pool)));
        }
        trouble.sort_by_key(|(at, _)| *at);
        let slow = dice.per_mille(500);
        Self {
            clients,
            slots: usize::try_from(dice.between(1, 4)).unwrap_or(1),
            second_pool,
            apart: dice.per_mille(250),
            latency_ms: dice.between(1, 80),
            disk: DiskPlan {
                commit_us: if slow { dice.between(1_000, 30_000) } else { dice.between(0, 1_000) },
                read_us: if slow { dice.between(0, 3_000) } else { 0 },
                stalls: if dice.per_mille(300) { dice.between(1, 15) } else { 0 },
                plant,
                refusals: if dice.per_mille(300) { dice.between(1, 20) } else { 0 },
            },
            trouble,
        }
    }
}

impl Trouble {
    fn any(dice: &mut Dice, clients: usize, second_pool: bool) -> Self {
        let client = usize::try_from(dice.below(clients as u64)).unwrap_or(0);
        let long = Duration::from_millis(dice.between(20, 4_000));
        match dice.below(6) {
            0 | 1 => Self::Crash(long),
            2 => Self::Drain(long),
            3 if second_pool => Self::CrashPool(long),
            3 | 4 => Self::Hold(client, long),
            _ => Self::Lose(client, long),
        }
    }
}
