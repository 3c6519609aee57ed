//! How a route chooses among the deployments that are available.

use super::Deployment;
use crate::ending::Usage;
use std::cmp::Ordering;
use std::time::Duration;

/// One request in so many goes anywhere, so that `fastest` learns of a deployment that has become fast.
const EXPLORED: u64 = 16;

/// The answer for which `fastest` reckons: about as long as a paragraph.
const TYPICAL_TOKENS: u32 = 100;

/// The usage for which `cheapest` compares: models read about three tokens for each that they write.
const TYPICAL: Usage = Usage {
    input_tokens: 3_000_000,
    cached_tokens: 0,
    cache_write_tokens: 0,
    output_tokens: 1_000_000,
    reasoning_tokens: 0,
    cost: crate::money::Money::ZERO,
    saved: crate::money::Money::ZERO,
    estimated: false,
};

/// How a route chooses. None of them picks a deployment that is not available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// By chance, each as often as its weight says.
    #[default]
    Weighted,
    /// The one with the fewest tokens outstanding.
    LeastBusy,
    /// The one whose answers were soonest whole, by its moving time to first token and time per token; one request in 16
    /// explores.
    Fastest,
    /// The one with the most left of its minute: of its own limits, and of what the upstream told.
    Headroom,
    /// The one with the lowest price. One without a price comes last.
    Cheapest,
    /// The same one for the same conversation, so that its cache of prefixes is of use, unless that has a quarter more to
    /// do than the mean.
    Sticky,
}

impl Strategy {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Weighted, Self::LeastBusy, Self::Fastest, Self::Headroom, Self::Cheapest, Self::Sticky];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::LeastBusy => "least_busy",
            Self::Fastest => "fastest",
            Self::Headroom => "headroom",
            Self::Cheapest => "cheapest",
            Self::Sticky => "sticky",
        }
    }

    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == text)
    }

    /// The place of the one that it picks; `None` where there is none to pick from.
    pub(super) fn pick(self, candidates: &[Candidate<'_>], chance: Chance) -> Option<usize> {
        if candidates.len() < 2 {
            return candidates.len().checked_sub(1);
        }
        match self {
            Self::Weighted => weighted(candidates, chance.random),
            Self::LeastBusy => best(candidates, chance.random, Candidate::by_busy),
            Self::Fastest => fastest(candidates, chance.random),
            Self::Headroom => {
                best(candidates, chance.random, |a, b| b.headroom.total_cmp(&a.headroom).then_with(|| a.by_busy(b)))
            }
            Self::Cheapest => best(candidates, chance.random, |a, b| {
                let price = |candidate: &Candidate<'_>| candidate.deployment.price.map(|price| price.of(&TYPICAL));
                match (price(a), price(b)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    (a, b) => a.is_none().cmp(&b.is_none()),
                }
            }),
            Self::Sticky => sticky(candidates, chance.affinity),
        }
    }
}

/// A deployment that is available, as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) weight: u32,
    /// Requests outstanding.
    pub(super) requests: u64,
    /// Tokens outstanding.
    pub(super) tokens: u64,
    /// Moving time to first token.
    pub(super) ttft: Option<Duration>,
    /// Moving time per output token.
    pub(super) tpot: Option<Duration>,
    /// What is left of its minute, from 0 to 1.
    pub(super) headroom: f64,
}

impl Candidate<'_> {
    fn by_busy(&self, other: &Self) -> Ordering {
        (self.tokens, self.requests).cmp(&(other.tokens, other.requests))
    }

    /// How long a typical answer took; `None` before the first one.
    fn took(&self) -> Option<Duration> {
        Some(self.ttft?.saturating_add(self.tpot.unwrap_or_default() * TYPICAL_TOKENS))
    }
}

/// What a pick depends on beside the candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    pub(super) random: u64,
    /// Names the conversation.
    pub(super) affinity: u64,
}

fn index(random: u64, count: usize) -> usize {
    usize::try_from(random % (count.max(1) as u64)).unwrap_or(0)
}

fn weighted(candidates: &[Candidate<'_>], random: u64) -> Option<usize> {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    if total == 0 {
        // What has no weight is there for when nothing else is left.
        return Some(index(random, candidates.len()));
    }
    let mut left = random % total;
    candidates.iter().position(|candidate| {
        let weight = u64::from(candidate.weight);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    })
}

/// The first in this order; by chance among equals.
fn best<'a>(
    candidates: &[Candidate<'a>],
    random: u64,
    order: impl Fn(&Candidate<'a>, &Candidate<'a>) -> Ordering,
) -> Option<usize> {
    let first = candidates.iter().min_by(|a, b| order(a, b))?;
    let equals = candidates.iter().filter(|candidate| order(candidate, first).is_eq()).count();
    let equal = candidates.iter().enumerate().filter(|(_, candidate)| order(candidate, first).is_eq());
    equal.map(|(place, _)| place).nth(index(random, equals))
}

fn fastest(candidates: &[Candidate<'_>], random: u64) -> Option<usize> {
    if random.is_multiple_of(EXPLORED) {
        return Some(index(random / EXPLORED, candidates.len()));
    }
    // Nobody knows how fast it is: one request at a time finds out.
    let unknown = candidates.iter().position(|candidate| candidate.took().is_none() && candidate.requests == 0);
    let slowest = Duration::MAX;
    unknown.or_else(|| {
        best(candidates, random / EXPLORED, |a, b| {
            a.took().unwrap_or(slowest).cmp(&b.took().unwrap_or(slowest)).then_with(|| a.by_busy(b))
        })
    })
}

/// Rendezvous hashing: each conversation has its own order of all deployments, so that one that goes away moves only its
/// own conversations. Bounded loads as in <https://arxiv.org/abs/1608.01350>: none gets a quarter more than the mean.
fn sticky(candidates: &[Candidate<'_>], affinity: u64) -> Option<usize> {
    let count = candidates.len() as u64;
    let all: u64 = candidates.iter().map(|candidate| candidate.requests).sum();
    let bound = ((all + 1) * 5).div_ceil(count * 4);
    let mut order: Vec<(u64, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| (mix(affinity ^ hash(candidate.deployment.name.as_bytes())), place))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place).find(|place| candidates[*place].requests < bound)
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every process, as `DefaultHasher` need not be.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finish of `SplitMix64`: near inputs come out far apart.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Money, Price};

    fn deployments(count: usize) -> Vec<Deployment> {
        (0..count).map(|place| Deployment::by_name(&format!("d{place}"))).collect()
    }

    fn idle(deployment: &Deployment) -> Candidate<'_> {
        Candidate { deployment, weight: 1, requests: 0, tokens: 0, ttft: None, tpot: None, headroom: 1.0 }
    }

    /// How often each of them is picked, over many drawings.
    fn picks(strategy: Strategy, candidates: &[Candidate<'_>]) -> Vec<u32> {
        let mut picks = vec![0; candidates.len()];
        for drawing in 0..1600 {
            let random = mix(drawing);
            picks[strategy.pick(candidates, Chance { random, affinity: mix(random) }).unwrap()] += 1;
        }
        picks
    }

    #[test]
    fn weighted_picks_each_as_often_as_its_weight_says() {
        let all = deployments(3);
        let mut candidates: Vec<_> = all.iter().map(idle).collect();
        (candidates[0].weight, candidates[1].weight, candidates[2].weight) = (3, 1, 0);
        let picks = picks(Strategy::Weighted, &candidates);
        assert!((1100..1300).contains(&picks[0]) && picks[0] + picks[1] == 1600 && picks[2] == 0, "{picks:?}");
    }

    #[test]
    fn least_busy_picks_the_fewest_outstanding_tokens_not_requests() {
        let all = deployments(2);
        let mut candidates: Vec<_> = all.iter().map(idle).collect();
        (candidates[0].requests, candidates[0].tokens) = (1, 5000);
        (candidates[1].requests, candidates[1].tokens) = (4, 4000);
        assert_eq!(picks(Strategy::LeastBusy, &candidates), [0, 1600]);
        candidates[1] = Candidate { deployment: &all[1], ..candidates[0] };
        let equals = picks(Strategy::LeastBusy, &candidates);
        assert!(equals.iter().all(|count| *count > 700), "equals share: {equals:?}");
    }

    #[test]
    fn fastest_picks_by_first_and_further_tokens_and_explores_a_little() {
        let all = deployments(2);
        let mut candidates: Vec<_> = all.iter().map(idle).collect();
        candidates[0].ttft = Some(Duration::from_millis(100));
        candidates[0].tpot = Some(Duration::from_millis(30));
        candidates[1].ttft = Some(Duration::from_millis(900));
        candidates[1].tpot = Some(Duration::from_millis(5));
        let picks_of_two = picks(Strategy::Fastest, &candidates);
        assert!((20..100).contains(&picks_of_two[0]), "900 + 500 ms beats 100 + 3000 ms: {picks_of_two:?}");
        (candidates[0].ttft, candidates[0].tpot) = (None, None);
        assert!(picks(Strategy::Fastest, &candidates)[0] > 1500, "what was never asked is asked");
        candidates[0].requests = 1;
        assert!(picks(Strategy::Fastest, &candidates)[0] < 100, "once, until its answer is there");
    }

    #[test]
    fn headroom_picks_the_one_with_the_most_left() {
        let all = deployments(3);
        let mut candidates: Vec<_> = all.iter().map(idle).collect();
        (candidates[0].headroom, candidates[1].headroom, candidates[2].headroom) = (0.2, 0.7, 0.4);
        assert_eq!(picks(Strategy::Headroom, &candidates), [0, 1600, 0]);
    }

    #[test]
    fn cheapest_picks_the_lowest_price_and_takes_an_unknown_one_for_dear() {
        let mut all = deployments(3);
        let price = |input, output| Some(Price { input: Money(input), output: Money(output), ..Price::default() });
        (all[0].price, all[1].price) = (price(100, 800), price(200, 400));
        let candidates: Vec<_> = all.iter().map(idle).collect();
        assert_eq!(picks(Strategy::Cheapest, &candidates), [0, 1600, 0], "3 x 200 + 400 is below 3 x 100 + 800");
        assert_eq!(picks(Strategy::Cheapest, &candidates[2..]), [1600]);
    }

    #[test]
    fn sticky_keeps_a_conversation_where_it_is_and_moves_only_those_of_one_that_goes() {
        let all = deployments(4);
        let candidates: Vec<_> = all.iter().map(idle).collect();
        let place = |candidates: &[Candidate<'_>], affinity| {
            let picked = Strategy::Sticky.pick(candidates, Chance { random: mix(affinity), affinity }).unwrap();
            candidates[picked].deployment.name.clone()
        };
        let (mut moved, mut on_last) = (0, 0);
        for conversation in 0..400 {
            let before = place(&candidates, mix(conversation));
            assert_eq!(before, place(&candidates, mix(conversation)));
            let after = place(&candidates[..3], mix(conversation));
            on_last += u32::from(&*before == "d3");
            moved += u32::from(before != after);
        }
        assert_eq!(moved, on_last, "only what was there moves");
        assert!((60..140).contains(&on_last), "a quarter of them: {on_last}");
    }

    #[test]
    fn sticky_gives_none_a_quarter_more_than_the_mean() {
        let all = deployments(4);
        let mut candidates: Vec<_> = all.iter().map(idle).collect();
        for _ in 0..400 {
            // One conversation with everything: without the bound all of it would be at one.
            let picked = Strategy::Sticky.pick(&candidates, Chance { random: 0, affinity: 7 }).unwrap();
            candidates[picked].requests += 1;
        }
        let most = candidates.iter().map(|candidate| candidate.requests).max().unwrap();
        assert!((101..=126).contains(&most), "{most}");
    }

    #[test]
    fn a_strategy_is_read_as_it_is_written() {
        for strategy in Strategy::ALL {
            assert_eq!(Strategy::parse(strategy.name()), Some(strategy));
        }
        assert_eq!(Strategy::parse("best"), None);
    }
}
