//! Shows one task's answer while it is made: over cuts, through rewinds, until its end or the user's Ctrl-C.

use super::terminal::Terminal;
use serde_json::Value;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tidewire_client::proto::WireEvent;
use tidewire_client::{Answer, Batch, Change, Follow, Session, SessionError, Status, Stopwatch};
use tokio::signal::ctrl_c;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text as it comes.
    Text,
    /// Each event as a line of JSON.
    Events,
    /// Nothing; the caller shows what came of it.
    Silent,
}

/// Whether Ctrl-C stops the task, or only ends the watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The first one stops the task, the second one leaves.
    Stops,
    /// The first one leaves; the task goes on.
    Leaves,
}

/// What was shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) answer: Answer,
    pub(crate) first_text: Option<Duration>,
    pub(crate) last_text: Option<Duration>,
    /// The user left before the end.
    pub(crate) left: bool,
}

/// Why an answer could not be shown to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("can't write the answer: {0}")]
    Output(#[from] io::Error),
    #[error("can't read what the server sent: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Shown {
    /// `done`, `failed`, `stopped`; nothing before the end.
    pub(crate) fn state(&self) -> Option<&str> {
        self.answer.end()?["state"].as_str()
    }

    /// How many tokens the model made, by its own count.
    pub(crate) fn tokens(&self) -> Option<u64> {
        self.answer.end()?["usage"]["output_tokens"].as_u64()
    }

    /// Tokens in a second, from the first to the last.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        let gaps = u32::try_from(self.tokens()?.checked_sub(1)?).ok()?;
        let seconds = self.last_text?.checked_sub(self.first_text?)?.as_secs_f64();
        (gaps > 0 && seconds > 0.0).then(|| f64::from(gaps) / seconds)
    }
}

/// One answer on its way to the user.
pub(crate) struct Show {
    terminal: Terminal,
    form: Form,
    interrupt: Interrupt,
    watch: Stopwatch,
    shown: Shown,
    /// The text that was written last does not end its line.
    mid_line: bool,
}

impl Show {
    /// `watch` was started when the task was submitted.
    pub(crate) fn new(terminal: Terminal, form: Form, interrupt: Interrupt, watch: Stopwatch) -> Self {
        let shown = Shown { answer: Answer::default(), first_text: None, last_text: None, left: false };
        Self { terminal, form, interrupt, watch, shown, mid_line: false }
    }

    /// Reads the log to its end.
    pub(crate) async fn run(mut self, session: &Session, task: &str, log: &mut Follow) -> Result<Shown, ShowError> {
        let mut status = session.status();
        let mut stop: Option<Pin<Box<dyn Future<Output = _> + '_>>> = None;
        let mut stopping = false;
        // Kept over the rounds of the loop: a Ctrl-C between two of them would go unheard.
        let interrupted = ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                batch = log.next() => match batch {
                    Some(batch) => self.batch(&batch?)?,
                    None => break,
                },
                Ok(()) = status.changed() => {
                    let now = status.borrow_and_update().clone();
                    self.status(&now)?;
                }
                Ok(()) = &mut interrupted => {
                    interrupted.set(ctrl_c());
                    if stopping || self.interrupt == Interrupt::Leaves {
                        self.shown.left = true;
                        break;
                    }
                    stopping = true;
                    self.end_line()?;
                    self.terminal.note("stopping; Ctrl-C again leaves")?;
                    stop = Some(Box::pin(session.stop(task)));
                }
                // The state is in the log's end as well; only a failure is news.
                state = settled(&mut stop) => drop(state?),
            }
        }
        self.end_line()?;
        Ok(self.shown)
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), ShowError> {
        if batch.starts_over {
            self.shown.answer.start_over();
            self.again("the log can't be resumed; from its start:")?;
        }
        for event in &batch.events()? {
            if self.form == Form::Events {
                self.terminal.write(&format!("{}\n", serde_json::to_string(event)?))?;
            }
            self.event(event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &WireEvent<'_>) -> Result<(), ShowError> {
        match self.shown.answer.apply(event) {
            Change::Added { from } => {
                let now = self.watch.elapsed();
                self.shown.first_text.get_or_insert(now);
                self.shown.last_text = Some(now);
                if self.form == Form::Text {
                    let text = &self.shown.answer.text()[from..];
                    self.terminal.write(text)?;
                    self.mid_line = text.chars().last().map_or(self.mid_line, |last| last != '\n');
                }
            }
            Change::Rewound => self.again("the answer begins anew:")?,
            Change::Ended | Change::Nothing => self.aside(event)?,
        }
        Ok(())
    }

    /// Text was taken back. What a terminal has shown stays there, so what counts is written anew below.
    fn again(&mut self, why: &str) -> io::Result<()> {
        if self.form != Form::Text {
            return Ok(());
        }
        self.end_line()?;
        self.terminal.note(why)?;
        let text = self.shown.answer.text();
        self.mid_line = !text.is_empty() && !text.ends_with('\n');
        self.terminal.write(text)
    }

    fn aside(&mut self, event: &WireEvent<'_>) -> io::Result<()> {
        if self.form != Form::Text {
            return Ok(());
        }
        match &*event.kind {
            "reasoning" if self.terminal.text => {
                let text = event.text().unwrap_or_default();
                self.terminal.aside(&text)?;
                self.mid_line = !text.ends_with('\n');
            }
            "retry" => {
                let data = event.value();
                let (attempt, code) = (&data["attempt"], data["code"].as_str().unwrap_or("unknown"));
                self.end_line()?;
                self.terminal.note(&format!("attempt {attempt} failed ({code}); another follows"))?;
            }
            "end" => {
                self.end_line()?;
                self.end(&event.value())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self, data: &Value) -> io::Result<()> {
        match data["state"].as_str() {
            Some("failed") => {
                let (code, message) = (data["error"]["code"].as_str(), data["error"]["message"].as_str());
                let (code, message) = (code.unwrap_or("unknown"), message.unwrap_or("no reason was given"));
                self.terminal.note(&format!("failed: {message} ({code})"))
            }
            Some("stopped") => self.terminal.note("stopped"),
            _ => Ok(()),
        }
    }

    fn status(&mut self, status: &Status) -> io::Result<()> {
        match status {
            Status::Reconnecting { attempt: 1, .. } => {
                self.end_line()?;
                self.terminal.note("reconnecting…")
            }
            // Text goes on where it was; how the session ends, its calls say.
            Status::Reconnecting { .. } | Status::Connected | Status::Over(_) => Ok(()),
        }
    }

    /// A note on a person's screen begins a line of its own.
    fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.mid_line) { self.terminal.write("\n") } else { Ok(()) }
    }
}

/// The work's outcome, once there is work.
async fn settled<T>(work: &mut Option<Pin<Box<dyn Future<Output = T> + '_>>>) -> T {
    let Some(running) = work else { return pending().await };
    let done = running.await;
    *work = None;
    done
}
