//! Which script a call gets: the next of those that are played once, else its model's, else everybody's.

use super::frames::{Answer, Key};
use super::script::Script;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Answers kept for each script. A benchmark asks for one or two.
const MAX_ANSWERS: usize = 64;

/// A script and the answers made from it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) script: Script,
    made: Mutex<HashMap<Key, Arc<Answer>>>,
}

impl Part {
    fn new(script: Script) -> Arc<Self> {
        Arc::new(Self { script, made: Mutex::new(HashMap::new()) })
    }

    pub(super) fn answer(&self, key: Key) -> Arc<Answer> {
        let mut made = lock(&self.made);
        if made.len() >= MAX_ANSWERS && !made.contains_key(&key) {
            made.clear();
        }
        made.entry(key).or_insert_with_key(|key| Arc::new(Answer::make(&self.script, key))).clone()
    }
}

#[derive(Debug)]
pub(super) struct Program(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    everybody: Arc<Part>,
    models: BTreeMap<String, Arc<Part>>,
    once: VecDeque<Arc<Part>>,
}

impl Program {
    pub(super) fn new(script: Script) -> Self {
        Self(Mutex::new(Parts { everybody: Part::new(script), models: BTreeMap::new(), once: VecDeque::new() }))
    }

    pub(super) fn everybody(&self, script: Script) {
        lock(&self.0).everybody = Part::new(script);
    }

    pub(super) fn model(&self, name: &str, script: Script) {
        lock(&self.0).models.insert(name.to_owned(), Part::new(script));
    }

    pub(super) fn once(&self, script: Script) {
        lock(&self.0).once.push_back(Part::new(script));
    }

    pub(super) fn part(&self, model: &str) -> Arc<Part> {
        let mut parts = lock(&self.0);
        let once = parts.once.pop_front();
        once.unwrap_or_else(|| parts.models.get(model).unwrap_or(&parts.everybody).clone())
    }

    pub(super) fn models(&self) -> Vec<String> {
        lock(&self.0).models.keys().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
