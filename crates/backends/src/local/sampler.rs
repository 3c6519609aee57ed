//! Chooses the next token from the model's logits. In the order of the `OpenAI` API: penalties, temperature,
//! then `top_k`, `top_p` and `min_p`.
//!
//! llama.cpp's own samplers copy all 49,152 logits into structs for every token, which for 32 sequences takes
//! a good part of a step, and abort the process where a logit is not a number.

use super::input::{Dry, Options};
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

/// How many temperatures below the best logit a token may lie and still be drawn. What is below has a chance
/// of e^-25 of the best one's, so all of a vocabulary's tail together has less than one in a million.
const REACH: f32 = 25.0;

/// How many tokens back `repeat_penalty` looks: llama.cpp's default.
const REPEAT_WINDOW: usize = 64;

/// How far back a repetition of the answer is looked for, in tokens: what is further away is no loop.
const DRY_WINDOW: usize = 1_024;

/// Repetitions are measured up to this length: what they are charged has ended them long before.
const DRY_LONGEST: usize = 32;

/// Chooses one sequence's tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    options: Options,
    random: SplitMix,
    /// How often the answer has each token.
    answered: HashMap<i32, u16>,
    recent: VecDeque<i32>,
    /// The answer's tokens, in their order.
    said: Vec<i32>,
}

/// Room to work in, shared by all sequences of a thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: i32,
    logit: f32,
}

impl Candidate {
    /// Likeliest first; of equals the one with the lower number, so that a draw repeats.
    #[allow(clippy::trivially_copy_pass_by_ref)] // What sorting passes.
    fn order(one: &Self, other: &Self) -> Ordering {
        other.logit.total_cmp(&one.logit).then(one.token.cmp(&other.token))
    }
}

impl Sampler {
    /// For one sequence. The seed counts only where the request gave none.
    pub(super) fn new(options: Options, seed: u64) -> Self {
        let random = SplitMix(options.seed.unwrap_or(seed));
        Self { options, random, answered: HashMap::new(), recent: VecDeque::new(), said: Vec::new() }
    }

    /// A token of the prompt.
    pub(super) fn read(&mut self, token: i32) {
        if self.recent.len() == REPEAT_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// A token of the answer.
    pub(super) fn accept(&mut self, token: i32) {
        self.read(token);
        self.said.push(token);
        let count = self.answered.entry(token).or_default();
        *count = count.saturating_add(1);
    }

    /// The next token; none where no logit is a number.
    pub(super) fn pick(&mut self, logits: &[f32], scratch: &mut Scratch) -> Option<i32> {
        let Scratch { logits: changed, candidates } = scratch;
        let repetitions = self.repetitions();
        let logits = if self.penalises() || !repetitions.is_empty() {
            changed.clear();
            changed.extend_from_slice(logits);
            self.penalise(changed);
            for (token, length) in repetitions {
                if let Some(logit) = at(changed, token) {
                    *logit -= self.charge(length);
                }
            }
            changed
        } else {
            logits
        };
        let best = best(logits)?;
        if self.options.temperature <= 0.0 || self.options.top_k == 1 {
            return Some(best.token);
        }
        let floor = best.logit - REACH * self.options.temperature;
        candidates.clear();
        let near = (0..).zip(logits).filter(|&(_, &logit)| logit >= floor);
        candidates.extend(near.map(|(token, &logit)| Candidate { token, logit }));
        self.narrow(candidates, best.logit);
        Some(self.draw(candidates, best))
    }

    /// The tokens that would lengthen a repetition of what the answer has just said, and how long each is already.
    fn repetitions(&self) -> HashMap<i32, usize> {
        let mut found = HashMap::new();
        let Dry { multiplier, allowed_length, .. } = self.options.dry;
        let said = self.said.get(self.said.len().saturating_sub(DRY_WINDOW)..).unwrap_or_default();
        let Some((last, before)) = said.split_last() else { return found };
        if multiplier <= 0.0 {
            return found;
        }
        for (place, pair) in said.windows(2).enumerate() {
            let &[token, next] = pair else { continue };
            if token != *last {
                continue;
            }
            let earlier = said.get(..place).unwrap_or_default().iter().rev();
            let more =
                earlier.zip(before.iter().rev()).take(DRY_LONGEST).take_while(|(one, other)| one == other).count();
            if more + 1 >= allowed_length {
                let length: &mut usize = found.entry(next).or_default();
                *length = (*length).max(more + 1);
            }
        }
        found
    }

    fn charge(&self, length: usize) -> f32 {
        let Dry { multiplier, base, allowed_length } = self.options.dry;
        // Neither is longer than `DRY_LONGEST`.
        let beyond = u16::try_from(length.saturating_sub(allowed_length)).unwrap_or(u16::MAX);
        multiplier * base.powi(i32::from(beyond))
    }

    fn penalises(&self) -> bool {
        let Options { presence_penalty: presence, frequency_penalty: frequency, .. } = self.options;
        presence != 0.0 || frequency != 0.0 || self.repeats()
    }

    fn repeats(&self) -> bool {
        (self.options.repeat_penalty - 1.0).abs() > f32::EPSILON
    }

    fn penalise(&self, logits: &mut [f32]) {
        if self.repeats() {
            let mut seen: Vec<i32> = self.recent.iter().copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                let Some(logit) = at(logits, token) else { continue };
                // Dividing alone would make a token with a negative logit likelier.
                let penalty = self.options.repeat_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        let Options { presence_penalty: presence, frequency_penalty: frequency, .. } = self.options;
        for (&token, &count) in &self.answered {
            if let Some(logit) = at(logits, token) {
                *logit -= f32::from(count) * frequency + presence;
            }
        }
    }

    /// Leaves the candidates that `top_k`, `top_p` and `min_p` allow; always at least one.
    fn narrow(&self, candidates: &mut Vec<Candidate>, best: f32) {
        let Options { temperature, top_p, top_k, min_p, .. } = self.options;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
            candidates.truncate(top_k);
        }
        let chance = |candidate: &Candidate| ((candidate.logit - best) / temperature).exp();
        if top_p < 1.0 {
            candidates.sort_unstable_by(Candidate::order);
            let enough = top_p * candidates.iter().map(chance).sum::<f32>();
            let mut sum = 0.0;
            let kept = candidates.iter().take_while(|&candidate| {
                let more = sum < enough;
                sum += chance(candidate);
                more
            });
            let kept = kept.count().max(1);
            candidates.truncate(kept);
        }
        // The best one's chance is 1 here.
        candidates.retain(|candidate| chance(candidate) >= min_p);
    }

    fn draw(&mut self, candidates: &[Candidate], best: Candidate) -> i32 {
        let chance = |candidate: &Candidate| ((candidate.logit - best.logit) / self.options.temperature).exp();
        let total: f32 = candidates.iter().map(chance).sum();
        let mut left = self.random.fraction() * total;
        for candidate in candidates {
            left -= chance(candidate);
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Rounding can leave a little over after the last one.
        candidates.last().map_or(best.token, |candidate| candidate.token)
    }
}

fn at(logits: &mut [f32], token: i32) -> Option<&mut f32> {
    logits.get_mut(usize::try_from(token).ok()?)
}

/// The likeliest token; the first of equals. Two passes, because the first is then made of SIMD instructions.
fn best(logits: &[f32]) -> Option<Candidate> {
    let logit = highest(logits);
    if logit == f32::NEG_INFINITY {
        return None;
    }
    // The maximum passed over what is not a number, so it is there.
    let at = logits.iter().position(|&each| each >= logit)?;
    Some(Candidate { token: i32::try_from(at).ok()?, logit })
}

fn highest(logits: &[f32]) -> f32 {
    // Sixteen lanes, because a single running maximum would wait for itself at every step.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, |most, each| if each > most { each } else { most })
}

/// How likely the model held a token to be, before any option changed that.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Likelihood {
    /// The chosen token's natural logarithm of its chance.
    pub(super) chosen: f32,
    /// The likeliest tokens and theirs.
    pub(super) top: Vec<(i32, f32)>,
}

impl Likelihood {
    /// Of a token among these logits, with this many alternatives.
    pub(super) fn of(token: i32, logits: &[f32], alternatives: u8, scratch: &mut Scratch) -> Self {
        let most = highest(logits);
        let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
        let norm = most + sum.ln();
        let chosen = usize::try_from(token).ok().and_then(|place| logits.get(place));
        let chosen = chosen.map_or(f32::NEG_INFINITY, |logit| logit - norm);
        let candidates = &mut scratch.candidates;
        candidates.clear();
        let wanted = usize::from(alternatives);
        if wanted > 0 {
            candidates.extend((0..).zip(logits).map(|(token, &logit)| Candidate { token, logit }));
            if wanted < candidates.len() {
                candidates.select_nth_unstable_by(wanted - 1, Candidate::order);
                candidates.truncate(wanted);
            }
            candidates.sort_unstable_by(Candidate::order);
        }
        Self { chosen, top: candidates.iter().map(|each| (each.token, each.logit - norm)).collect() }
    }
}

/// Steele, Lea and Flood's `SplitMix64`: small, and good enough to draw tokens by. A request's seed must give
/// the same answer in every version of tidewire, so the generator is our own.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1, in steps of 2^-16 squared: two halves, each of which a float holds exactly.
    fn fraction(&mut self) -> f32 {
        let bits = self.next().to_le_bytes();
        let high = f32::from(u16::from_le_bytes([bits[6], bits[7]]));
        let low = f32::from(u16::from_le_bytes([bits[4], bits[5]]));
        ((high + low / 65_536.0) / 65_536.0).min(1.0 - f32::EPSILON)
    }
}

#[cfg(test)]
#[path = "sampler/tests.rs"]
mod tests;
