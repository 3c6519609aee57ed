//! An answer that was judged badly is not given again: neither to its own question nor to others that mean the same.

use crate::Worker;
use crate::subject;
use tidewire_core::cache::Answer;
use tidewire_core::port::{CacheKey, Measurement, Unavailable};
use tidewire_core::{Task, TaskId, TaskRef};

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

/// Which answer a task was given or made, and for which task it was made; none where it is not the task's tenant's to take away.
fn answer_of(task: &Task) -> Option<(CacheKey, TaskId)> {
    let of = task.spec.cache.as_ref()?;
    let Some(told) = task.ended.as_ref().and_then(|(_, ending)| ending.cache.as_ref()) else {
        return Some((of.key, task.id));
    };
    let key = told.semantic.as_ref().map_or(of.key, |why| why.key);
    // Without a task it is another tenant's answer, which the route shares.
    Some((key, told.task?))
}

async fn drop_answer(worker: &Worker, task: &Task) -> Result<(), Unavailable> {
    let Some((key, maker)) = answer_of(task) else { return Ok(()) };
    worker.shares.spoil(key, maker);
    let kept = worker.answers.kept.get(key, worker.clock.now()).await?;
    let Some(answer) = kept.and_then(|kept| Answer::from_bytes(kept.answer)) else { return Ok(()) };
    // One that was made since is another answer.
    if (answer.task, answer.tenant) != (maker, task.tenant) {
        return Ok(());
    }
    worker.answers.kept.remove(key).await?;
    if let Some(bucket) = task.spec.cache.as_ref().and_then(|of| of.bucket) {
        worker.shares.semantic().forget(&bucket, &key);
    }
    tracing::info!(task = %task.id, made_by = %maker, "a kept answer was judged badly, and is not given again");
    worker.meter.record(Measurement::Semantic(subject::of(task), "judged"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::cache::{Likeness, Similarity, Source, Told, Use};
    use tidewire_core::{Durability, Ending, Outcome, Spec, TenantId, Timestamp, Usage};

    fn id(number: u64) -> TaskId {
        TaskId::new(Timestamp::from_millis(number), u128::from(number), Durability::Transient)
    }

    fn told(task: Option<TaskId>, semantic: Option<Likeness>) -> Told {
        Told { state: Source::Hit, age_ms: 5, task, reason: None, made: None, semantic }
    }

    #[test]
    fn a_bad_word_is_about_the_answer_that_was_given_and_never_about_another_tenants() {
        let (own, other) = (CacheKey([1; 32]), CacheKey([2; 32]));
        let asked = Use {
            key: own,
            read: true,
            keep: true,
            join: true,
            only: false,
            rides: false,
            bucket: None,
            accounts: Vec::new(),
        };
        let of = |cache: Option<Told>| {
            let spec = Spec { cache: Some(Box::new(asked.clone())), ..Spec::default() };
            let mut task = Task::new(id(1), TenantId(1), spec, Timestamp::from_millis(1));
            let ending = Ending {
                state: Outcome::Done,
                error: None,
                finish_reason: None,
                stop_sequence: None,
                usage: Usage::default(),
                deployment: None,
                attempts: 1,
                cache,
            };
            task.ended = Some((Timestamp::from_millis(2), ending));
            answer_of(&task)
        };
        let why = Likeness { similarity: Similarity::of(0.9), question: "q".to_owned(), key: other };
        assert_eq!(of(None), Some((own, id(1))), "it made it");
        assert_eq!(of(Some(told(Some(id(7)), None))), Some((own, id(7))));
        assert_eq!(of(Some(told(Some(id(7)), Some(why)))), Some((other, id(7))), "the other question's");
        assert_eq!(of(Some(told(None, None))), None, "another tenant's, which is shared");
        let uncached = Task::new(id(1), TenantId(1), Spec::default(), Timestamp::from_millis(1));
        assert_eq!(answer_of(&uncached), None);
    }
}
