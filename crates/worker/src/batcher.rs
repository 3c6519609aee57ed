//! Many callers' inputs in one upstream call: what arrives within a short wait for the same model goes together.
//!
//! ```text
//!  caller ──▶ ┐
//!  caller ──▶ ├─ wait, or until it is full ──▶ one call ──▶ each caller's vectors, and its share of the usage
//!  caller ──▶ ┘
//! ```

use async_trait::async_trait;
use futures_util::future;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, Clock, EmbedInput, EmbedRequest, Embedded, Embedder, Fault, Timeouts};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

/// How large one call may become and how long the first of its callers waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Inputs of one call. A caller that brings more goes alone.
    pub inputs: usize,
    /// Bytes of all inputs of one call.
    pub bytes: usize,
    /// How long the first one waits for others.
    pub wait: Duration,
}

impl Default for Bounds {
    /// 256 inputs are what most upstreams take at least, 512 KiB some 130,000 tokens (`OpenAI` takes 300,000); 5 ms are
    /// little beside any embedding, and a crowd of callers arrives within them.
    fn default() -> Self {
        Self { inputs: 256, bytes: 512 * 1024, wait: Duration::from_millis(5) }
    }
}

/// An embedder that makes one call of many.
pub struct Batcher {
    inner: Arc<dyn Embedder>,
    clock: Arc<dyn Clock>,
    tracker: TaskTracker,
    bounds: Bounds,
    open: Arc<Mutex<HashMap<Kind, Open>>>,
}

/// What must be alike for inputs to go together.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    model: Arc<str>,
    dimensions: Option<u32>,
    timeouts: Timeouts,
    /// Upstreams take texts or tokens in one call, not both.
    tokens: bool,
}

/// A call that has not begun.
struct Open {
    callers: Vec<Caller>,
    inputs: usize,
    bytes: usize,
    full: Arc<Notify>,
}

struct Caller {
    inputs: Vec<EmbedInput>,
    bytes: usize,
    reply: oneshot::Sender<Result<Embedded, BackendError>>,
}

impl Batcher {
    /// In front of an embedder. Calls run as tasks of the tracker: one caller that leaves does not end the others' call.
    pub fn new(inner: Arc<dyn Embedder>, clock: Arc<dyn Clock>, tracker: TaskTracker, bounds: Bounds) -> Self {
        Self { inner, clock, tracker, bounds, open: Arc::default() }
    }

    /// Joins the call that is open for this kind, or opens one.
    fn join(&self, kind: Kind, caller: Caller) {
        let mut open = lock(&self.open);
        if let Some(call) = open.get_mut(&kind)
            && call.inputs + caller.inputs.len() <= self.bounds.inputs
            && call.bytes + caller.bytes <= self.bounds.bytes
        {
            call.add(caller);
            if call.inputs == self.bounds.inputs {
                call.full.notify_one();
            }
            return;
        }
        let full = Arc::new(Notify::new());
        let mut call = Open { callers: Vec::new(), inputs: 0, bytes: 0, full: full.clone() };
        call.add(caller);
        if call.inputs >= self.bounds.inputs {
            full.notify_one();
        }
        // One that has no room for this caller goes now: nobody would join it any more.
        if let Some(before) = open.insert(kind.clone(), call) {
            self.send(kind.clone(), before.callers);
        }
        drop(open);
        let (wait, calls, this) = (self.clock.sleep(self.bounds.wait), self.open.clone(), full.clone());
        let call = Call { inner: self.inner.clone(), kind };
        self.tracker.spawn(async move {
            tokio::select! {
                () = full.notified() => {}
                () = wait => {}
            }
            if let Some(callers) = take(&calls, &call.kind, &this) {
                call.run(callers).await;
            }
        });
    }

    fn send(&self, kind: Kind, callers: Vec<Caller>) {
        let call = Call { inner: self.inner.clone(), kind };
        self.tracker.spawn(async move { call.run(callers).await });
    }
}

impl Open {
    fn add(&mut self, caller: Caller) {
        self.inputs += caller.inputs.len();
        self.bytes += caller.bytes;
        self.callers.push(caller);
    }
}

/// The callers of a call that is open still; none where it was sent already because it was full.
fn take(open: &Mutex<HashMap<Kind, Open>>, kind: &Kind, full: &Arc<Notify>) -> Option<Vec<Caller>> {
    let mut open = lock(open);
    let same = open.get(kind).is_some_and(|call| Arc::ptr_eq(&call.full, full));
    if same { open.remove(kind).map(|call| call.callers) } else { None }
}

#[async_trait]
impl Embedder for Batcher {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        let bytes = request.inputs.iter().map(bytes).sum();
        if request.inputs.len() > self.bounds.inputs || bytes > self.bounds.bytes {
            return self.inner.embed(request).await;
        }
        let (reply, answer) = oneshot::channel();
        let tokens = matches!(request.inputs.first(), Some(EmbedInput::Tokens(_)));
        let kind = Kind { model: request.model, dimensions: request.dimensions, timeouts: request.timeouts, tokens };
        self.join(kind, Caller { inputs: request.inputs, bytes, reply });
        answer.await.unwrap_or_else(|_| Err(BackendError::new(Fault::Broken, "the call was given up")))
    }
}

/// One upstream call.
struct Call {
    inner: Arc<dyn Embedder>,
    kind: Kind,
}

impl Call {
    /// Embeds what the callers brought. It ends early when all of them have left.
    async fn run(self, mut callers: Vec<Caller>) {
        callers.retain(|caller| !caller.reply.is_closed());
        if callers.is_empty() {
            return;
        }
        let all = callers.iter().flat_map(|caller| caller.inputs.iter().cloned()).collect();
        let answer = tokio::select! {
            answer = self.inner.embed(self.request(all)) => answer,
            _ = future::join_all(callers.iter_mut().map(|caller| caller.reply.closed())) => return,
        };
        match answer {
            Ok(embedded) => share(callers, embedded),
            // One caller's mistake is not the others': each goes alone.
            Err(error) if callers.len() > 1 && is_a_callers(error.fault) => {
                future::join_all(callers.into_iter().map(|caller| self.alone(caller))).await;
            }
            Err(error) => {
                for caller in callers {
                    // Who has left wants no answer.
                    let _ = caller.reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn alone(&self, mut caller: Caller) {
        let request = self.request(std::mem::take(&mut caller.inputs));
        tokio::select! {
            answer = self.inner.embed(request) => {
                let _ = caller.reply.send(answer);
            }
            () = caller.reply.closed() => {}
        }
    }

    fn request(&self, inputs: Vec<EmbedInput>) -> EmbedRequest {
        let Kind { model, dimensions, timeouts, tokens: _ } = self.kind.clone();
        EmbedRequest { model, inputs, dimensions, timeouts }
    }
}

fn is_a_callers(fault: Fault) -> bool {
    matches!(fault, Fault::InvalidRequest | Fault::ContextTooLong)
}

/// Gives each caller its vectors, and of the usage a share by the length of what it brought. The shares add up to what
/// the upstream counted.
fn share(callers: Vec<Caller>, embedded: Embedded) {
    let Embedded { vectors, usage, limits } = embedded;
    let (wanted, together) = (callers.iter().map(|caller| caller.inputs.len()).sum::<usize>(), callers.len() > 1);
    if vectors.len() != wanted {
        let message = format!("the upstream gave {} vectors for {wanted} inputs", vectors.len());
        let error = BackendError::new(Fault::Broken, message);
        for caller in callers {
            let _ = caller.reply.send(Err(error.clone()));
        }
        return;
    }
    let mut vectors = vectors.into_iter();
    let mut bytes_left: u64 = callers.iter().map(|caller| caller.bytes as u64).sum();
    let mut left = usage;
    for caller in callers {
        let part = |tokens: u64| match bytes_left {
            0 => tokens,
            all => u64::try_from(u128::from(tokens) * caller.bytes as u128 / u128::from(all)).unwrap_or(tokens),
        };
        let used = Usage {
            input_tokens: part(left.input_tokens),
            cached_tokens: part(left.cached_tokens),
            output_tokens: part(left.output_tokens),
            estimated: usage.estimated || together,
            ..Usage::default()
        };
        left.input_tokens -= used.input_tokens;
        left.cached_tokens -= used.cached_tokens;
        left.output_tokens -= used.output_tokens;
        bytes_left -= caller.bytes as u64;
        let vectors = vectors.by_ref().take(caller.inputs.len()).collect();
        let _ = caller.reply.send(Ok(Embedded { vectors, usage: used, limits: limits.clone() }));
    }
}

/// How long an input is: what shares go by.
fn bytes(input: &EmbedInput) -> usize {
    match input {
        EmbedInput::Text(text) => text.len(),
        // A token is about four bytes of text.
        EmbedInput::Tokens(tokens) => tokens.len() * 4,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
