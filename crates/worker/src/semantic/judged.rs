//! An answer that was judged badly is not given again: neither to its own question nor to others that mean the same.

use crate::Worker;
use crate::subject;
use tidewire_core::cache::Answer;
use tidewire_core::port::{Measurement, Unavailable};
use tidewire_core::{Task, TaskRef};

/// Lets go of the kept answer that this task was given, or made.
pub(crate) async fn let_go(worker: &Worker, at: TaskRef) {
    let task = match worker.tasks.get(at).await {
        Ok(task) => task,
        Err(error) => return tracing::warn!(task = %at.task, %error, "a bad word about its answer is not heeded"),
    };
    let Some(task) = task else { return };
    if let Err(error) = drop_answer(worker, &task).await {
        tracing::warn!(task = %at.task, %error, "a bad word about its answer is not heeded");
    }
}

async fn drop_answer(worker: &Worker, task: &Task) -> Result<(), Unavailable> {
    let Some(of) = &task.spec.cache else { return Ok(()) };
    let told = task.ended.as_ref().and_then(|(_, ending)| ending.cache.as_ref());
    let key = told.and_then(|told| told.semantic.as_ref()).map_or(of.key, |why| why.key);
    let maker = match told {
        // Another tenant's answer, where a route shares them: it is not this one's to take away.
        Some(told) if told.task.is_none() => return Ok(()),
        Some(told) => told.task.unwrap_or(task.id),
        None => task.id,
    };
    worker.shares.spoil(key, maker);
    let kept = worker.answers.kept.get(key, worker.clock.now()).await?;
    let Some(answer) = kept.and_then(|kept| Answer::from_bytes(kept.answer)) else { return Ok(()) };
    // One that was made since is another answer.
    if (answer.task, answer.tenant) != (maker, task.tenant) {
        return Ok(());
    }
    worker.answers.kept.remove(key).await?;
    if let Some(bucket) = &of.bucket {
        worker.shares.semantic().forget(bucket, &key);
    }
    tracing::info!(task = %task.id, made_by = %maker, "a kept answer was judged badly, and is not given again");
    worker.meter.record(Measurement::Semantic(subject::of(task), "judged"));
    Ok(())
}
