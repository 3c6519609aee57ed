//! What a task's measurements are counted under.

use memchr::memmem;
use tidewire_core::Task;
use tidewire_core::port::{Operation, Subject};

/// A chat has messages; all else asks for embeddings. Within a JSON text the quotes are escaped, so what is said can't be
/// taken for the field; and the field comes early, so that the whole request is rarely looked through.
pub(crate) fn of(task: &Task) -> Subject<'_> {
    let operation = match memmem::find(&task.spec.input, b"\"messages\"") {
        Some(_) => Operation::Chat,
        None => Operation::Embeddings,
    };
    Subject { operation, route: &task.spec.model }
}
