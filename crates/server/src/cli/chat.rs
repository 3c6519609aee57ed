//! `tidewire chat`: one question and its answer, or a conversation.

use super::Outcome;
use super::remote::Remote;
use super::show::{Form, Interrupt, Show, ShowError, Shown};
use super::terminal::Terminal;
use clap::Args;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use tidewire_client::proto::Submission;
use tidewire_client::proto::http::Ack;
use tidewire_client::{Session, SessionError, Stopwatch};
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;

/// What a shell expects of a program that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// Arguments of `tidewire chat`.
#[derive(Args, Debug)]
pub(crate) struct ChatArgs {
    /// The question; without one: what is piped in, else a conversation
    prompt: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// The model's public name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Write each answer as a line of JSON, once it has ended
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: ChatArgs) -> Outcome {
    let prompt = match &args.prompt {
        Some(prompt) => Some(prompt.clone()),
        None if io::stdin().is_terminal() => None,
        None => Some(io::read_to_string(io::stdin())?),
    };
    let remote = args.remote.clone();
    let code = remote
        .session(async |session| {
            let mut chat = Chat::new(session, args);
            match prompt {
                Some(prompt) => chat.answer(&prompt).await.map(Turn::code),
                None => chat.converse().await,
            }
        })
        .await??;
    Ok(code)
}

struct Chat {
    session: Session,
    terminal: Terminal,
    model: Option<String>,
    json: bool,
    messages: Vec<Value>,
}

/// How one question went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Answered,
    Failed,
    Stopped,
    /// The user left.
    Left,
}

impl Turn {
    fn code(self) -> ExitCode {
        match self {
            Self::Answered => ExitCode::SUCCESS,
            Self::Failed => ExitCode::FAILURE,
            Self::Stopped | Self::Left => INTERRUPTED.into(),
        }
    }
}

impl Chat {
    fn new(session: Session, args: ChatArgs) -> Self {
        let messages = args.system.map(|system| json!({"role": "system", "content": system})).into_iter().collect();
        Self { session, terminal: Terminal::detect(), model: args.model, json: args.json, messages }
    }

    async fn converse(&mut self) -> Result<ExitCode, ShowError> {
        let mut lines = lines();
        loop {
            self.terminal.write("> ")?;
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = ctrl_c() => None,
            };
            let Some(line) = line else {
                self.terminal.write("\n")?;
                return Ok(ExitCode::SUCCESS);
            };
            if line.trim().is_empty() {
                continue;
            }
            match self.answer(&line).await {
                Ok(Turn::Left) => return Ok(Turn::Left.code()),
                Ok(_) => {}
                // The server's word on this question; the next one may go better.
                Err(ShowError::Session(SessionError::Refused(error))) => {
                    self.terminal.note(&SessionError::Refused(error).to_string())?;
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Asks, and shows the answer. Both become part of the conversation where there is an answer.
    async fn answer(&mut self, prompt: &str) -> Result<Turn, ShowError> {
        let mut messages = self.messages.clone();
        messages.push(json!({"role": "user", "content": prompt}));
        let input = to_raw_value(&json!({"messages": messages}))?;
        let task = Submission { input: Some(input), model: self.model.clone(), ..Submission::default() };

        let watch = Stopwatch::start();
        let mut submitted = tokio::select! {
            submitted = self.session.submit(task) => submitted?,
            // Whether it was committed is not known; nobody waits for it.
            _ = ctrl_c() => return Ok(Turn::Left),
        };
        let acknowledged = watch.elapsed();
        let form = if self.json { Form::Silent } else { Form::Text };
        let show = Show::new(self.terminal, form, Interrupt::Stops, watch);
        let shown = show.run(&self.session, &submitted.ack.task, &mut submitted.log).await?;

        if self.json {
            let line = summary(&submitted.ack, acknowledged, watch.elapsed(), &shown);
            self.terminal.write(&format!("{line}\n"))?;
        } else if self.terminal.notes {
            self.terminal.note(&timing(acknowledged, &shown))?;
        }
        if !shown.answer.text().is_empty() {
            messages.push(json!({"role": "assistant", "content": shown.answer.text()}));
            self.messages = messages;
        }
        Ok(match shown.state() {
            _ if shown.left => Turn::Left,
            Some("done") => Turn::Answered,
            Some("stopped") => Turn::Stopped,
            _ => Turn::Failed,
        })
    }
}

/// `ack 3 ms · first token 41 ms · 120 tokens · 52.1 tokens/s`
fn timing(acknowledged: Duration, shown: &Shown) -> String {
    let mut parts = vec![format!("ack {} ms", acknowledged.as_millis())];
    parts.extend(shown.first_text.map(|first| format!("first token {} ms", first.as_millis())));
    parts.extend(shown.tokens().map(|tokens| format!("{tokens} tokens")));
    parts.extend(shown.tokens_per_second().map(|rate| format!("{rate:.1} tokens/s")));
    parts.join(" · ")
}

fn summary(ack: &Ack, acknowledged: Duration, total: Duration, shown: &Shown) -> Value {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "task": ack.task,
        "state": shown.state(),
        "text": shown.answer.text(),
        "end": shown.answer.end(),
        "ack_ms": millis(acknowledged),
        "first_token_ms": shown.first_text.map(millis),
        "total_ms": millis(total),
        "tokens_per_second": shown.tokens_per_second(),
    })
}

/// The user's lines. A thread of its own reads them: tokio's stdin would hold the process open after Ctrl-C,
/// until the next Enter. It ends with the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
