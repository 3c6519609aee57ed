//! One answer on its way to several tasks. A driver of its own asks the deployments, one after another where one fails;
//! each task rides on what it says, into its own log, and may leave at any time.
//!
//! ```text
//!  deployment ──▶ driver ──▶ leg: begun, chunk, chunk, ... end
//!                             ▲        ▲
//!                           rider    rider          who is there first when a leg ends pays for it
//! ```
//!
//! **Who pays.** Of those who ride when a deployment's answer ends, the one who came first pays for all of it. Where all
//! leave before the end, the last one pays for what was used by then, and the upstream is closed. All others pay
//! nothing. So each call is charged once, whoever leaves when.

use crate::Worker;
use crate::choice::{Choice, taken_away, wants_json};
use crate::failover::verdict;
use crate::guarded::guarded;
use crate::keeper::Order;
use crate::pump::{Finish, Pumped, Said, Speech, failed, speak};
use crate::semantic::Asked as Question;
use crate::tally::Tally;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewire_core::cache::{Answer, Piece, Policy, Source, Told, Use, told_task};
use tidewire_core::port::{
    Asked, BackendError, Begins, CacheKey, Chunk, Fault, Kept, Measurement, Operation, Reason, Subject,
};
use tidewire_core::route::{Deployment, Flight};
use tidewire_core::trace::Header;
use tidewire_core::{Failure, Task, TaskId, TenantId, Timestamp, Usage};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The longest answer that is held as a whole, for those who come late and to be kept: some two million tokens. Of a longer
/// one only what a rider has not read yet.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// How long an answer that is over stays for those who were on their way to it.
const LINGER: Duration = Duration::from_secs(1);

/// What a driver takes on its way.
pub(crate) struct Errand {
    pub(crate) worker: Arc<Worker>,
    pub(crate) input: Bytes,
    /// What the request has, of tokens that the model reads.
    pub(crate) input_tokens: u64,
    pub(crate) operation: Operation,
    /// Whoever asked first: its guardrails are the route's.
    pub(crate) task: Task,
    /// The trace of whoever asked first.
    pub(crate) trace: Option<Header>,
    /// The question, where others that mean the same may have its answer.
    pub(crate) asked: Option<Question>,
}

/// One answer on its way.
pub(crate) struct Share {
    key: CacheKey,
    keep: bool,
    policy: Arc<Policy>,
    /// For whom it was begun.
    founder: (TaskId, TenantId),
    begun: Duration,
    state: Mutex<State>,
    /// Something was added.
    grew: watch::Sender<u64>,
    /// A rider has read on, or one with a slot has come.
    moved: Notify,
    /// Cancelled: nobody rides any more, and the answer is not whole.
    deserted: CancellationToken,
}

// Each may hold without the others.
#[allow(clippy::struct_excessive_bools)]
#[derive(Default)]
struct State {
    legs: Vec<Leg>,
    /// Who rides, in the order of their coming, and how many chunks of the present leg each has read.
    riders: BTreeMap<u64, Place>,
    came: u64,
    /// One of them has a slot of the route.
    has_slot: bool,
    /// No leg follows; the reason, where that is no leg's own end.
    over: bool,
    refused: Option<Failure>,
    /// Takes nobody in.
    closed: bool,
    /// Kept now: from then on it is only for those who looked for it just before.
    kept: bool,
    /// Somebody has found it bad: it is not kept.
    spoilt: bool,
    held_bytes: usize,
    /// What stands of the text, and whether more than text does.
    standing: String,
    more_than_text: bool,
}

#[derive(Clone, Copy, Default)]
struct Place {
    leg: usize,
    read: usize,
}

/// What one deployment says.
struct Leg {
    deployment: Arc<Deployment>,
    model: Arc<str>,
    begins: Option<Begins>,
    chunks: VecDeque<(Duration, Chunk)>,
    /// How many chunks came before the first that is held.
    let_go: usize,
    last_at: Timestamp,
    tally: Tally,
    end: Option<End>,
}

struct End {
    finish: Result<Reason, BackendError>,
    usage: Usage,
    payer: Option<u64>,
}

impl Share {
    /// A new one, and its founder's seat.
    pub(crate) fn found(task: &Task, of: &Use, policy: Arc<Policy>, now: Duration) -> (Arc<Self>, Seat) {
        let share = Arc::new(Self {
            key: of.key,
            keep: of.keep,
            policy,
            founder: (task.id, task.tenant),
            begun: now,
            state: Mutex::default(),
            grew: watch::Sender::default(),
            moved: Notify::new(),
            deserted: CancellationToken::new(),
        });
        let seat = share.seat(&mut share.state(), of, None);
        (share, seat)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(self: &Arc<Self>, state: &mut State, of: &Use, joined: Option<Duration>) -> Seat {
        let rider = state.came;
        state.came += 1;
        state.riders.insert(rider, Place::default());
        state.has_slot |= !of.rides;
        self.moved.notify_one();
        Seat { share: self.clone(), rider, leg: 0, joined, left: false }
    }

    /// A seat for one more, if it takes one.
    pub(crate) fn board(self: &Arc<Self>, of: &Use, worker: &Worker, now: Duration) -> Option<Seat> {
        let mut state = self.state();
        self.is_open(&state, worker).then(|| self.seat(&mut state, of, Some(now.saturating_sub(self.begun))))
    }

    /// Whether it takes one more.
    pub(crate) fn takes_more(&self, worker: &Worker) -> bool {
        self.is_open(&self.state(), worker)
    }

    fn is_open(&self, state: &State, worker: &Worker) -> bool {
        // One that was purged since, or that could not be kept, is no answer any more.
        let is_stale = state.kept && worker.answers.kept.made_at(self.key, worker.clock.now()).is_none();
        !state.closed && !is_stale
    }

    /// Waits for as long as an answer that was kept stays for those who looked for it just before.
    pub(crate) async fn linger(&self, worker: &Worker, ttl: Duration) {
        if self.state().kept {
            worker.clock.sleep(LINGER.min(ttl)).await;
        }
        self.state().closed = true;
    }

    /// Asks deployments until one has given a whole answer, none is left, or nobody wants it any more.
    pub(crate) async fn drive(self: Arc<Self>, mut choice: Choice, errand: Errand) {
        let first = async {
            self.has_its_turn(&errand.worker).await;
            choice.first(None).await
        };
        let first = tokio::select! {
            biased;
            () = self.deserted.cancelled() => return,
            first = first => first,
        };
        let mut next = match first {
            Ok(flight) => Some(flight),
            Err(finish) => {
                let mut state = self.state();
                (state.over, state.closed) = (true, true);
                state.refused = if let Finish::Refused(failure) = finish { Some(failure) } else { None };
                drop(state);
                self.grew.send_modify(|version| *version += 1);
                None
            }
        };
        while let Some(flight) = next {
            next = self.ask(&mut choice, &errand, flight).await;
        }
    }

    /// Waits until a rider has a slot of the route, or the one who asked first is on its way to none.
    async fn has_its_turn(&self, worker: &Worker) {
        let lives = |task| worker.queue.knows(task);
        while !self.state().has_slot && worker.answers.announced.is_awaited(self.key, worker.clock.monotonic(), lives) {
            tokio::select! {
                () = self.moved.notified() => {}
                () = worker.clock.sleep(worker.pace.sweep) => {}
            }
        }
    }

    /// Asks one deployment. The next one, where it fails and another one may do better.
    async fn ask(&self, choice: &mut Choice, errand: &Errand, flight: Flight) -> Option<Flight> {
        let worker = &errand.worker;
        let (deployment, asked) = (flight.deployment.clone(), worker.clock.now());
        choice.asks(&deployment.name);
        let request = choice.request(&flight, &errand.input, self.committed(&errand.input), errand.trace.clone());
        self.begin_leg(&deployment, &request.model, asked);
        let mut finish = match worker.backends.get(&deployment.name) {
            Some(backend) => {
                let backend = guarded(worker, &errand.task, &choice.plan, backend);
                self.listen(worker, speak(backend, request), (&flight, asked)).await
            }
            None => Finish::Failed(taken_away()),
        };
        let (mut usage, per_token) = {
            let state = self.state();
            let tally = state.legs.last().map(|leg| leg.tally.clone()).unwrap_or_default();
            (tally.usage(&finish, errand.input_tokens), tally.per_token())
        };
        usage.cost = deployment.cost(&usage);
        choice.learn(&errand.input, &finish, &usage);
        flight.end(verdict(&finish), &usage, per_token, worker.clock.monotonic());
        let subject = Subject { operation: errand.operation, route: &errand.task.spec.model };
        let took = worker.clock.now().since(asked);
        let error = failed(&finish);
        worker.meter.record(Measurement::Asked(subject, Asked { deployment: &deployment.name, took, usage, error }));
        let next = if let Finish::Failed(error) = &mut finish { choice.next(error) } else { None };
        let finish = match finish {
            Finish::Whole(reason) => Ok(reason),
            Finish::Failed(error) => Err(error),
            // Nobody is there to hear of it, and the last one has paid.
            _ => return None,
        };
        let whole = finish.is_ok();
        self.end_leg(finish, usage, next.is_some());
        if whole {
            self.put(errand, choice).await;
        }
        next
    }

    /// Takes down what a deployment says, until it has said all of it or nobody rides any more.
    async fn listen(&self, worker: &Worker, mut said: Speech<'_>, (flight, asked): (&Flight, Timestamp)) -> Finish {
        loop {
            let next = tokio::select! {
                biased;
                () = self.deserted.cancelled() => return Finish::Called(Order::Stop),
                next = said.next() => next,
            };
            match next {
                // Nobody hedges here.
                Some(Ok(Said::Hedged(_))) => {}
                Some(Ok(Said::Begun(begins, limits))) => {
                    flight.told(&limits, worker.clock.monotonic());
                    self.begin(begins);
                }
                Some(Ok(Said::Chunk(Chunk::Finish(reason)))) => return Finish::Whole(reason),
                Some(Ok(Said::Chunk(chunk))) => {
                    let now = worker.clock.now();
                    if self.push(chunk, now) {
                        flight.first_token(now.since(asked));
                    }
                    tokio::select! {
                        biased;
                        () = self.deserted.cancelled() => return Finish::Called(Order::Stop),
                        () = self.has_room() => {}
                    }
                }
                Some(Err(error)) => return Finish::Failed(error),
                None => return Finish::Failed(BackendError::new(Fault::Broken, "the answer broke off")),
            }
        }
    }

    /// What the next deployment may go on after: plain text, as for a task that asks alone.
    fn committed(&self, input: &[u8]) -> String {
        let state = self.state();
        if state.more_than_text || wants_json(input) { String::new() } else { state.standing.clone() }
    }

    fn begin_leg(&self, deployment: &Arc<Deployment>, model: &Arc<str>, now: Timestamp) {
        self.state().legs.push(Leg {
            deployment: deployment.clone(),
            model: model.clone(),
            begins: None,
            chunks: VecDeque::new(),
            let_go: 0,
            last_at: now,
            tally: Tally::default(),
            end: None,
        });
        self.grew.send_modify(|version| *version += 1);
    }

    fn begin(&self, begins: Begins) {
        let mut state = self.state();
        if begins == Begins::Afresh {
            state.standing.clear();
            state.more_than_text = false;
        }
        if let Some(leg) = state.legs.last_mut() {
            leg.begins = Some(begins);
            leg.tally.begun = true;
        }
        drop(state);
        self.grew.send_modify(|version| *version += 1);
    }

    /// Adds a chunk. Whether it is the leg's first piece.
    fn push(&self, chunk: Chunk, now: Timestamp) -> bool {
        let mut state = self.state();
        match &chunk {
            Chunk::Text(text) => state.standing.push_str(&String::from_utf8_lossy(text)),
            Chunk::Reasoning(_) | Chunk::ToolCall(_) | Chunk::Embedding(_) => state.more_than_text = true,
            Chunk::Logprobs(_) | Chunk::Usage(_) | Chunk::Finish(_) => {}
        }
        state.held_bytes += size(&chunk);
        let first = state.legs.last_mut().is_some_and(|leg| {
            let gap = now.since(leg.last_at);
            leg.last_at = now;
            let first = leg.tally.count(&chunk, now);
            leg.chunks.push_back((gap, chunk));
            first
        });
        if state.held_bytes > MAX_HELD_BYTES {
            state.closed = true;
            state.let_go();
        }
        drop(state);
        self.grew.send_modify(|version| *version += 1);
        first
    }

    /// Waits while more is held than may be: for the slowest rider.
    async fn has_room(&self) {
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.state();
                if state.held_bytes <= MAX_HELD_BYTES {
                    return;
                }
                state.let_go();
                if state.held_bytes <= MAX_HELD_BYTES {
                    return;
                }
            }
            moved.await;
        }
    }

    fn end_leg(&self, finish: Result<Reason, BackendError>, usage: Usage, more: bool) {
        let mut state = self.state();
        state.over |= !more;
        // One that failed for good is nobody's answer any more; a whole one still is, until it is kept.
        state.closed |= !more && finish.is_err();
        let payer = state.riders.keys().next().copied();
        if let Some(leg) = state.legs.last_mut() {
            leg.end = Some(End { finish, usage, payer });
        }
        drop(state);
        self.grew.send_modify(|version| *version += 1);
    }

    /// Keeps the whole answer, where it may be kept, and remembers what it answers.
    async fn put(&self, errand: &Errand, choice: &Choice) {
        let worker = &errand.worker;
        let answer = if self.keep { self.state().answer(self.founder) } else { None };
        let Some(answer) = answer else {
            self.state().closed = true;
            return;
        };
        let now = worker.clock.now();
        let (route, keep_until) = (choice.route.name.clone(), self.policy.keep_until(now));
        let kept = Kept { route, made_at: now, keep_until, answer: answer.to_bytes() };
        let put = worker.answers.kept.put(self.key, kept).await;
        let (spoilt, kept) = {
            let mut state = self.state();
            state.kept = put.is_ok();
            state.closed |= put.is_err();
            (state.spoilt, state.kept)
        };
        if let Err(error) = put {
            tracing::warn!(%error, "an answer could not be kept");
        }
        // Whoever found it bad came before it was there to be taken away.
        if spoilt && let Err(error) = worker.answers.kept.remove(self.key).await {
            tracing::warn!(%error, "an answer that was judged badly could not be taken away");
        }
        if let Some(asked) = errand.asked.clone().filter(|_| kept && !spoilt) {
            asked.remember(worker, &errand.task).await;
        }
    }

    /// Nobody comes aboard any more, and it is not kept, where it was made for this task.
    pub(crate) fn spoil(&self, maker: TaskId) {
        if self.founder.0 == maker {
            let mut state = self.state();
            (state.spoilt, state.closed) = (true, true);
        }
    }

    /// Its driver is gone. Where it fell in the middle, whoever rides is told: nothing more comes.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if state.over {
            return;
        }
        state.over = true;
        let payer = state.riders.keys().next().copied();
        if let Some(leg) = state.legs.last_mut().filter(|leg| leg.end.is_none()) {
            let error = BackendError::new(Fault::Broken, "the shared answer broke off");
            let finish = Finish::Failed(error.clone());
            let mut usage = leg.tally.usage(&finish, 0);
            usage.cost = leg.deployment.cost(&usage);
            leg.end = Some(End { finish: Err(error), usage, payer });
        }
        drop(state);
        self.grew.send_modify(|version| *version += 1);
    }
}

impl State {
    /// Lets go of what everybody has read.
    fn let_go(&mut self) {
        let present = self.legs.len().saturating_sub(1);
        let slowest = self.riders.values().map(|place| if place.leg < present { 0 } else { place.read }).min();
        let Some(leg) = self.legs.last_mut() else { return };
        while leg.let_go < slowest.unwrap_or(usize::MAX)
            && let Some((_, chunk)) = leg.chunks.pop_front()
        {
            leg.let_go += 1;
            self.held_bytes -= size(&chunk);
        }
    }

    /// The whole answer that stands; none where a part of it was let go of, or it is not one to be given again.
    fn answer(&self, (task, tenant): (TaskId, TenantId)) -> Option<Answer> {
        let last = self.legs.last()?;
        let End { finish, usage, .. } = last.end.as_ref()?;
        let finish = finish.as_ref().ok().filter(|reason| matches!(&*reason.word, "stop" | "length"))?.clone();
        let mut pieces = Vec::new();
        for leg in &self.legs {
            if leg.let_go > 0 {
                return None;
            }
            if leg.begins == Some(Begins::Afresh) {
                pieces.clear();
            }
            let said = leg.chunks.iter().filter(|(_, chunk)| !matches!(chunk, Chunk::Usage(_) | Chunk::Finish(_)));
            pieces.extend(said.map(|(gap, chunk)| Piece { gap: *gap, chunk: chunk.clone() }));
        }
        let (deployment, model) = (last.deployment.name.clone(), last.model.clone());
        Some(Answer { pieces, finish, usage: *usage, deployment, model, task, tenant })
    }

    /// What the leg that runs has used by now, as of a run that is cut off.
    fn used(&self) -> Usage {
        let Some(leg) = self.legs.last().filter(|leg| leg.end.is_none()) else { return Usage::default() };
        let mut usage = leg.tally.usage(&Finish::Called(Order::Stop), 0);
        usage.cost = leg.deployment.cost(&usage);
        usage
    }
}

fn size(chunk: &Chunk) -> usize {
    match chunk {
        Chunk::Text(data)
        | Chunk::Reasoning(data)
        | Chunk::ToolCall(data)
        | Chunk::Logprobs(data)
        | Chunk::Embedding(data) => data.len(),
        Chunk::Usage(_) | Chunk::Finish(_) => 0,
    }
}

/// A task's place in an answer. Dropped, it has left.
pub(crate) struct Seat {
    share: Arc<Share>,
    rider: u64,
    leg: usize,
    /// For how long the answer had been on its way; none for its founder.
    joined: Option<Duration>,
    left: bool,
}

/// The deployment that is asked now, and the model there.
pub(crate) struct Boarded {
    pub(crate) deployment: Arc<str>,
    pub(crate) model: Arc<str>,
}

impl Seat {
    /// What its task is told of where the answer comes from.
    pub(crate) fn told(&self, task: &Task) -> Option<Told> {
        let age = self.joined?;
        let (maker, tenant) = self.share.founder;
        Some(Told {
            state: Source::Joined,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            task: told_task(maker, tenant, task.tenant),
            reason: None,
            made: None,
            semantic: None,
        })
    }

    /// Waits until a deployment is asked; why none is, else.
    pub(crate) async fn boarded(&self) -> Result<Boarded, Finish> {
        let mut grew = self.share.grew.subscribe();
        loop {
            grew.borrow_and_update();
            {
                let state = self.share.state();
                if let Some(leg) = state.legs.get(self.leg) {
                    return Ok(Boarded { deployment: leg.deployment.name.clone(), model: leg.model.clone() });
                }
                if state.over {
                    let broken = || Finish::Failed(BackendError::new(Fault::Broken, "the shared answer broke off"));
                    return Err(state.refused.clone().map_or_else(broken, Finish::Refused));
                }
            }
            if grew.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is said by the deployment that is asked now.
    pub(crate) fn speech(&self) -> Speech<'static> {
        let ear = Ear {
            share: self.share.clone(),
            rider: self.rider,
            leg: self.leg,
            read: 0,
            begun: false,
            grew: self.share.grew.subscribe(),
        };
        Box::pin(stream::unfold(ear, |mut ear| async move { ear.next().await.map(|said| (said, ear)) }))
    }

    /// What the task pays for what it got: `pumped` says how it ended for the task. A task that did not stay to the end of
    /// the leg has left.
    pub(crate) fn bill(&mut self, pumped: &Pumped, input_tokens: u64) -> Usage {
        let share = self.share.clone();
        let mut state = share.state();
        let (ended, own) = match state.legs.get(self.leg) {
            Some(leg) => {
                let paid = leg.end.as_ref().filter(|end| end.payer == Some(self.rider)).map(|end| end.usage);
                let saved = leg.deployment.cost(&pumped.usage);
                (leg.end.is_some(), paid.unwrap_or(Usage { saved, ..Usage::default() }))
            }
            None => (false, Usage::default()),
        };
        if ended && matches!(pumped.finish, Finish::Whole(_) | Finish::Failed(_)) {
            return own;
        }
        let last = self.leave(&mut state);
        if !last {
            return own;
        }
        // The last one out pays for what runs.
        let mut used = state.used();
        if used.estimated && used.input_tokens == 0 {
            let begun = state.legs.last().is_some_and(|leg| leg.tally.begun);
            if begun {
                used.input_tokens = input_tokens;
                used.cost = state.legs.last().map(|leg| leg.deployment.cost(&used)).unwrap_or_default();
            }
        }
        let before = if ended { own } else { Usage::default() };
        before.plus(used)
    }

    /// Whether the next deployment is asked, after the present one failed.
    pub(crate) fn goes_on(&self) -> bool {
        let state = self.share.state();
        !state.over || state.legs.len() > self.leg + 1
    }

    /// Goes on to the next deployment.
    pub(crate) fn change(&mut self) {
        self.leg += 1;
        if let Some(place) = self.share.state().riders.get_mut(&self.rider) {
            *place = Place { leg: self.leg, read: 0 };
        }
    }

    /// Leaves. Whether it was the last one, before the answer's end.
    fn leave(&mut self, state: &mut State) -> bool {
        if std::mem::replace(&mut self.left, true) {
            return false;
        }
        state.riders.remove(&self.rider);
        self.share.moved.notify_one();
        let last = state.riders.is_empty() && !state.over;
        if last {
            state.closed = true;
            self.share.deserted.cancel();
        }
        last
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let share = self.share.clone();
        self.leave(&mut share.state());
    }
}

/// Reads one leg, chunk by chunk.
struct Ear {
    share: Arc<Share>,
    rider: u64,
    leg: usize,
    read: usize,
    begun: bool,
    grew: watch::Receiver<u64>,
}

impl Ear {
    async fn next(&mut self) -> Option<Result<Said, BackendError>> {
        loop {
            self.grew.borrow_and_update();
            if let Some(said) = self.heard() {
                return Some(said);
            }
            self.grew.changed().await.ok()?;
        }
    }

    fn heard(&mut self) -> Option<Result<Said, BackendError>> {
        let mut state = self.share.state();
        let crowded = state.held_bytes > MAX_HELD_BYTES;
        let leg = state.legs.get(self.leg)?;
        if !self.begun
            && let Some(begins) = leg.begins
        {
            self.begun = true;
            return Some(Ok(Said::Begun(begins, Vec::new())));
        }
        if let Some((_, chunk)) = self.read.checked_sub(leg.let_go).and_then(|place| leg.chunks.get(place)) {
            let chunk = chunk.clone();
            self.read += 1;
            if let Some(place) = state.riders.get_mut(&self.rider) {
                *place = Place { leg: self.leg, read: self.read };
            }
            if crowded {
                self.share.moved.notify_one();
            }
            return Some(Ok(Said::Chunk(chunk)));
        }
        let end = leg.end.as_ref()?;
        Some(match &end.finish {
            Ok(reason) => Ok(Said::Chunk(Chunk::Finish(reason.clone()))),
            Err(error) => Err(error.clone()),
        })
    }
}
