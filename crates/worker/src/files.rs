//! What a model is given of files: their text, in the place of their names.

use crate::Worker;
use crate::draft::Barred;
use crate::keeper::Leash;
use crate::pump::{Finish, Pumped};
use bytes::Bytes;
use std::time::Duration;
use tidewire_core::files::MessageError;
use tidewire_core::{Failure, Task};

/// How long a task waits for the text of its files: a hundred documents that were uploaded just before it are read
/// in that time.
const PATIENCE: Duration = Duration::from_mins(2);

/// The input as the backend gets it; or how the attempt ends without one.
pub(crate) async fn with_texts(
    worker: &Worker,
    task: &Task,
    input: &Bytes,
    leash: &mut Leash,
) -> Result<Result<Bytes, Pumped>, Barred> {
    let deadline = task.spec.deadline.since(worker.clock.now());
    let texts = worker.files.with_texts(task.tenant, input, PATIENCE.min(deadline));
    let finish = tokio::select! {
        texts = texts => match texts {
            Ok(input) => return Ok(Ok(input)),
            Err(MessageError::Unavailable(error)) => return Err(Barred::Unavailable(error.reason)),
            Err(MessageError::NotProcessed { .. }) if task.spec.deadline <= worker.clock.now() => Finish::TooLate,
            Err(error) => Finish::Refused(Failure::new(error.code(), error.to_string())),
        },
        order = leash.called() => Finish::Called(order),
    };
    Ok(Err(Pumped::unasked(finish)))
}
