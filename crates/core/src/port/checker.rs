//! The port `Checker`: somebody outside who says whether a text may pass.

use crate::id::TaskRef;
use async_trait::async_trait;

/// Says whether texts may pass.
///
/// It answers within a time of its own, or fails: whoever asks waits for nothing else. Dropping the future ends the question.
#[async_trait]
pub trait Checker: Send + Sync {
    /// Asks about one text.
    async fn check(&self, question: Question) -> Result<Opinion, CheckError>;
}

/// When a text is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is about to be asked.
    Prompt,
    /// It is what was answered so far, or all of it.
    Answer,
}

impl Stage {
    /// As the wire has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Answer => "answer",
        }
    }
}

/// A text, and where it stands.
#[derive(Clone, Debug)]
pub struct Question {
    /// When.
    pub stage: Stage,
    /// Of which task.
    pub task: TaskRef,
    /// The public name of the model.
    pub route: String,
    /// The text.
    pub text: String,
}

/// What the checker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it may pass.
    pub allow: bool,
    /// Why not, for people.
    pub reason: Option<String>,
    /// What is said in its place.
    pub replacement: Option<String>,
}

/// There is no opinion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checker gave no answer: {reason}")]
pub struct CheckError {
    /// What went wrong. Holds no text.
    pub reason: String,
}
