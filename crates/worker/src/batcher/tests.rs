//! Callers of a batcher, in front of an embedder that writes down what it was asked.

use super::*;
use tidewire_testkit::clock::HandClock;
use tokio::sync::Semaphore;

/// Gives each input the vector of its length; refuses what says "bad"; holds answers back until it is let.
struct Fake {
    calls: Mutex<Vec<usize>>,
    may_answer: Semaphore,
    dropped: Arc<Mutex<usize>>,
}

impl Fake {
    fn new(answers: usize) -> Arc<Self> {
        Arc::new(Self { calls: Mutex::default(), may_answer: Semaphore::new(answers), dropped: Arc::default() })
    }

    fn calls(&self) -> Vec<usize> {
        lock(&self.calls).clone()
    }
}

struct Running {
    dropped: Arc<Mutex<usize>>,
    whole: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.dropped) += usize::from(!self.whole);
    }
}

#[async_trait]
impl Embedder for Fake {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        lock(&self.calls).push(request.inputs.len());
        let mut running = Running { dropped: self.dropped.clone(), whole: false };
        self.may_answer.acquire().await.unwrap().forget();
        running.whole = true;
        if request.inputs.contains(&EmbedInput::Text("bad".to_owned())) {
            return Err(BackendError::new(Fault::InvalidRequest, "a bad input"));
        }
        let vectors = request.inputs.iter().map(|input| vec![f32::from(u8::try_from(bytes(input)).unwrap())]).collect();
        let usage = Usage { input_tokens: 10 * request.inputs.len() as u64 + 1, ..Usage::default() };
        Ok(Embedded { vectors, usage, limits: Vec::new() })
    }
}

fn given(fake: &Arc<Fake>, bounds: Bounds) -> (Arc<Batcher>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::new(1));
    (Arc::new(Batcher::new(fake.clone(), clock.clone(), TaskTracker::new(), bounds)), clock)
}

fn request(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        model: "m".into(),
        inputs: texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect(),
        dimensions: None,
        timeouts: Timeouts::default(),
    }
}

/// Starts a caller; its inputs are with the batcher when this returns.
async fn call(batcher: &Arc<Batcher>, texts: &[&str]) -> tokio::task::JoinHandle<Result<Embedded, BackendError>> {
    let (batcher, request) = (batcher.clone(), request(texts));
    // A test has no tracker to hand.
    #[allow(clippy::disallowed_methods)]
    let call = tokio::spawn(async move { batcher.embed(request).await });
    tokio::task::yield_now().await;
    call
}

#[tokio::test]
async fn what_comes_within_the_wait_goes_upstream_in_one_call() {
    let fake = Fake::new(9);
    let (batcher, clock) = given(&fake, Bounds::default());
    let calls = [call(&batcher, &["a", "bb"]).await, call(&batcher, &["ccc"]).await, call(&batcher, &["dddd"]).await];
    assert_eq!(fake.calls(), [0; 0], "the wait is not over");
    clock.advance(Bounds::default().wait);
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    assert_eq!(fake.calls(), [4]);
    assert_eq!(answers[0].vectors, [[1.0], [2.0]]);
    assert_eq!((&answers[1].vectors[..], &answers[2].vectors[..]), (&[vec![3.0]][..], &[vec![4.0]][..]));
    let used: u64 = answers.iter().map(|answer| answer.usage.input_tokens).sum();
    assert_eq!(used, 41, "the shares add up to what the upstream counted");
    assert!(answers.iter().all(|answer| answer.usage.estimated && answer.usage.input_tokens > 0));
}

#[tokio::test]
async fn a_full_call_goes_at_once_and_what_does_not_fit_goes_with_the_next() {
    let fake = Fake::new(9);
    let (batcher, clock) = given(&fake, Bounds { inputs: 3, ..Bounds::default() });
    let full = call(&batcher, &["a", "b", "c"]).await;
    assert_eq!(full.await.unwrap().unwrap().vectors.len(), 3, "without any wait");
    let two = call(&batcher, &["a", "b"]).await;
    let other = call(&batcher, &["c", "d"]).await;
    assert_eq!(two.await.unwrap().unwrap().vectors.len(), 2, "there is no room beside it for the next one");
    clock.advance(Bounds::default().wait);
    assert_eq!(other.await.unwrap().unwrap().vectors.len(), 2);
    let large = call(&batcher, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(large.await.unwrap().unwrap().vectors.len(), 5, "more than fits goes alone");
    assert_eq!(fake.calls(), [3, 2, 2, 5]);
}

#[tokio::test]
async fn one_callers_mistake_is_not_the_others() {
    let fake = Fake::new(9);
    let (batcher, clock) = given(&fake, Bounds::default());
    let (good, bad) = (call(&batcher, &["a"]).await, call(&batcher, &["bad"]).await);
    clock.advance(Bounds::default().wait);
    assert_eq!(good.await.unwrap().unwrap().vectors, [[1.0]]);
    assert_eq!(bad.await.unwrap().unwrap_err().fault, Fault::InvalidRequest);
    assert_eq!(fake.calls(), [2, 1, 1]);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_others_call_and_the_last_one_does() {
    let fake = Fake::new(0);
    let (batcher, clock) = given(&fake, Bounds::default());
    let (first, second) = (call(&batcher, &["a"]).await, call(&batcher, &["b"]).await);
    clock.advance(Bounds::default().wait);
    while fake.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    tokio::task::yield_now().await;
    assert_eq!(*lock(&fake.dropped), 0);
    second.abort();
    while *lock(&fake.dropped) == 0 {
        tokio::task::yield_now().await;
    }
}
