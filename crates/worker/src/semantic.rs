//! Answers to questions that were asked before in other words: finds candidates by their vectors, and takes none whose words say
//! that it is another question. Only within one bucket: the same tenant, route, rules, earlier messages and parameters.
//!
//! In memory, of this process: after a restart nothing is known, and it fills again with what is asked.

mod alike;
mod asked;
mod judged;

pub(crate) use asked::{Asked, Near};
pub(crate) use judged::let_go;

use alike::difference;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::port::CacheKey;
use tokio::sync::OnceCell;

/// How many questions are known in all.
const MOST: usize = 20_000;
/// What their vectors and texts may take: 20,000 with vectors of 512 numbers. Of longer vectors there are fewer.
const MOST_BYTES: usize = 48 * 1024 * 1024;
/// How many of one bucket, the newest ones: each is looked at, in some 300 µs for all of them with vectors of 256 numbers.
const MOST_IN_BUCKET: usize = 2_000;
/// How many of the nearest are looked at before it is a miss: the nearest may be another question.
const CANDIDATES: usize = 4;
/// How long a deployment is left alone that gave no vector: whoever asks meanwhile does not wait for it.
const PAUSE: Duration = Duration::from_secs(5);

/// A vector that is on its way, for all who ask the same at once.
type Pending = Arc<OnceCell<Option<Arc<[f32]>>>>;

/// A question whose answer is kept.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Where its answer is.
    pub(crate) key: CacheKey,
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

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// No question is close enough.
    Close,
    /// Some are, and their words say that they are others.
    ToldApart,
}

/// The questions that are known in this process.
#[derive(Default)]
pub(crate) struct Semantic {
    inner: Mutex<Inner>,
    pending: Mutex<HashMap<CacheKey, Pending>>,
    /// Until when a deployment is not asked.
    pauses: Mutex<HashMap<Arc<str>, Duration>>,
}

#[derive(Default)]
struct Inner {
    buckets: HashMap<CacheKey, VecDeque<Item>>,
    /// All of them, oldest first; some are gone already.
    order: VecDeque<(CacheKey, u64)>,
    next: u64,
    count: usize,
    bytes: usize,
}

struct Item {
    place: u64,
    known: Known,
    /// Of length 1.
    vector: Box<[f32]>,
}

impl Item {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.vector.len() * size_of::<f32>() + self.known.question.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Semantic {
    /// The nearest known question that is at least so close and that its words don't tell apart.
    pub(crate) fn find(
        &self,
        bucket: &CacheKey,
        vector: &[f32],
        question: &str,
        threshold: f32,
    ) -> Result<Found, Nothing> {
        let vector = normal(vector).ok_or(Nothing::Close)?;
        let inner = lock(&self.inner);
        let mut close: Vec<(f32, &Item)> = inner
            .buckets
            .get(bucket)
            .ok_or(Nothing::Close)?
            .iter()
            .filter(|item| item.vector.len() == vector.len())
            .map(|item| (dot(&item.vector, &vector), item))
            .filter(|(similarity, _)| *similarity >= threshold)
            .collect();
        close.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
        if close.is_empty() {
            return Err(Nothing::Close);
        }
        let fits = |(_, item): &&(f32, &Item)| difference(&item.known.question, question).is_none();
        let (similarity, item) = close.iter().take(CANDIDATES).find(fits).ok_or(Nothing::ToldApart)?;
        Ok(Found { known: item.known.clone(), similarity: *similarity })
    }

    /// Whether the question of this answer is known.
    pub(crate) fn knows(&self, bucket: &CacheKey, key: &CacheKey) -> bool {
        lock(&self.inner).buckets.get(bucket).is_some_and(|items| items.iter().any(|item| item.known.key == *key))
    }

    /// Remembers a question, in place of one with the same answer. Says whether it could: not every vector has a direction.
    pub(crate) fn keep(&self, bucket: CacheKey, vector: &[f32], known: Known) -> bool {
        let Some(vector) = normal(vector) else { return false };
        let mut inner = lock(&self.inner);
        inner.forget(&bucket, &known.key);
        let place = inner.next;
        inner.next += 1;
        let item = Item { place, known, vector };
        inner.bytes += item.bytes();
        inner.count += 1;
        let items = inner.buckets.entry(bucket).or_default();
        items.push_back(item);
        if items.len() > MOST_IN_BUCKET
            && let Some(oldest) = items.pop_front()
        {
            inner.gone(&oldest);
        }
        inner.order.push_back((bucket, place));
        inner.make_room();
        true
    }

    /// Forgets the question of an answer that is not to be given any more. Says whether there was one.
    pub(crate) fn forget(&self, bucket: &CacheKey, key: &CacheKey) -> bool {
        lock(&self.inner).forget(bucket, key)
    }

    /// Where the vector of a question comes to be: once for all who ask it at once.
    fn pending(&self, key: CacheKey) -> Waiting<'_> {
        let cell = lock(&self.pending).entry(key).or_default().clone();
        Waiting { semantic: self, key, cell }
    }

    /// Whether this deployment is left alone now.
    fn is_paused(&self, deployment: &str, now: Duration) -> bool {
        lock(&self.pauses).get(deployment).is_some_and(|until| now < *until)
    }

    /// It is left alone from now on, for a while.
    fn pause(&self, deployment: &Arc<str>, now: Duration) {
        let mut pauses = lock(&self.pauses);
        // Those that a reload took away go too.
        pauses.retain(|_, until| now < *until);
        pauses.insert(deployment.clone(), now + PAUSE);
    }
}

/// One of those who wait for a vector. The last one takes the place away.
struct Waiting<'a> {
    semantic: &'a Semantic,
    key: CacheKey,
    cell: Pending,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut pending = lock(&self.semantic.pending);
        // This one and the map's own.
        if Arc::strong_count(&self.cell) <= 2 {
            pending.remove(&self.key);
        }
    }
}

impl Inner {
    fn forget(&mut self, bucket: &CacheKey, key: &CacheKey) -> bool {
        let Some(items) = self.buckets.get_mut(bucket) else { return false };
        let place = items.iter().position(|item| item.known.key == *key);
        let Some(item) = place.and_then(|place| items.remove(place)) else { return false };
        if items.is_empty() {
            self.buckets.remove(bucket);
        }
        self.gone(&item);
        true
    }

    fn gone(&mut self, item: &Item) {
        self.count -= 1;
        self.bytes -= item.bytes();
    }

    /// The oldest go first. What is gone already stands in the order until its turn comes, so it is bounded too.
    fn make_room(&mut self) {
        while self.count > MOST || self.bytes > MOST_BYTES || self.order.len() > 2 * MOST {
            let Some((bucket, place)) = self.order.pop_front() else { return };
            let Some(items) = self.buckets.get_mut(&bucket) else { continue };
            let oldest =
                if items.front().is_some_and(|oldest| oldest.place == place) { items.pop_front() } else { None };
            if items.is_empty() {
                self.buckets.remove(&bucket);
            }
            if let Some(oldest) = oldest {
                self.gone(&oldest);
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
        Known { key: CacheKey([number; 32]), question: question.into() }
    }

    const HERE: CacheKey = CacheKey([1; 32]);
    const ELSEWHERE: CacheKey = CacheKey([2; 32]);

    impl Semantic {
        fn count(&self) -> (usize, bool) {
            let inner = lock(&self.inner);
            let bytes: usize = inner.buckets.values().flatten().map(Item::bytes).sum();
            (inner.count, bytes == inner.bytes)
        }
    }

    #[test]
    fn the_nearest_question_is_found_in_its_own_bucket_alone() {
        let semantic = Semantic::default();
        semantic.keep(HERE, &[2.0, 0.0], known(1, "how do i reset my password"));
        semantic.keep(HERE, &[0.9, 0.5], known(2, "how can i get a new password"));
        let find = |bucket, vector: &[f32], least| semantic.find(bucket, vector, "forgot my password", least);
        let found = find(&HERE, &[0.9, 0.1], 0.9).expect("one is close");
        assert_eq!(found.known.key, CacheKey([1; 32]));
        assert!((found.similarity - 0.993_883_7).abs() < 1e-5, "{}", found.similarity);
        let none = |bucket, vector: &[f32], least| find(bucket, vector, least).err() == Some(Nothing::Close);
        assert!(none(&HERE, &[0.9, 0.1], 0.999), "not close enough");
        assert!(none(&ELSEWHERE, &[0.9, 0.1], 0.1), "another tenant's");
        assert!(none(&HERE, &[0.0, 0.0], 0.1), "a text without a direction");
        assert!(none(&HERE, &[1.0, 0.0, 0.0], 0.1), "another model's vector");
        assert!(!semantic.keep(HERE, &[0.0, f32::NAN], known(3, "x")));
    }

    #[test]
    fn a_question_that_its_words_tell_apart_gives_way_to_the_next_one() {
        let semantic = Semantic::default();
        semantic.keep(HERE, &[1.0, 0.0], known(1, "turn the lights off"));
        let find = || semantic.find(&HERE, &[1.0, 0.0], "turn the lights on", 0.5);
        assert_eq!(find().err(), Some(Nothing::ToldApart));
        semantic.keep(HERE, &[0.9, 0.1], known(2, "switch the lights on"));
        assert_eq!(find().expect("one that means the same").known.key, CacheKey([2; 32]));
    }

    #[test]
    fn what_is_forgotten_is_not_found_and_what_is_kept_again_is_there_once() {
        let semantic = Semantic::default();
        let key = CacheKey([1; 32]);
        semantic.keep(HERE, &[1.0, 0.0], known(1, "a question"));
        semantic.keep(HERE, &[1.0, 0.0], known(1, "a question"));
        assert_eq!((semantic.count(), semantic.knows(&HERE, &key)), ((1, true), true));
        assert!(semantic.forget(&HERE, &key) && !semantic.forget(&HERE, &key));
        assert!(semantic.find(&HERE, &[1.0, 0.0], "a question", 0.1).is_err());
        assert_eq!((semantic.count(), semantic.knows(&HERE, &key)), ((0, true), false));
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many_of_a_bucket_or_in_all() {
        let semantic = Semantic::default();
        let numbered = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            CacheKey(key)
        };
        let one = |number| Known { key: numbered(number), question: "q".into() };
        for number in 0..=MOST_IN_BUCKET {
            semantic.keep(HERE, &[1.0, 0.0], one(number));
        }
        assert_eq!(semantic.count(), (MOST_IN_BUCKET, true));
        assert!(!semantic.knows(&HERE, &numbered(0)) && semantic.knows(&HERE, &numbered(1)));
        for number in 0..MOST {
            semantic.keep(numbered(number), &[1.0, 0.0], one(number));
        }
        assert_eq!(semantic.count(), (MOST, true));
        assert!(!semantic.knows(&HERE, &numbered(1)) && semantic.knows(&numbered(0), &numbered(0)));
        // Long vectors: their bytes are bounded.
        let long = vec![1.0; 64 * 1024];
        let fit = MOST_BYTES / (long.len() * size_of::<f32>());
        for number in 0..=fit {
            semantic.keep(ELSEWHERE, &long, one(number));
        }
        let (count, adds_up) = semantic.count();
        assert!(adds_up && count < fit, "{count}");
        assert!(semantic.knows(&ELSEWHERE, &numbered(fit)), "the newest stays");
    }

    #[tokio::test]
    async fn a_vector_is_made_once_for_all_who_wait_and_nothing_is_left_behind() {
        let semantic = Semantic::default();
        {
            let (one, other) = (semantic.pending(HERE), semantic.pending(HERE));
            one.cell.get_or_init(async || Some(Arc::from([1.0]))).await;
            assert_eq!(other.cell.get().and_then(Clone::clone).as_deref(), Some(&[1.0][..]));
            drop(one);
            assert_eq!(lock(&semantic.pending).len(), 1);
        }
        assert!(lock(&semantic.pending).is_empty());
    }
}
