//! The text of a Word document (Office Open XML, ECMA-376): paragraphs, tables, footnotes.

use crate::Unreadable;
use crate::bounded::Text;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use std::io::{BufRead, BufReader, Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

/// How an OLE compound file begins: what Word makes of a document with a password, and of an old `.doc`.
const COMPOUND: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// Where the main part is unless the package says otherwise.
const MAIN: &str = "word/document.xml";

/// Their contents are no text of the document: what was moved away, and what stands in for a shape already read.
const HIDDEN: &[&str] = &["moveFrom", "Fallback", "del"];

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

pub(crate) fn read(bytes: &[u8], unpacked_bytes: u64, text: &mut Text) -> Result<(), Unreadable> {
    if bytes.starts_with(COMPOUND) {
        return Err(Unreadable::Encrypted);
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(unzipped)?;
    let mut left = unpacked_bytes;
    let main = main_part(&mut archive, &mut left)?;
    let folder = main.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    if !part(&mut archive, &main, &mut left, text)? {
        return Err(Unreadable::Unsupported("the archive holds no Word document".to_owned()));
    }
    for notes in ["footnotes.xml", "endnotes.xml"] {
        part(&mut archive, &format!("{folder}/{notes}"), &mut left, text)?;
    }
    Ok(())
}

fn unzipped(error: ZipError) -> Unreadable {
    match error {
        ZipError::InvalidPassword => Unreadable::Encrypted,
        ZipError::UnsupportedArchive(why) if why == ZipError::PASSWORD_REQUIRED => Unreadable::Encrypted,
        error => Unreadable::damaged(error),
    }
}

/// An entry of the archive that gives no more than what is `left` of the bound in all.
struct Metered<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        *self.left = self.left.checked_sub(read as u64).ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// What went wrong while a part was read: its XML, or the bound on what it unpacks to.
fn misread(error: quick_xml::Error) -> Unreadable {
    match error {
        quick_xml::Error::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            Unreadable::TooLarge("it unpacks to far more than it holds".to_owned())
        }
        error => Unreadable::damaged(error),
    }
}

/// The name of the main part, from the package's relations.
fn main_part(archive: &mut Archive<'_>, left: &mut u64) -> Result<String, Unreadable> {
    let Ok(relations) = archive.by_name("_rels/.rels") else { return Ok(MAIN.to_owned()) };
    let mut reader = Reader::from_reader(BufReader::new(Metered { inner: relations, left }));
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(misread)? {
            Event::Start(tag) | Event::Empty(tag) if tag.local_name().as_ref() == "Relationship" => {
                let is_main = attribute(&tag, "Type").is_some_and(|kind| kind.ends_with("/officeDocument"));
                if let Some(target) = attribute(&tag, "Target").filter(|_| is_main) {
                    return Ok(target.trim_start_matches('/').to_owned());
                }
            }
            Event::Eof => return Ok(MAIN.to_owned()),
            _ => {}
        }
        buffer.clear();
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    Some(found.value.into_owned())
}

/// Reads a part into the text; says whether there is one.
fn part(archive: &mut Archive<'_>, name: &str, left: &mut u64, text: &mut Text) -> Result<bool, Unreadable> {
    let entry = match archive.by_name(name) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(false),
        Err(error) => return Err(unzipped(error)),
    };
    let reader = Reader::from_reader(BufReader::new(Metered { inner: entry, left }));
    Part { text, cells: 0, in_text: false, hidden: 0 }.read(reader)?;
    Ok(true)
}

struct Part<'a> {
    text: &'a mut Text,
    /// Table cells that are open: a paragraph in one ends no line.
    cells: usize,
    in_text: bool,
    /// Elements that are open and passed over.
    hidden: usize,
}

impl Part<'_> {
    fn read(mut self, mut reader: Reader<impl BufRead>) -> Result<(), Unreadable> {
        let mut buffer = Vec::new();
        loop {
            match reader.read_event_into(&mut buffer).map_err(misread)? {
                Event::Start(tag) => self.begin(tag.local_name().as_ref())?,
                Event::Empty(tag) => self.empty(tag.local_name().as_ref())?,
                Event::End(tag) => self.end(tag.local_name().as_ref())?,
                Event::Text(letters) if self.is_heard() => self.text.push(&letters.xml10_content())?,
                Event::CData(letters) if self.is_heard() => self.text.push(&letters.xml10_content())?,
                Event::GeneralRef(name) if self.is_heard() => {
                    let letter = name.resolve_char_ref().map_err(misread)?;
                    match (letter, resolve_predefined_entity(&name)) {
                        (Some(letter), _) => self.text.push(letter.encode_utf8(&mut [0; 4]))?,
                        (None, Some(entity)) => self.text.push(entity)?,
                        // Entities that a document declares itself are never expanded: they are how bombs are made.
                        (None, None) => {}
                    }
                }
                Event::Eof => return self.text.break_line(),
                _ => {}
            }
            buffer.clear();
        }
    }

    fn is_heard(&self) -> bool {
        self.in_text && self.hidden == 0
    }

    fn begin(&mut self, name: &str) -> Result<(), Unreadable> {
        match name {
            "t" => self.in_text = true,
            "tc" => self.cells += 1,
            hidden if HIDDEN.contains(&hidden) => self.hidden += 1,
            _ => return self.mark(name),
        }
        Ok(())
    }

    fn mark(&mut self, name: &str) -> Result<(), Unreadable> {
        if self.hidden > 0 {
            return Ok(());
        }
        match name {
            "tab" => self.text.push("\t"),
            "br" | "cr" => self.text.push("\n"),
            "noBreakHyphen" => self.text.push("-"),
            _ => Ok(()),
        }
    }

    fn empty(&mut self, name: &str) -> Result<(), Unreadable> {
        if name == "p" { self.end(name) } else { self.mark(name) }
    }

    fn end(&mut self, name: &str) -> Result<(), Unreadable> {
        match name {
            "t" => self.in_text = false,
            hidden if HIDDEN.contains(&hidden) => self.hidden = self.hidden.saturating_sub(1),
            _ if self.hidden > 0 => {}
            "p" if self.cells > 0 => self.text.push(" ")?,
            "p" => self.text.end_line()?,
            "tc" => {
                self.cells = self.cells.saturating_sub(1);
                self.text.trim_end(&[' ']);
                self.text.push("\t")?;
            }
            "tr" => self.text.break_line()?,
            _ => {}
        }
        Ok(())
    }
}
