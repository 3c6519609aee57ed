//! Reads server-sent events from the bytes of an answer, as they come.
//!
//! The rules are those of the WHATWG event stream
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>), with two
//! differences: `id` and `retry` are skipped, since nobody reconnects to a model in the middle of its answer,
//! and bytes are not decoded, since the JSON in them is checked for UTF-8 when it is read.

use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// An event. It borrows from the chunk that ended it, or from the parser where a chunk's border ran through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its type; empty for the default type, `message`.
    pub name: &'a [u8],
    /// Its data, lines joined by LF.
    pub data: &'a [u8],
}

/// A line, or an event's data, is longer than the limit. What was in it is lost: give the answer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {limit_bytes} bytes")]
pub struct TooLong {
    /// The limit.
    pub limit_bytes: usize,
}

/// Reads events from chunks. The events do not depend on where the chunks' borders are.
#[derive(Debug)]
pub struct Parser {
    limit_bytes: usize,
    /// The beginning of a line that the last chunk did not end.
    line: Vec<u8>,
    /// The last chunk ended with CR: an LF at the beginning of the next one belongs to it.
    after_cr: bool,
    /// No line was read yet, so the next one may begin with a byte order mark.
    first_line: bool,
    name: Vec<u8>,
    /// The data of an event that has not ended, where it could not be left in the chunk; each line with its LF.
    data: Vec<u8>,
    /// Nothing can be read after a line that was too long.
    failed: bool,
}

impl Parser {
    /// Holds at most twice this much: a line, and an event's data.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            name: Vec::new(),
            data: Vec::new(),
            failed: false,
        }
    }

    /// Reads a chunk, and hands over each event that ends in it.
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        if self.failed {
            return Err(TooLong { limit_bytes: self.limit_bytes });
        }
        let done = self.read(chunk, &mut on_event);
        self.failed = done.is_err();
        done
    }

    fn read(&mut self, chunk: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let mut rest = chunk;
        // Data that lies whole in this chunk: in an event of one line, which most are, it is never copied.
        let mut held = None;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                self.check(self.line.len() + rest.len())?;
                self.line.extend_from_slice(rest);
                break;
            };
            let line = &rest[..end];
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.check(self.line.len() + line.len())?;
            if self.line.is_empty() {
                self.line_in_chunk(line, &mut held, on_event)?;
            } else {
                // Taken out and put back, so that its memory serves for the next one.
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line_of_two_chunks(&whole, &mut held)?;
                whole.clear();
                self.line = whole;
            }
        }
        if let Some(value) = held {
            self.add_data(value)?;
        }
        Ok(())
    }

    fn line_in_chunk<'a>(
        &mut self,
        line: &'a [u8],
        held: &mut Option<&'a [u8]>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), TooLong> {
        let line = self.without_bom(line);
        if line.is_empty() {
            if let Some(data) = held.take() {
                on_event(Event { name: &self.name, data });
            } else if let Some(data) = self.data.strip_suffix(b"\n") {
                on_event(Event { name: &self.name, data });
            }
            self.name.clear();
            self.data.clear();
            return Ok(());
        }
        match field(line) {
            (b"data", value) if held.is_none() && self.data.is_empty() => *held = Some(value),
            (b"data", value) => {
                if let Some(before) = held.take() {
                    self.add_data(before)?;
                }
                self.add_data(value)?;
            }
            (b"event", value) => self.set_name(value),
            _ => {}
        }
        Ok(())
    }

    /// Such a line is never empty, so it ends no event.
    fn line_of_two_chunks(&mut self, line: &[u8], held: &mut Option<&[u8]>) -> Result<(), TooLong> {
        match field(self.without_bom(line)) {
            (b"data", value) => {
                if let Some(before) = held.take() {
                    self.add_data(before)?;
                }
                self.add_data(value)?;
            }
            (b"event", value) => self.set_name(value),
            _ => {}
        }
        Ok(())
    }

    fn without_bom<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        if std::mem::take(&mut self.first_line) { line.strip_prefix(BOM).unwrap_or(line) } else { line }
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), TooLong> {
        self.check(self.data.len() + value.len())?;
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(())
    }

    fn set_name(&mut self, value: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(value);
    }

    fn check(&self, length: usize) -> Result<(), TooLong> {
        if length > self.limit_bytes { Err(TooLong { limit_bytes: self.limit_bytes }) } else { Ok(()) }
    }
}

/// A line's name and value. A comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else { return (line, b"") };
    let value = &line[colon + 1..];
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests;
