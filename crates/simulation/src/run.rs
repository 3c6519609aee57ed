//! One run: the hosts, the clients, and what the plan does to them.

use crate::check;
use crate::client::Client;
use crate::dice::Dice;
use crate::history::History;
use crate::host::{self, POOL, SERVER, World};
use crate::plan::{CALM, END, Plan, Plant, Trouble};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use turmoil::{Builder, Sim};

/// Time to settle what has ended: a lease and some sweeps of the reaper, and a stall of the disk.
const QUIET: Duration = Duration::from_secs(15);

/// What heals later.
enum Remedy {
    StartServer,
    StartPool,
    Release(usize),
    Repair(usize),
}

/// Runs a seed. Once per process: see the crate's doc.
pub fn run(seed: u64, plant: Option<Plant>) -> Arc<History> {
    let chance = <rand_for_turmoil::rngs::StdRng as rand_for_turmoil::SeedableRng>::seed_from_u64(seed);
    mad_turmoil::rand::set_rng(chance);
    let _clocks = mad_turmoil::time::SimClocksGuard::init();
    fastrand::seed(seed);
    let plan = Plan::new(seed, plant);
    let world = World::new(seed, plan.clone());
    world.history.note("plan", format_args!("{seed}: {plan:?}"));
    let mut sim = Builder::new()
        .rng_seed(seed)
        .simulation_duration(END)
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(plan.latency_ms))
        .enable_random_order()
        .build();
    let of_server = world.clone();
    sim.host(SERVER, move || host::server(of_server.clone()));
    if plan.second_pool {
        let of_pool = world.clone();
        sim.host(POOL, move || host::second_pool(of_pool.clone()));
    }
    for number in 0..plan.clients {
        let client = Client::new(&client(number), Dice::new(seed, &client(number)), world.history.clone());
        sim.client(client.name().to_owned(), client.live());
    }
    if let Err(error) = drive(&mut sim, &world, plan.trouble) {
        world.history.violation("run", format_args!("it did not come to its end: {error}"));
    }
    drop(sim);
    check::check(&world);
    world.history.clone()
}

fn client(number: usize) -> String {
    format!("client-{number}")
}

fn drive(sim: &mut Sim<'_>, world: &World, trouble: Vec<(Duration, Trouble)>) -> turmoil::Result {
    let mut trouble = trouble.into_iter().peekable();
    let mut remedies: BTreeMap<Duration, Vec<Remedy>> = BTreeMap::new();
    loop {
        let now = sim.elapsed();
        while let Some((_, trouble)) = trouble.next_if(|(at, _)| *at <= now) {
            world.history.note("trouble", format_args!("{trouble:?}"));
            let (remedy, after) = befall(sim, world, trouble);
            remedies.entry((now + after).min(CALM)).or_default().push(remedy);
        }
        while let Some(due) = remedies.first_entry().filter(|entry| *entry.key() <= now) {
            for remedy in due.remove() {
                heal(sim, world, &remedy);
            }
        }
        if sim.step()? && check::all_ended(world) {
            break;
        }
    }
    let quiet = sim.elapsed() + QUIET;
    while sim.elapsed() < quiet {
        sim.step()?;
    }
    Ok(())
}

fn befall(sim: &mut Sim<'_>, world: &World, trouble: Trouble) -> (Remedy, Duration) {
    match trouble {
        Trouble::Crash(down) => {
            sim.crash(SERVER);
            (Remedy::StartServer, down)
        }
        Trouble::Drain(down) => {
            world.drain();
            (Remedy::StartServer, down)
        }
        Trouble::CrashPool(down) => {
            sim.crash(POOL);
            (Remedy::StartPool, down)
        }
        Trouble::Hold(number, long) => {
            sim.hold(client(number), SERVER);
            (Remedy::Release(number), long)
        }
        Trouble::Lose(number, long) => {
            sim.partition(client(number), SERVER);
            (Remedy::Repair(number), long)
        }
    }
}

fn heal(sim: &mut Sim<'_>, world: &World, remedy: &Remedy) {
    match remedy {
        // It may still drain, and is then cut short, or have been started already.
        Remedy::StartServer => {
            world.history.note("trouble", "the server starts");
            sim.bounce(SERVER);
        }
        Remedy::StartPool => sim.bounce(POOL),
        Remedy::Release(number) => sim.release(client(*number), SERVER),
        Remedy::Repair(number) => sim.repair(client(*number), SERVER),
    }
}
