//! One run that may be asked of two deployments: where the first word is late, a second one is asked as well, the one that
//! speaks first is heard, and the other one is left at once. Both are charged.

mod leg;

use crate::Worker;
use crate::draft::{HedgeNote, StartNote, json};
use crate::pump::Said;
use crate::subject;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use leg::{Heard, Word, arrived, first_word};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::port::{Amounts, Asked, Backend, BackendError, Measurement, Request, Run, UpstreamLimit};
use tidewire_core::route::{Deployment, Flight, Hedge, Hedges, Route, Verdict};
use tidewire_core::{Entry, Kind, Task, Usage};

/// So much of a request is counted without letting others run: two milliseconds, once in twenty requests. A longer one is
/// charged as it was counted before its first run.
const MAX_COUNTED_BYTES: usize = 64 * 1024;

/// A second deployment, chosen and counted as asked.
pub(crate) struct Second {
    pub(crate) flight: Flight,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) request: Request,
}

/// Chooses a second deployment, if there is one.
pub(crate) type Choose<'a> = &'a (dyn Fn() -> Option<Second> + Send + Sync);

/// What a race is about.
pub(crate) struct Terms<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) task: &'a Task,
    pub(crate) route: &'a Route,
    pub(crate) attempt: u32,
    pub(crate) input: &'a Bytes,
    /// What it has, of tokens that a model reads: an estimate.
    pub(crate) input_tokens: u64,
    /// What is asked of whoever pays for a second reading; nothing where nothing is reserved.
    pub(crate) reading: Option<Amounts>,
    /// When to ask a second one, if ever.
    pub(crate) hedge: Option<Hedge>,
    pub(crate) choose: Choose<'a>,
}

/// One run.
pub(crate) struct Race<'a> {
    terms: Terms<'a>,
    backend: Arc<dyn Backend>,
    /// The first deployment.
    first: Arc<str>,
    began: Duration,
    state: Mutex<State>,
}

struct State {
    /// Of the one whose answer counts.
    flight: Flight,
    /// Of the other one, while it runs.
    other: Option<Other>,
    /// How long after the first one the second one was asked, and the one that counts.
    launched: Duration,
    delay: Duration,
    /// What the other one used.
    extra: Usage,
    /// The second one, where it was asked.
    second: Option<Arc<str>>,
}

struct Other {
    flight: Flight,
    heard: Arc<Heard>,
}

impl State {
    /// From now on the second one counts, and the first one is the other.
    fn swap(&mut self, first_heard: &Arc<Heard>) {
        let Some(Other { flight: second, .. }) = self.other.take() else { return };
        let first = std::mem::replace(&mut self.flight, second);
        self.other = Some(Other { flight: first, heard: first_heard.clone() });
        self.delay = self.launched;
    }
}

/// What a run came to, beside what it said.
pub(crate) struct Raced {
    /// Whose answer it is.
    pub(crate) deployment: Arc<Deployment>,
    /// What the other one used.
    pub(crate) extra: Usage,
    /// The second one, where it was asked.
    pub(crate) second: Option<Arc<str>>,
}

type Leg<'a> = Pin<&'a mut (dyn Future<Output = Word> + Send)>;

impl<'a> Race<'a> {
    pub(crate) fn new(terms: Terms<'a>, flight: Flight, backend: Arc<dyn Backend>) -> Self {
        let began = terms.worker.clock.monotonic();
        let first = flight.deployment.name.clone();
        let state = State {
            flight,
            other: None,
            launched: Duration::ZERO,
            delay: Duration::ZERO,
            extra: Usage::default(),
            second: None,
        };
        Self { terms, backend, first, began, state: Mutex::new(state) }
    }

    /// The run is over: ends the flights.
    pub(crate) fn over(self, verdict: Verdict<'_>, usage: &Usage, per_token: Option<Duration>) -> Raced {
        let now = self.terms.worker.clock.monotonic();
        // Still running where the task was stopped before either of them spoke.
        self.lose(&mut self.state(), Verdict::Cut, None);
        let State { flight, extra, second, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let deployment = flight.deployment.clone();
        flight.end(verdict, usage, per_token, now);
        Raced { deployment, extra, second }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hedges(&self) -> &Hedges {
        self.terms.worker.fleet.hedges()
    }

    fn elapsed(&self) -> Duration {
        self.terms.worker.clock.monotonic().saturating_sub(self.began)
    }

    /// Whose answer it is by now.
    pub(crate) fn deployment(&self) -> Arc<Deployment> {
        self.state().flight.deployment.clone()
    }

    /// The upstream has told of its limits.
    pub(crate) fn told(&self, limits: &[UpstreamLimit]) {
        self.state().flight.told(limits, self.terms.worker.clock.monotonic());
    }

    /// The first token has come, so long after the first deployment was asked.
    pub(crate) fn first_token(&self, took: Duration) {
        let state = self.state();
        state.flight.first_token(took.saturating_sub(state.delay));
    }

    /// What is said, by whoever says it: first which one it is where there were two, then its acceptance, then its chunks.
    pub(crate) fn speak(&self, request: Request) -> impl Stream<Item = Result<Said, BackendError>> + Send {
        async move { self.begin(request).await }.into_stream().flat_map(|begun| match begun {
            Ok((run, note)) => stream::iter(note.map(|note| Ok(Said::Hedged(note))))
                .chain(stream::iter([Ok(Said::Begun(run.begins, run.limits))]))
                .chain(run.chunks.map(|chunk| chunk.map(Said::Chunk)))
                .left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })
    }

    async fn begin(&self, request: Request) -> Result<(Run, Option<Entry>), BackendError> {
        let Some(hedge) = self.terms.hedge else { return Ok((self.backend.run(request).await?, None)) };
        let late = self.hedges().asked(&self.terms.route.name, hedge);
        let heard = Arc::new(Heard::default());
        let mut first = pin!(first_word(self.backend.clone(), request, heard.clone()));
        if let Some(late) = late {
            let alone = tokio::select! {
                biased;
                word = first.as_mut() => Some(word),
                () = self.terms.worker.clock.sleep(late) => None,
            };
            if let Some(word) = alone {
                return self.unhedged(word);
            }
            let second = tokio::select! {
                biased;
                word = first.as_mut() => return self.unhedged(word),
                second = self.second() => second,
            };
            if let Some(second) = second {
                return self.both((first, heard), second).await;
            }
        }
        let word = first.await;
        self.unhedged(word)
    }

    /// The first one has spoken, or failed, and no second one was asked.
    fn unhedged(&self, word: Word) -> Result<(Run, Option<Entry>), BackendError> {
        if matches!(word, Word::Said(_)) {
            self.hedges().spoke(&self.terms.route.name, self.elapsed());
        }
        Ok((word.into_run()?, None))
    }

    /// A second one, where the budget has room, there is one, and whoever pays can pay for it.
    async fn second(&self) -> Option<Second> {
        let Terms { worker, task, route, reading, choose, .. } = &self.terms;
        if !self.hedges().take(&route.name) {
            return None;
        }
        let second = choose();
        if let (Some(_), Some(reading)) = (&second, *reading)
            && worker.ledger.top_up(task.at(), reading, worker.clock.now()).await.is_err()
        {
            self.hedges().give_back(&route.name);
            return None;
        }
        if second.is_none() {
            self.hedges().give_back(&route.name);
        }
        second
    }

    /// Hears whichever speaks first.
    async fn both(
        &self,
        (mut first, first_heard): (Leg<'_>, Arc<Heard>),
        second: Second,
    ) -> Result<(Run, Option<Entry>), BackendError> {
        let Second { flight, backend, request } = second;
        let after = self.elapsed();
        let heard = Arc::new(Heard::default());
        tracing::debug!(task = %self.terms.task.id, deployment = %flight.deployment.name, "the first word is late; a second deployment is asked");
        {
            let mut state = self.state();
            state.second = Some(flight.deployment.name.clone());
            state.launched = after;
            state.other = Some(Other { flight, heard: heard.clone() });
        }
        let mut second: Leg<'_> = pin!(first_word(backend, request, heard));
        let (mut first_runs, mut second_runs) = (true, true);
        loop {
            let (is_first, word) = tokio::select! {
                biased;
                word = first.as_mut(), if first_runs => (true, word),
                word = second.as_mut(), if second_runs => (false, word),
            };
            if is_first {
                first_runs = false;
            } else {
                second_runs = false;
            }
            let others_turn = if is_first { second_runs } else { first_runs };
            match word {
                Word::Failed(error, _) if others_turn => self.fell(is_first, &first_heard, &error),
                Word::Failed(..) => {
                    self.hedges().over(&self.terms.route.name, false);
                    return Ok((word.into_run()?, None));
                }
                Word::Said(run) => {
                    // What has arrived of the other one by now is counted, and no more comes.
                    let late = match (is_first, others_turn) {
                        (_, false) => None,
                        (true, true) => second.as_mut().now_or_never(),
                        (false, true) => first.as_mut().now_or_never(),
                    };
                    self.decided(is_first, &first_heard, late, others_turn);
                    return Ok((run, Some(self.note(after, !is_first))));
                }
            }
        }
    }

    /// One of the two has failed, and the other goes on.
    fn fell(&self, is_first: bool, first_heard: &Arc<Heard>, error: &BackendError) {
        let mut state = self.state();
        if is_first {
            state.swap(first_heard);
        }
        // A guardrail of ours says nothing about the deployment.
        let verdict = if error.fault.is_ours() { Verdict::Cut } else { Verdict::Failed(error) };
        self.lose(&mut state, verdict, None);
    }

    /// One of the two has spoken.
    fn decided(&self, is_first: bool, first_heard: &Arc<Heard>, late: Option<Word>, other_runs: bool) {
        if is_first || other_runs {
            // Of a first one that is left all that is known is that it was later than this.
            self.hedges().spoke(&self.terms.route.name, self.elapsed());
        }
        self.hedges().over(&self.terms.route.name, !is_first);
        let mut state = self.state();
        if !other_runs {
            return;
        }
        if !is_first {
            state.swap(first_heard);
        }
        self.lose(&mut state, Verdict::Cut, late);
    }

    /// The other one is over: what it used is counted and priced, and its flight ends.
    fn lose(&self, state: &mut State, verdict: Verdict<'_>, late: Option<Word>) {
        let Some(Other { flight, heard }) = state.other.take() else { return };
        let deployment = flight.deployment.clone();
        let input_tokens = self.read_by(&deployment);
        let failure = if let Verdict::Failed(error) = verdict { Some(error) } else { None };
        let arrived = late.and_then(|word| arrived(word, input_tokens));
        let mut usage = arrived.unwrap_or_else(|| heard.usage(input_tokens, failure));
        usage.cost = deployment.cost(&usage);
        flight.end(verdict, &usage, None, self.terms.worker.clock.monotonic());
        state.extra = state.extra.plus(usage);
        let error = failure.map(|error| error.fault.code());
        let asked = Asked { deployment: &deployment.name, took: self.elapsed(), usage, error };
        self.terms.worker.meter.record(Measurement::Asked(subject::of(self.terms.task), asked));
    }

    /// What a deployment has read of the request that gave no count of its own: by its model's tokenizer, where it is known.
    fn read_by(&self, deployment: &Deployment) -> u64 {
        let Terms { worker, task, input, input_tokens, .. } = &self.terms;
        let model = deployment.model(&task.spec.model);
        let exact = (input.len() <= MAX_COUNTED_BYTES).then(|| worker.counter.exact(&model, input));
        exact.flatten().unwrap_or(*input_tokens)
    }

    /// Says who answers where two were asked.
    fn note(&self, after: Duration, won: bool) -> Entry {
        let Terms { worker, task, attempt, .. } = &self.terms;
        let state = self.state();
        let winner = &state.flight.deployment;
        let second = state.second.clone().unwrap_or_default();
        let hedge = HedgeNote {
            deployment: if won { self.first.to_string() } else { second.to_string() },
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            won,
            usage: state.extra,
        };
        let model = winner.model(&task.spec.model);
        let (worker_name, deployment) = (&worker.name.0, &winner.name);
        let note = StartNote {
            attempt: *attempt,
            worker: worker_name,
            deployment,
            model: &model,
            hedge: Some(hedge),
            cache: None,
        };
        Entry::new(worker.clock.now(), Kind::Started, json(&note))
    }
}
