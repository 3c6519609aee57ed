//! One connection to the scripted model server: its calls, one after the other.

use super::Shared;
use super::embeddings;
use super::frames::{self, Answer, Key};
use super::program::Part;
use super::request::{self, Asked, Path, Request};
use super::script::{Break, Fault, Refusal};
use super::seen::{Call, State, Ticket};
use bytes::BytesMut;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// The call is over, and so is the connection.
struct Over(State);

/// How much is read at once: a request of a benchmark fits into it.
const READ_BYTES: usize = 4096;

pub(super) struct Connection<'a> {
    socket: TcpStream,
    buffer: BytesMut,
    shared: &'a Shared,
    resumed: watch::Receiver<u64>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(socket: TcpStream, shared: &'a Shared) -> Self {
        // A token that waits for the ack of the one before would be 40 ms late. A socket that can't be set is dead.
        let _ = socket.set_nodelay(true);
        Self { socket, buffer: BytesMut::with_capacity(READ_BYTES), shared, resumed: shared.resume.subscribe() }
    }

    pub(super) async fn serve(mut self) {
        while let Some(request) = request::read(&mut self.socket, &mut self.buffer).await {
            let goes_on = match request.path {
                Path::Chat | Path::Messages | Path::Generate | Path::Embeddings => self.call(request).await,
                Path::Models => self.models().await,
                Path::Other => self.not_found().await,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn models(&mut self) -> bool {
        let part = self.shared.program.part("");
        let model = |name: &String| json!({"id": name, "object": "model", "created": 0, "owned_by": "scripted"});
        let data: Vec<Value> = self.shared.program.models().iter().map(model).collect();
        let answer = frames::whole(&part.script, 200, "", &json!({"object": "list", "data": data}));
        self.socket.write_all(&answer).await.is_ok()
    }

    async fn not_found(&mut self) -> bool {
        let answer = frames::whole(&super::Script::default(), 404, "", &frames::error_body());
        self.socket.write_all(&answer).await.is_ok()
    }

    /// Answers one call; `false` where the connection is over with it.
    async fn call(&mut self, request: Request) -> bool {
        let asked = Asked::parse(&request.body);
        let asked_well = asked.is_some();
        let mut asked = asked.unwrap_or_default();
        if request.path == Path::Generate {
            asked.model = request::model_of(&request.head).unwrap_or_default().into();
        }
        let part = self.shared.program.part(&asked.model);
        let mut began = now();
        let inputs = if request.path == Path::Embeddings { embeddings::inputs(&asked) } else { Vec::new() };
        let ticket = self.shared.seen.begin(|| Call {
            model: asked.model.clone().into_owned(),
            path: request.path,
            stream: asked.stream(),
            head: request.head.clone(),
            body: request.body.clone(),
            inputs: inputs.clone(),
            tokens: 0,
            state: State::Running,
            began: began.into_std(),
            ended: None,
        });
        if self.shared.seen.is_one_in(part.script.slow.0) {
            // The whole schedule comes later.
            began += part.script.slow.1;
        }
        // A resume that came before this call is not for it.
        self.resumed.borrow_and_update();
        let ended = if !asked_well {
            self.refuse(&part, &Refusal::new(400, "invalid_request", "The body is no JSON of the form expected.")).await
        } else if let Some(ended) = self.fault_before(&part, ticket).await {
            ended
        } else if request.path == Path::Embeddings {
            self.embeddings(&part, &asked, &inputs, began).await
        } else {
            let answer = part.answer(Key::new(&part.script, request.path, &asked));
            self.speak(&part, &answer, (ticket, request.path), began).await
        };
        let (state, goes_on) = match ended {
            Ok(state) => (state, true),
            Err(Over(state)) => (state, false),
        };
        self.shared.seen.end(ticket, state, now().into_std());
        goes_on
    }

    /// A fault that comes before the answer, if one does and leaves nothing more to say.
    async fn fault_before(&mut self, part: &Part, ticket: Ticket) -> Option<Result<State, Over>> {
        match part.script.fault.as_ref()? {
            Fault::Refused(refusal) => Some(self.refuse(part, refusal).await),
            Fault::Reset => Some(Err(self.reset())),
            Fault::Silent => self.stall(ticket).await.err().map(Err),
            Fault::Breaks { .. } | Fault::BreaksAfterReason { .. } => None,
        }
    }

    async fn refuse(&mut self, part: &Part, refusal: &Refusal) -> Result<State, Over> {
        let Refusal { status, code, message, retry_after } = refusal;
        let kind = if *status >= 500 { "server_error" } else { "invalid_request_error" };
        let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let wait = retry_after.map_or(String::new(), |wait| {
            format!("retry-after: {}\r\nretry-after-ms: {}\r\n", wait.as_millis().div_ceil(1000), wait.as_millis())
        });
        self.write(&frames::whole(&part.script, *status, &wait, &body)).await?;
        Ok(State::Faulted)
    }

    async fn embeddings(
        &mut self,
        part: &Part,
        asked: &Asked<'_>,
        inputs: &[String],
        began: Instant,
    ) -> Result<State, Over> {
        self.until(began + part.script.first_token).await?;
        let answer = embeddings::answer(&part.script, asked, inputs);
        self.write(&frames::whole(&part.script, 200, "", &answer)).await?;
        Ok(State::Done)
    }

    async fn speak(
        &mut self,
        part: &Part,
        answer: &Answer,
        (ticket, path): (Ticket, Path),
        began: Instant,
    ) -> Result<State, Over> {
        let script = &part.script;
        if script.fault.is_some() {
            return self.speak_and_break(part, answer, (ticket, path), began).await;
        }
        if answer.tokens.is_empty() {
            self.until(began + script.first_token + script.per_token * answer.count.saturating_sub(1)).await?;
        } else if script.per_token.is_zero() {
            self.until(began + script.first_token).await?;
        } else {
            self.tokens(part, answer, (0, answer.tokens.len()), ticket, began).await?;
            self.write(&[&answer.reason[..], &answer.ending].concat()).await?;
            return Ok(State::Done);
        }
        self.write(&answer.whole).await?;
        self.shared.seen.sent(ticket, answer.count.into());
        Ok(State::Done)
    }

    /// Sends the tokens of a stream from one to another, each when it is due; with the first one the opening.
    async fn tokens(
        &mut self,
        part: &Part,
        answer: &Answer,
        (from, to): (usize, usize),
        ticket: Ticket,
        began: Instant,
    ) -> Result<(), Over> {
        let (first, per) = (part.script.first_token, part.script.per_token);
        for (number, token) in (0_u32..).zip(&answer.tokens).take(to).skip(from) {
            self.until(began + first + per * number).await?;
            if number == 0 {
                self.write(&[&answer.opening[..], token].concat()).await?;
            } else {
                self.write(token).await?;
            }
            self.shared.seen.sent(ticket, 1);
        }
        Ok(())
    }

    async fn speak_and_break(
        &mut self,
        part: &Part,
        answer: &Answer,
        (ticket, path): (Ticket, Path),
        began: Instant,
    ) -> Result<State, Over> {
        let (after, how, after_reason) = match &part.script.fault {
            Some(Fault::Breaks { after_tokens, how }) => (*after_tokens as usize, *how, false),
            Some(Fault::BreaksAfterReason { how }) => (answer.tokens.len(), *how, true),
            // Silence that was ended from outside: the answer is whole.
            _ => (usize::MAX, Break::Stall, false),
        };
        if answer.count > 0 && answer.tokens.is_empty() {
            return self.break_document(answer, ticket, (after, how)).await;
        }
        let all = answer.tokens.len();
        self.tokens(part, answer, (0, after.min(all)), ticket, began).await?;
        if after == 0 || all == 0 {
            self.write(&answer.opening).await?;
        }
        if after_reason {
            self.write(&answer.reason).await?;
        }
        match how {
            Break::Stall if after <= all => self.stall(ticket).await?,
            Break::Stall => {}
            Break::Cut => return Err(Over(State::Faulted)),
            Break::Reset => return Err(self.reset()),
            Break::Malformed => self.write(&frames::malformed()).await?,
            Break::Error => {
                self.write(&frames::error_event(path)).await?;
                return Ok(State::Faulted);
            }
            Break::Early => {
                self.write(&frames::early_end(path)).await?;
                return Ok(State::Faulted);
            }
        }
        if after == 0 && all > 0 {
            // The opening is out already.
            self.write(&answer.tokens[0]).await?;
            self.shared.seen.sent(ticket, 1);
        }
        self.tokens(part, answer, (after.max(1), all), ticket, began).await?;
        if !after_reason {
            self.write(&answer.reason).await?;
        }
        self.write(&answer.ending).await?;
        Ok(if how == Break::Malformed { State::Faulted } else { State::Done })
    }

    /// A document has no tokens to break after: it breaks half way.
    async fn break_document(
        &mut self,
        answer: &Answer,
        ticket: Ticket,
        (after, how): (usize, Break),
    ) -> Result<State, Over> {
        let body = &answer.ending;
        let half = body.len() / 2;
        if after != usize::MAX {
            match how {
                Break::Stall => {
                    self.write(&[&answer.opening[..], &body[..half]].concat()).await?;
                    self.stall(ticket).await?;
                    self.write(&body[half..]).await?;
                    self.shared.seen.sent(ticket, answer.count.into());
                    return Ok(State::Done);
                }
                Break::Cut | Break::Reset => {
                    self.write(&[&answer.opening[..], &body[..half]].concat()).await?;
                    return Err(if how == Break::Cut { Over(State::Faulted) } else { self.reset() });
                }
                Break::Malformed => {
                    let torn = vec![b'{'; body.len()];
                    self.write(&[&answer.opening[..], &torn].concat()).await?;
                }
                Break::Error => {
                    let script = super::Script::default();
                    self.write(&frames::whole(&script, 200, "", &frames::error_body())).await?;
                }
                Break::Early => {
                    let mut document: Value = serde_json::from_slice(body).unwrap_or_default();
                    document["choices"][0]["finish_reason"] = Value::Null;
                    let script = super::Script::default();
                    self.write(&frames::whole(&script, 200, "", &document)).await?;
                }
            }
            return Ok(State::Faulted);
        }
        self.write(&answer.whole).await?;
        self.shared.seen.sent(ticket, answer.count.into());
        Ok(State::Done)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.socket.write_all(bytes).await.map_err(|_| Over(State::Cancelled))
    }

    /// Waits until then, unless the client goes.
    async fn until(&mut self, then: Instant) -> Result<(), Over> {
        // A timer takes a millisecond even for no time at all.
        if then <= now() {
            return Ok(());
        }
        let sleep = tokio::time::sleep_until(then);
        tokio::select! {
            () = sleep => Ok(()),
            over = gone(&mut self.socket, &mut self.buffer) => Err(over),
        }
    }

    /// Says nothing until the client goes or the test lets it go on.
    async fn stall(&mut self, ticket: Ticket) -> Result<(), Over> {
        self.shared.seen.state(ticket, State::Stalled);
        tokio::select! {
            changed = self.resumed.changed() => changed.map_err(|_| Over(State::Faulted))?,
            over = gone(&mut self.socket, &mut self.buffer) => return Err(over),
        }
        self.shared.seen.state(ticket, State::Running);
        Ok(())
    }

    fn reset(&mut self) -> Over {
        // With no time to linger, a close is a reset. A socket that refuses is already gone.
        let _ = self.socket.set_zero_linger();
        Over(State::Faulted)
    }
}

/// Returns when the client has closed the connection. What it sends ahead is kept.
async fn gone(socket: &mut TcpStream, buffer: &mut BytesMut) -> Over {
    while socket.read_buf(buffer).await.is_ok_and(|read| read > 0) {}
    Over(State::Cancelled)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test asks when its call was cancelled, on the clock that it has itself"
)]
fn now() -> Instant {
    Instant::now()
}

/// Longer than any test waits for what will come: tells stuck from slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
