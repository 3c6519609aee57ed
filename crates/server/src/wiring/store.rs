//! What the operator's commands do with a data directory: the engine that keeps one knows how.

pub(crate) use tidewire_engines::embedded::{Backup, Contents, Progress, Report, check, info, restore, verify};
