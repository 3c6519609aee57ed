//! A task's question: gets its vector, looks for one that means the same, and remembers it once its answer is kept.

use super::{CANDIDATES, Found, Known, Nothing, Semantic};
use crate::Worker;
use crate::subject;
use bytes::Bytes;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::cache::{Answer, Freshness, Likeness, Policy, Semantic as Rules, Similarity, Use, question};
use tidewire_core::embeddings::Vector;
use tidewire_core::port::{
    Asked as AskedFor, BackendError, CacheKey, Chunk, Fault, Measurement, Operation, Request, Subject, Timeouts,
};
use tidewire_core::{Task, Timestamp, Usage};

/// How long a vector may take: beyond it the model is asked, who would have been asked without all this. Five times what
/// providers take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a task asks, as far as another one's answer may do.
#[derive(Clone)]
pub(crate) struct Asked {
    bucket: CacheKey,
    key: CacheKey,
    text: Arc<str>,
    rules: Rules,
    vector: Option<Arc<[f32]>>,
}

/// An answer to a question that means the same.
pub(crate) struct Near {
    pub(crate) made_at: Timestamp,
    pub(crate) answer: Answer,
    pub(crate) why: Likeness,
}

impl Asked {
    /// The task's; none where its route asks for none, or it has no question that may be asked in other words.
    pub(crate) fn of(task: &Task, of: &Use, policy: &Policy) -> Option<Self> {
        let (bucket, rules) = (of.bucket?, policy.semantic.clone()?);
        let text = question(&task.spec.input)?.text.into();
        Some(Self { bucket, key: of.key, text, rules, vector: None })
    }

    /// A kept answer to another question that means the same, if there is one that is fresh.
    pub(crate) async fn look(&mut self, worker: &Worker, task: &Task, policy: &Policy) -> Option<Near> {
        let outcome = match self.find(worker, task, policy).await {
            Ok(near) => {
                measure(worker, task, "hit");
                return Some(near);
            }
            Err(outcome) => outcome,
        };
        measure(worker, task, outcome);
        None
    }

    async fn find(&mut self, worker: &Worker, task: &Task, policy: &Policy) -> Result<Near, &'static str> {
        let semantic = worker.shares.semantic();
        let vector = self.vector(worker, task).await.ok_or("failed")?;
        #[allow(clippy::cast_possible_truncation, reason = "six digits are what there is")]
        let threshold = self.rules.threshold.cosine() as f32;
        // An answer that is gone is forgotten here, and the next one looked at.
        for _ in 0..CANDIDATES {
            let Found { known, similarity } = match semantic.find(&self.bucket, &vector, &self.text, threshold) {
                Ok(found) => found,
                Err(Nothing::Close) => return Err("miss"),
                Err(Nothing::ToldApart) => return Err("told_apart"),
            };
            let now = worker.clock.now();
            let kept = worker.answers.kept.get(known.key, now).await;
            let kept = kept.inspect_err(|error| tracing::warn!(%error, "the kept answers can't be read")).ok();
            let kept = kept.ok_or("failed")?;
            let answer = kept.and_then(|kept| Some((kept.made_at, Answer::from_bytes(kept.answer)?)));
            let Some((made_at, answer)) = answer else {
                semantic.forget(&self.bucket, &known.key);
                continue;
            };
            // Where answers are shared among tenants, another one's may stand here by now.
            let is_ours = answer.tenant == task.tenant;
            if !is_ours || policy.freshness(made_at, now) != Freshness::Fresh {
                return Err("miss");
            }
            let why = Likeness {
                similarity: Similarity::of(f64::from(similarity)),
                question: known.question.to_string(),
                key: known.key,
            };
            return Ok(Near { made_at, answer, why });
        }
        Err("miss")
    }

    /// Remembers the question, whose answer is kept now.
    pub(crate) async fn remember(mut self, worker: &Worker, task: &Task) {
        let semantic = worker.shares.semantic();
        if semantic.knows(&self.bucket, &self.key) {
            return;
        }
        let Some(vector) = self.vector(worker, task).await else { return };
        let known = Known { key: self.key, question: self.text };
        if semantic.keep(self.bucket, &vector, known) {
            measure(worker, task, "kept");
        }
    }

    /// The question's vector: made once for all who ask the same at once.
    async fn vector(&mut self, worker: &Worker, task: &Task) -> Option<Arc<[f32]>> {
        if let Some(vector) = &self.vector {
            return Some(vector.clone());
        }
        let semantic = worker.shares.semantic();
        let waiting = semantic.pending(self.key);
        let made =
            waiting.cell.get_or_init(async || made(semantic, worker, task, (&self.rules.deployment, &self.text)).await);
        self.vector.clone_from(made.await);
        self.vector.clone()
    }
}

fn measure(worker: &Worker, task: &Task, outcome: &'static str) {
    worker.meter.record(Measurement::Semantic(subject::of(task), outcome));
}

/// A text's vector; none where none can be had in time. That is no failure of the task.
async fn made(
    semantic: &Semantic,
    worker: &Worker,
    task: &Task,
    (deployment, text): (&Arc<str>, &str),
) -> Option<Arc<[f32]>> {
    if semantic.is_paused(deployment, worker.clock.monotonic()) {
        return None;
    }
    let asked = worker.clock.now();
    let embedded = tokio::select! {
        embedded = embed(worker, (deployment, text)) => embedded,
        () = worker.clock.sleep(PATIENCE) => Err(BackendError::new(Fault::TimedOut, "it gave no vector in time")),
    };
    let took = worker.clock.now().since(asked);
    let usage = embedded.as_ref().map(|(_, usage)| *usage).unwrap_or_default();
    let error = embedded.as_ref().err().map(|error| error.fault.code());
    // Whose the bill is: the operator's. It stands in the metrics of this deployment, and in no task's usage.
    let subject = Subject { operation: Operation::Embeddings, route: &task.spec.model };
    worker.meter.record(Measurement::Asked(subject, AskedFor { deployment, took, usage, error }));
    match embedded {
        Ok((vector, _)) => Some(vector),
        Err(error) => {
            tracing::warn!(%deployment, %error, "no vector for the semantic cache; the model is asked");
            semantic.pause(deployment, worker.clock.monotonic());
            None
        }
    }
}

async fn embed(worker: &Worker, (name, text): (&Arc<str>, &str)) -> Result<(Arc<[f32]>, Usage), BackendError> {
    let plan = worker.catalog.plan();
    let gone = || BackendError::new(Fault::Unreachable, "there is no such deployment any more");
    let deployment = plan.deployment(name).ok_or_else(gone)?;
    let backend = worker.backends.get(name).ok_or_else(gone)?;
    let request = Request {
        model: deployment.model(name),
        input: Bytes::from(serde_json::json!({ "input": text }).to_string()),
        committed: String::new(),
        timeouts: Timeouts { connect: PATIENCE, first_token: PATIENCE, between_tokens: PATIENCE },
        trace: None,
    };
    let mut run = backend.run(request).await?;
    let (mut vector, mut usage) = (None, Usage::default());
    while let Some(chunk) = run.chunks.next().await {
        match chunk? {
            Chunk::Embedding(data) => {
                vector = serde_json::from_slice::<Vector<'_>>(&data).ok().and_then(|vector| vector.numbers());
            }
            Chunk::Usage(counted) => usage = counted,
            _ => {}
        }
    }
    usage.cost = deployment.cost(&usage);
    let vector = vector.ok_or_else(|| BackendError::new(Fault::Broken, "the answer has no vector"))?;
    Ok((vector.into(), usage))
}
