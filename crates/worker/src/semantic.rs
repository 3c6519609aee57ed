//! Answers to questions that were asked before in other words: finds candidates by their vectors, and takes none whose words say
//! that it is another question. Only within one bucket: the same route, tenant, system text and parameters.

mod alike;

use alike::difference;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewire_core::TaskId;

/// How many questions are known in all: with vectors of 256 numbers some 30 MB.
const MOST: usize = 20_000;
/// How many of one bucket, the newest ones: each is looked at, in some 100 µs for all of them.
const MOST_IN_BUCKET: usize = 2_000;
/// The longest question that is kept: a longer one is a document, and not asked twice in other words.
pub(crate) const MAX_QUESTION_BYTES: usize = 4 * 1024;
/// How many of the nearest are looked at before it is a miss: the nearest may be another question.
const CANDIDATES: usize = 4;

/// A hash of what must be the same.
pub(crate) type Bucket = [u8; 32];
/// Names an answer in the cache.
pub(crate) type AnswerKey = [u8; 32];

/// A question whose answer is kept.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Where its answer is.
    pub(crate) key: AnswerKey,
    /// Which task was given it first.
    pub(crate) task: TaskId,
    /// What was asked.
    pub(crate) question: Arc<str>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) known: Known,
    /// The cosine of the two questions' vectors.
    pub(crate) similarity: f32,
}

/// The questions that are known in this process.
#[derive(Default)]
pub(crate) struct Semantic(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    buckets: HashMap<Bucket, VecDeque<Item>>,
    /// All of them, oldest first; some are gone already.
    order: VecDeque<(Bucket, u64)>,
    next: u64,
    count: usize,
}

struct Item {
    place: u64,
    known: Known,
    /// Of length 1.
    vector: Box<[f32]>,
}

impl Semantic {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nearest known question that is at least so close and that its words don't tell apart.
    pub(crate) fn find(&self, bucket: &Bucket, vector: &[f32], question: &str, threshold: f32) -> Option<Found> {
        let vector = normal(vector)?;
        let inner = self.inner();
        let mut close: Vec<(f32, &Item)> = inner
            .buckets
            .get(bucket)?
            .iter()
            .filter(|item| item.vector.len() == vector.len())
            .map(|item| (dot(&item.vector, &vector), item))
            .filter(|(similarity, _)| *similarity >= threshold)
            .collect();
        close.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
        let fits = |(_, item): &&(f32, &Item)| difference(&item.known.question, question).is_none();
        let (similarity, item) = close.iter().take(CANDIDATES).find(fits)?;
        Some(Found { known: item.known.clone(), similarity: *similarity })
    }

    /// Remembers a question, in place of one with the same answer.
    pub(crate) fn keep(&self, bucket: Bucket, vector: &[f32], known: Known) {
        let Some(vector) = normal(vector) else { return };
        if known.question.len() > MAX_QUESTION_BYTES {
            return;
        }
        let mut inner = self.inner();
        inner.forget(|item| item.key == known.key, Some(&bucket));
        let place = inner.next;
        inner.next += 1;
        let items = inner.buckets.entry(bucket).or_default();
        items.push_back(Item { place, known, vector });
        if items.len() > MOST_IN_BUCKET {
            items.pop_front();
        } else {
            inner.count += 1;
        }
        inner.order.push_back((bucket, place));
        inner.make_room();
    }

    /// Forgets the question of an answer that is not to be given any more. Says whether there was one.
    pub(crate) fn forget(&self, key: &AnswerKey) -> bool {
        self.inner().forget(|item| item.key == *key, None)
    }

    /// How many questions are known.
    pub(crate) fn len(&self) -> usize {
        self.inner().count
    }
}

impl Inner {
    fn forget(&mut self, is: impl Fn(&Known) -> bool, within: Option<&Bucket>) -> bool {
        let mut gone = 0;
        let mut sweep = |items: &mut VecDeque<Item>| {
            let before = items.len();
            items.retain(|item| !is(&item.known));
            gone += before - items.len();
        };
        match within {
            Some(bucket) => self.buckets.get_mut(bucket).into_iter().for_each(&mut sweep),
            None => self.buckets.values_mut().for_each(&mut sweep),
        }
        self.buckets.retain(|_, items| !items.is_empty());
        self.count -= gone;
        gone > 0
    }

    /// The oldest go first. What is gone already stands in the order until its turn comes, so it is bounded too.
    fn make_room(&mut self) {
        while self.count > MOST || self.order.len() > 2 * MOST {
            let Some((bucket, place)) = self.order.pop_front() else { return };
            let Some(items) = self.buckets.get_mut(&bucket) else { continue };
            if items.front().is_some_and(|oldest| oldest.place == place) {
                items.pop_front();
                self.count -= 1;
            }
            if items.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }
}

/// The vector at length 1; none of one that points nowhere.
fn normal(vector: &[f32]) -> Option<Box<[f32]>> {
    let length = dot(vector, vector).sqrt();
    (length.is_finite() && length > f32::EPSILON).then(|| vector.iter().map(|part| part / length).collect())
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(number: u8, question: &str) -> Known {
        let task = TaskId::new(
            tidewire_core::Timestamp::from_millis(u64::from(number)),
            u128::from(number),
            tidewire_core::Durability::Durable,
        );
        Known { key: [number; 32], task, question: question.into() }
    }

    const HERE: Bucket = [1; 32];
    const ELSEWHERE: Bucket = [2; 32];

    #[test]
    fn the_nearest_question_is_found_in_its_own_bucket_alone() {
        let semantic = Semantic::default();
        semantic.keep(HERE, &[2.0, 0.0], known(1, "how do i reset my password"));
        semantic.keep(HERE, &[0.9, 0.5], known(2, "how can i get a new password"));
        let find = |bucket, vector: &[f32], least| semantic.find(bucket, vector, "forgot my password", least);
        let found = find(&HERE, &[0.9, 0.1], 0.9).expect("one is close");
        assert_eq!(found.known.key, [1; 32]);
        assert!((found.similarity - 0.993_883_7).abs() < 1e-5, "{}", found.similarity);
        assert!(find(&HERE, &[0.9, 0.1], 0.999).is_none(), "not close enough");
        assert!(find(&ELSEWHERE, &[0.9, 0.1], 0.1).is_none(), "another tenant's");
        assert!(find(&HERE, &[0.0, 0.0], 0.1).is_none(), "a text without a direction");
        assert!(find(&HERE, &[1.0, 0.0, 0.0], 0.1).is_none(), "another model's vector");
    }

    #[test]
    fn a_question_that_its_words_tell_apart_gives_way_to_the_next_one() {
        let semantic = Semantic::default();
        semantic.keep(HERE, &[1.0, 0.0], known(1, "turn the lights off"));
        semantic.keep(HERE, &[0.9, 0.1], known(2, "switch the lights on"));
        let found = semantic.find(&HERE, &[1.0, 0.0], "turn the lights on", 0.5).expect("one that means the same");
        assert_eq!(found.known.key, [2; 32]);
    }

    #[test]
    fn what_is_forgotten_is_not_found_and_what_is_kept_again_is_there_once() {
        let semantic = Semantic::default();
        semantic.keep(HERE, &[1.0, 0.0], known(1, "a question"));
        semantic.keep(HERE, &[1.0, 0.0], known(1, "a question"));
        assert_eq!(semantic.len(), 1);
        assert!(semantic.forget(&[1; 32]) && !semantic.forget(&[1; 32]));
        assert!(semantic.find(&HERE, &[1.0, 0.0], "a question", 0.1).is_none());
        assert_eq!(semantic.len(), 0);
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let semantic = Semantic::default();
        for number in 0..=MOST_IN_BUCKET {
            let mut one = known(0, "q");
            one.key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            semantic.keep(HERE, &[1.0, 0.0], one);
        }
        assert_eq!(semantic.len(), MOST_IN_BUCKET);
        let mut oldest = [0; 32];
        assert!(!semantic.forget(&oldest), "the oldest is gone");
        oldest[..8].copy_from_slice(&1_u64.to_le_bytes());
        assert!(semantic.forget(&oldest));
    }
}
