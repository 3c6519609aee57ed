//! `simulate SEED [FAULT]`: runs one seed, with a fault planted in the disk if one is named, and prints all that
//! happened. Fails where a promise was broken.

use std::io::Write;
use std::process::ExitCode;
use tidewire_simulation::Plant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut err = std::io::stderr();
    let seed = arguments.next().and_then(|seed| seed.parse().ok());
    let plant = arguments.next().map(|name| Plant::parse(&name).ok_or(name)).transpose();
    let (Some(seed), Ok(plant)) = (seed, plant) else {
        let _ = writeln!(err, "usage: simulate SEED [acks-early | forgets-fences | skips-an-event]");
        return ExitCode::from(2);
    };
    let history = tidewire_simulation::run(seed, plant);
    // A reader that has seen enough is no failure.
    let _ = std::io::stdout().write_all(history.lines().as_bytes());
    let violations = history.violations();
    for violation in &violations {
        let _ = writeln!(err, "seed {seed}: {violation}");
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
