//! Which kind of document a file is: by its name and declared type, else by its first bytes.

use crate::Unreadable;
use std::fmt;
use std::str::FromStr;

/// How much of a file is looked at to tell what it is: a PDF may have a kilobyte of something else before it.
const SNIFFED_BYTES: usize = 1024;

/// A kind of document that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// Portable Document Format.
    Pdf,
    /// Word's Office Open XML.
    Docx,
    /// A page of the web.
    Html,
    /// Markdown: given as it stands, for models write it themselves.
    Markdown,
    /// Anything else that a person can read in an editor: notes, source code, CSV, JSON.
    Text,
}

/// The file can't be one of these, and is not looked into.
const FOREIGN: &[&str] = &["image/", "audio/", "video/", "font/"];

impl Media {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::Pdf, Self::Docx, Self::Html, Self::Markdown, Self::Text];

    /// As it is written on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Docx => "docx",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Text => "text",
        }
    }

    /// By the file's name, else by the type that its sender declared. Neither may tell: then the bytes must.
    pub fn guess(name: &str, declared: &str) -> Option<Self> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("pdf") => return Some(Self::Pdf),
            Some("docx") => return Some(Self::Docx),
            Some("html" | "htm" | "xhtml") => return Some(Self::Html),
            Some("md" | "markdown") => return Some(Self::Markdown),
            Some("txt" | "text" | "csv" | "tsv" | "json" | "jsonl" | "log" | "xml" | "yaml" | "yml" | "toml") => {
                return Some(Self::Text);
            }
            _ => {}
        }
        let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match declared.as_str() {
            "application/pdf" => Some(Self::Pdf),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Some(Self::Docx),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "text/markdown" => Some(Self::Markdown),
            text if text.starts_with("text/") => Some(Self::Text),
            _ => None,
        }
    }

    /// Whether a declared type rules text out, so that the bytes need not be looked at.
    pub fn is_foreign(declared: &str) -> bool {
        FOREIGN.iter().any(|prefix| declared.starts_with(prefix))
    }

    /// By the first bytes.
    pub fn sniff(bytes: &[u8]) -> Result<Self, Unreadable> {
        let head = &bytes[..bytes.len().min(SNIFFED_BYTES)];
        if head.windows(5).any(|window| window == b"%PDF-") {
            return Ok(Self::Pdf);
        }
        if head.starts_with(b"PK\x03\x04") {
            return Ok(Self::Docx);
        }
        let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
        if text.starts_with("<!doctype html") || text.starts_with("<html") {
            return Ok(Self::Html);
        }
        Ok(Self::Text)
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Media {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|media| media.name() == text);
        known.ok_or_else(|| format!("`{text}` is none of pdf, docx, html, markdown, text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_before_a_declared_type_and_bytes_tell_where_neither_does() {
        assert_eq!(Media::guess("Contract.PDF", "application/octet-stream"), Some(Media::Pdf));
        assert_eq!(Media::guess("a.md", "text/plain"), Some(Media::Markdown));
        assert_eq!(Media::guess("a", "text/html; charset=utf-8"), Some(Media::Html));
        assert_eq!(Media::guess("a.bin", "application/octet-stream"), None);
        assert_eq!(Media::sniff(b"junk\n%PDF-1.4"), Ok(Media::Pdf));
        assert_eq!(Media::sniff(b"PK\x03\x04rest"), Ok(Media::Docx));
        assert_eq!(Media::sniff(b"\n <!DOCTYPE HTML><p>x"), Ok(Media::Html));
        assert_eq!(Media::sniff(b"fn main() {}"), Ok(Media::Text));
    }

    #[test]
    fn every_kind_is_read_back_from_its_name() {
        for media in Media::ALL {
            assert_eq!(media.to_string().parse(), Ok(media));
        }
    }
}
