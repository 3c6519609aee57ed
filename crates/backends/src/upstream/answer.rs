//! An answer as it arrives: bytes in, chunks out, with a limit on every silence.

use super::reading::{Dialect, Form, Reading, Stage};
use super::{Upstream, body, limits};
use futures_core::Stream;
use http::Response;
use hyper::body::{Body, Incoming};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidewire_core::port::{BackendError, Begins, Chunk, Fault, Run, Timeouts};
use tokio::time::Sleep;

/// After the last event the body is whole but for its last frame, which some servers send a moment later. A connection
/// that is left before that can't be used again; one that is left waiting holds up the end of the answer.
const LAST_FRAME_TIMEOUT: Duration = Duration::from_millis(20);

/// The deadline of an answer's first token, which runs from before the request is sent.
pub(crate) fn first_token(timeouts: Timeouts) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(timeouts.first_token))
}

/// The stream of an answer's chunks. Dropping it closes the connection, unless the answer is whole.
pub(crate) struct Answer<D> {
    /// Gone once nothing more is wanted of it.
    body: Option<Incoming>,
    reading: Reading<D>,
    /// When the silence has lasted too long.
    deadline: Pin<Box<Sleep>>,
    between_tokens: Duration,
}

impl<D: Dialect> Answer<D> {
    /// The run of an answer whose head is there.
    pub(crate) fn run(
        upstream: &Upstream,
        answer: Response<Incoming>,
        dialect: D,
        deadline: Pin<Box<Sleep>>,
        timeouts: Timeouts,
        begins: Begins,
    ) -> Result<Run, BackendError> {
        let form = Form::of(answer.headers())?;
        let limits = limits::read(answer.headers());
        let reading = Reading::new(form, dialect, upstream.secret().clone());
        let body = Some(answer.into_body());
        let answer = Self { body, reading, deadline, between_tokens: timeouts.between_tokens };
        Ok(Run { begins, chunks: Box::pin(answer), limits })
    }

    fn read(&mut self, data: &[u8]) {
        self.reading.read(data);
        let heard = &mut self.reading.heard;
        // Only what the model says counts: a heartbeat says that somebody is there, not that the model goes on.
        let spoke = std::mem::take(&mut heard.spoke);
        if heard.stage == Stage::SaidAll {
            self.wait(LAST_FRAME_TIMEOUT);
        } else if spoke {
            self.wait(self.between_tokens);
        }
    }

    fn wait(&mut self, wait: Duration) {
        // A sleep that is never polled costs a look at the runtime's clock, which is what is wanted of it.
        let until = tokio::time::sleep(wait).deadline();
        self.deadline.as_mut().reset(until);
    }

    fn end(&mut self, cut_off: Option<BackendError>) {
        self.reading.end(cut_off);
        self.body = None;
    }
}

impl<D: Dialect> Stream for Answer<D> {
    type Item = Result<Chunk, BackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let answer = self.get_mut();
        loop {
            if answer.reading.heard.stage == Stage::Failed {
                answer.body = None;
            }
            if let Some(item) = answer.reading.heard.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            let Some(body) = &mut answer.body else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        answer.read(&data);
                    }
                }
                Poll::Ready(Some(Err(error))) => answer.end(Some(body::broken_off(&error))),
                Poll::Ready(None) => answer.end(None),
                Poll::Pending => {
                    ready!(answer.deadline.as_mut().poll(context));
                    let message = "the upstream said nothing for too long";
                    answer.end(Some(BackendError::new(Fault::TimedOut, message)));
                }
            }
        }
    }
}
