//! Goes through every world that can be reached, breadth first, so that the way to a broken promise is a shortest one.

use crate::actors::{Step, next};
use crate::world::{Variant, World};
use std::collections::HashMap;

/// Far more than the variants here have: a mistake must not fill the memory.
const MOST: usize = 400_000;

/// What the search came to.
pub(crate) struct Found {
    pub(crate) states: usize,
    /// The promise that was broken, and the shortest way there.
    pub(crate) broken: Option<String>,
}

struct Search {
    worlds: Vec<World>,
    /// Where each world was first reached from, and by what.
    from: Vec<(usize, Option<Step>)>,
    /// Who leads to whom.
    before: Vec<Vec<usize>>,
}

pub(crate) fn explore(variant: Variant) -> Found {
    let mut search = Search { worlds: vec![World::new()], from: vec![(0, None)], before: vec![Vec::new()] };
    let mut known = HashMap::from([(World::new(), 0)]);
    let mut place = 0;
    while place < search.worlds.len() {
        assert!(place < MOST, "more than {MOST} states");
        if let Some(broken) = search.worlds[place].broken() {
            return Found { states: place, broken: Some(search.way(place, broken)) };
        }
        for (step, world) in next(&search.worlds[place], variant) {
            let reached = *known.entry(world).or_insert_with_key(|world| {
                search.worlds.push(world.clone());
                search.from.push((place, Some(step)));
                search.before.push(Vec::new());
                search.worlds.len() - 1
            });
            search.before[reached].push(place);
        }
        place += 1;
    }
    let broken = search.stuck().map(|stuck| search.way(stuck, "it can never come to rest from here"));
    Found { states: search.worlds.len(), broken }
}

impl Search {
    /// The first world from which none can be reached where all has ended and is settled.
    fn stuck(&self) -> Option<usize> {
        let mut can_rest = vec![false; self.worlds.len()];
        let mut open: Vec<usize> = (0..self.worlds.len()).filter(|place| self.worlds[*place].is_at_rest()).collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut can_rest[place], true) {
                open.extend(&self.before[place]);
            }
        }
        can_rest.iter().position(|can| !can)
    }

    fn way(&self, mut place: usize, broken: &str) -> String {
        let mut steps = vec![format!("{broken}:\n{:#?}", self.worlds[place])];
        while place != 0 {
            let (before, step) = &self.from[place];
            steps.extend(step.map(|step| step.to_string()));
            place = *before;
        }
        steps.reverse();
        steps.join("\n")
    }
}
