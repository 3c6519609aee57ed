//! One HTTP/1.1 connection, as lean as a load generator must be: the request is bytes made once, and of the answer's
//! head only what its body needs is read.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tidewire_client::{Endpoint, Pipe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is read at once: a small answer, or dozens of a stream's frames.
const READ_BYTES: usize = 16 * 1024;
/// The longest head or chunk line that is waited for.
const MAX_LINE_BYTES: usize = 64 * 1024;

pub(super) struct Connection {
    pipe: Pipe,
    buffer: BytesMut,
    body: Body,
    keeps: bool,
}

/// What is still to come of the answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Left(usize),
    Chunks,
    InChunk(usize),
    UntilClosed,
    Over,
}

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let pipe = tidewire_client::pipe(endpoint).await?;
        Ok(Self { pipe, buffer: BytesMut::with_capacity(READ_BYTES), body: Body::Over, keeps: true })
    }

    /// Sends a request, and gives back the status of its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.pipe.write_all(request).await?;
        self.pipe.flush().await?;
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n\r\n") {
                    Some(end) => break end,
                    None => self.fill().await?,
                }
            };
            let head = self.buffer.split_to(end + 4);
            let status = self.read_head(&head)?;
            // 100 Continue and the like come before the answer.
            if status >= 200 {
                return Ok(status);
            }
        }
    }

    fn read_head(&mut self, head: &[u8]) -> io::Result<u16> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP/1.1");
        let text = std::str::from_utf8(head).map_err(|_| bad())?;
        let mut lines = text.split("\r\n");
        let first = lines.next().ok_or_else(bad)?;
        let status: u16 = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
        self.keeps = first.starts_with("HTTP/1.1");
        self.body = if status == 204 { Body::Over } else { Body::UntilClosed };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                self.body = Body::Left(value.parse().map_err(|_| bad())?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
                self.body = Body::Chunks;
            } else if name.eq_ignore_ascii_case("connection") {
                self.keeps = !value.eq_ignore_ascii_case("close");
            }
        }
        Ok(status)
    }

    /// The next piece of the answer's body, as it came; `None` at its end.
    pub(super) async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.body {
                Body::Over | Body::Left(0) => {
                    self.body = Body::Over;
                    return Ok(None);
                }
                Body::UntilClosed if self.buffer.is_empty() => {
                    if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                        (self.body, self.keeps) = (Body::Over, false);
                        return Ok(None);
                    }
                }
                Body::Left(_) | Body::InChunk(_) if self.buffer.is_empty() => self.fill().await?,
                Body::UntilClosed => return Ok(Some(self.buffer.split().freeze())),
                Body::Left(left) => return Ok(Some(self.take(left, Body::Left))),
                Body::InChunk(left) => {
                    let next = |left| if left == 0 { Body::Chunks } else { Body::InChunk(left) };
                    return Ok(Some(self.take(left, next)));
                }
                Body::Chunks => self.begin_chunk().await?,
            }
        }
    }

    fn take(&mut self, left: usize, next: impl FnOnce(usize) -> Body) -> Bytes {
        let piece = self.buffer.split_to(left.min(self.buffer.len())).freeze();
        self.body = next(left - piece.len());
        piece
    }

    async fn begin_chunk(&mut self) -> io::Result<()> {
        let line = self.line().await?;
        // The line's end after the chunk before.
        if line.is_empty() {
            return Ok(());
        }
        let size = std::str::from_utf8(&line).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        match size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk without its size"))? {
            0 => {
                while !self.line().await?.is_empty() {}
                self.body = Body::Over;
            }
            size => self.body = Body::InChunk(size),
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(2);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.body != Body::UntilClosed && self.buffer.len() > MAX_LINE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
        }
        self.buffer.reserve(READ_BYTES);
        match self.pipe.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether the next request may go over it.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps && self.body == Body::Over && self.buffer.is_empty()
    }
}

fn find(buffer: &[u8], what: &[u8]) -> Option<usize> {
    buffer.windows(what.len()).position(|window| window == what)
}
