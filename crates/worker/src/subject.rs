//! What a task's measurements are counted under.

use tidewire_core::Task;
use tidewire_core::port::{Operation, Subject};

pub(crate) fn of(task: &Task) -> Subject<'_> {
    Subject { operation: Operation::of(&task.spec), route: &task.spec.model }
}
