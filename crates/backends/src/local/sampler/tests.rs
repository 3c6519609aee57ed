//! What the sampler promises, on logits made up for it.

use super::*;
use crate::local::config::Defaults;
use crate::local::input::Input;

fn options(fields: &str) -> Options {
    let json = format!(r#"{{"messages":[{{"role":"user","content":"x"}}],"top_p":1,{fields}}}"#);
    Input::read(json.as_bytes(), &Defaults::default()).unwrap().options
}

fn draws(fields: &str, logits: &[f32], count: usize) -> Vec<i32> {
    let mut sampler = Sampler::new(options(fields), 7);
    let mut scratch = Scratch::default();
    (0..count).map(|_| sampler.pick(logits, &mut scratch).unwrap()).collect()
}

#[test]
fn temperature_zero_takes_the_first_of_the_best() {
    assert_eq!(draws(r#""temperature":0"#, &[0.0, 2.0, 2.0, 1.0], 3), [1, 1, 1]);
}

#[test]
fn the_best_is_found_past_any_number_of_lanes_and_past_what_is_no_number() {
    for at in [0, 15, 16, 17, 40] {
        let mut logits = vec![-1.0; 41];
        logits[at] = 3.0;
        logits[(at + 1) % 41] = f32::NAN;
        assert_eq!(best(&logits).unwrap().token, i32::try_from(at).unwrap());
    }
    assert!(best(&[f32::NAN, f32::NEG_INFINITY]).is_none());
    assert!(best(&[]).is_none());
}

#[test]
fn one_seed_gives_one_answer_and_another_another() {
    let logits = [1.0; 50];
    let seeded = |seed: u64| draws(&format!(r#""temperature":1,"seed":{seed}"#), &logits, 20);
    assert_eq!(seeded(1), seeded(1));
    assert_ne!(seeded(1), seeded(2));
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    // e^1.0986 is 3, so token 1 has three chances of four.
    let drawn = draws(r#""temperature":1"#, &[0.0, 1.0986], 4_000);
    let ones = drawn.iter().filter(|&&token| token == 1).count();
    assert!((2_900..3_100).contains(&ones), "{ones}");
}

#[test]
fn top_k_top_p_and_min_p_leave_only_the_likely() {
    let logits = [2.0, 1.0, 0.0, -1.0];
    let only = |fields: &str, allowed: &[i32]| {
        let drawn = draws(fields, &logits, 300);
        let mut seen: Vec<i32> = drawn;
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, allowed, "{fields}");
    };
    only(r#""temperature":1"#, &[0, 1, 2, 3]);
    only(r#""temperature":1,"top_k":2"#, &[0, 1]);
    only(r#""temperature":1,"min_p":0.3"#, &[0, 1]);
    only(r#""temperature":1,"min_p":1"#, &[0]);
    let narrow = |top_p: f32| {
        let mut sampler = Sampler::new(Options { top_p, ..options(r#""temperature":1"#) }, 7);
        let mut scratch = Scratch::default();
        (0..300).map(|_| sampler.pick(&logits, &mut scratch).unwrap()).max().unwrap()
    };
    // The chances are .644, .237, .087 and .032.
    assert_eq!(narrow(0.0), 0);
    assert_eq!(narrow(0.6), 0);
    assert_eq!(narrow(0.8), 1);
    assert_eq!(narrow(0.95), 2);
}

#[test]
fn penalties_make_a_token_give_way() {
    let logits = [1.0, 0.9];
    for fields in [r#""presence_penalty":0.5"#, r#""frequency_penalty":0.5"#, r#""repeat_penalty":2"#] {
        let mut sampler = Sampler::new(options(&format!(r#""temperature":0,{fields}"#)), 7);
        let mut scratch = Scratch::default();
        assert_eq!(sampler.pick(&logits, &mut scratch), Some(0));
        sampler.accept(0);
        assert_eq!(sampler.pick(&logits, &mut scratch), Some(1), "{fields}");
    }
}

#[test]
fn only_the_repeat_penalty_counts_the_prompt_and_only_its_end() {
    let mut sampler = Sampler::new(options(r#""temperature":0,"repeat_penalty":2"#), 7);
    let mut scratch = Scratch::default();
    sampler.read(0);
    assert_eq!(sampler.pick(&[1.0, 0.9], &mut scratch), Some(1));
    for _ in 0..REPEAT_WINDOW {
        sampler.read(5);
    }
    assert_eq!(sampler.pick(&[1.0, 0.9], &mut scratch), Some(0));
    let mut other = Sampler::new(options(r#""temperature":0,"presence_penalty":2"#), 7);
    other.read(0);
    assert_eq!(other.pick(&[1.0, 0.9], &mut scratch), Some(0));
}

#[test]
fn likelihoods_are_logarithms_of_chances() {
    let found = Likelihood::of(1, &[0.0, 1.0986, 0.0], 2, &mut Scratch::default());
    assert!((found.chosen - 0.6_f32.ln()).abs() < 1e-3);
    assert_eq!(found.top[0].0, 1);
    assert_eq!(found.top[1].0, 0);
    assert!(Likelihood::of(0, &[0.0], 0, &mut Scratch::default()).top.is_empty());
}

/// What a model says that always wants to go on in a circle of four words, and holds a fifth for little less likely.
fn circle(fields: &str, count: usize) -> Vec<i32> {
    let mut sampler = Sampler::new(options(fields), 7);
    let (mut scratch, mut said, mut last) = (Scratch::default(), Vec::new(), 3_usize);
    for _ in 0..count {
        let mut logits = [0.0; 5];
        logits[(last + 1) % 4] = 5.0;
        logits[4] = 3.0;
        let token = sampler.pick(&logits, &mut scratch).unwrap();
        sampler.accept(token);
        said.push(token);
        last = usize::try_from(token).unwrap() % 4;
    }
    said
}

#[test]
fn a_repetition_ends_where_going_on_costs_more_than_another_word() {
    let round = |count: usize| (0..4).cycle().take(count).collect::<Vec<i32>>();
    assert_eq!(circle(r#""temperature":0"#, 40), round(40), "off unless asked for");
    assert_eq!(circle(r#""temperature":0,"dry_multiplier":0"#, 40), round(40));
    let said = circle(r#""temperature":0,"dry_multiplier":0.8"#, 40);
    // 0.8 * 1.75^0 and ^1 are less than the 2 between the two words, ^2 is more: five words come again, the sixth does not.
    assert_eq!(said[..10], [0, 1, 2, 3, 0, 1, 2, 3, 0, 4]);
    // One that is allowed to be longer is ended later.
    let longer = circle(r#""temperature":0,"dry_multiplier":0.8,"dry_allowed_length":5"#, 40);
    assert_eq!(longer[..12], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 4]);
}

#[test]
fn what_the_prompt_says_may_be_said_again() {
    let mut sampler = Sampler::new(options(r#""temperature":0,"dry_multiplier":5"#), 7);
    for token in [0, 1, 2, 3, 0, 1, 2] {
        sampler.read(token);
    }
    assert_eq!(sampler.pick(&[0.0, 0.0, 0.0, 1.0], &mut Scratch::default()), Some(3));
}
