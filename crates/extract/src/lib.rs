//! The text of a document: what a model is given of a file that a message names.
//!
//! The readers behind this are many thousand lines that parse what strangers send. So [`extract`] is bounded in what
//! it unpacks and gives back, takes a reader's panic for a damaged file, and is meant to run in a process of its own
//! with bounds on memory and time: a stack that overflows or a loop without end must take nothing else with it.

mod bounded;
mod docx;
mod html;
mod media;
mod pdf;
mod plain;

pub use media::Media;

use bounded::Text;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How much is taken and given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of text. A model's context holds far less; a file that has more is no document for a person.
    pub text_bytes: usize,
    /// Bytes that the packed parts of a file may unpack to: a zip bomb ends here.
    pub unpacked_bytes: u64,
}

impl Default for Bounds {
    /// 16 MiB of text are some 5,000 pages. Their markup in a .docx is ten times as much, seldom more.
    fn default() -> Self {
        Self { text_bytes: 16 * 1024 * 1024, unpacked_bytes: 256 * 1024 * 1024 }
    }
}

/// Why a file has no text for a model. The message is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a kind of document that is read here, or one without text.
    #[error("{0}")]
    Unsupported(String),
    /// It wants a password.
    #[error("the document is encrypted; save it without a password and upload it again")]
    Encrypted,
    /// It breaks the rules of its own format.
    #[error("the document is damaged: {0}")]
    Damaged(String),
    /// It holds more than the bounds allow.
    #[error("the document is too large: {0}")]
    TooLarge(String),
}

impl Unreadable {
    /// One word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "unsupported",
            Self::Encrypted => "encrypted",
            Self::Damaged(_) => "damaged",
            Self::TooLarge(_) => "too_large",
        }
    }

    fn damaged(reason: impl std::fmt::Display) -> Self {
        Self::Damaged(reason.to_string())
    }
}

/// The text of a document. Without a `media` the bytes say what it is.
pub fn extract(bytes: &[u8], media: Option<Media>, bounds: Bounds) -> Result<String, Unreadable> {
    let media = media.map_or_else(|| Media::sniff(bytes), Ok)?;
    let mut text = Text::new(bounds.text_bytes);
    // The readers of foreign formats index and unwrap; what they trip over is the file's fault.
    let read = catch_unwind(AssertUnwindSafe(|| match media {
        Media::Pdf => pdf::read(bytes, &mut text),
        Media::Docx => docx::read(bytes, bounds.unpacked_bytes, &mut text),
        Media::Html => html::read(bytes, &mut text),
        Media::Markdown | Media::Text => plain::read(bytes, &mut text),
    }));
    let panicked = |_| Err(Unreadable::Damaged("its reader gave up on it".to_owned()));
    read.unwrap_or_else(panicked)?;
    Ok(text.into_string())
}
