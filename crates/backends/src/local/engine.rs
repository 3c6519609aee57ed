//! The handle to a loaded model: starts its thread, takes requests, stops it.

use super::config::Config;
use super::input::Input;
use super::prompt::{TooLong, Unwritable, Writer};
use super::scheduler::{PIECE_TOKENS, Scheduler, Submission};
use super::sequence::{Event, Finish, Sequence, channel, room};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::{LogOptions, send_logs_to_tracing};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, mpsc};

/// llama.cpp's own bound on sequences in a context (`LLAMA_MAX_SEQ`).
const MOST_SEQUENCES: u32 = 256;

/// llama.cpp rounds a sequence's context up to a multiple of this.
const CONTEXT_STEP: u32 = 256;

/// A model in memory, and the thread that computes with it.
///
/// Dropping it ends the thread within a step, and cuts running answers off; [`shutdown`](Self::shutdown) waits
/// for that too.
pub struct Engine {
    config: Config,
    context_tokens: usize,
    writer: Writer,
    /// Taken at shutdown: the thread ends when its channel is closed.
    submissions: Mutex<Option<mpsc::Sender<Submission>>>,
    places: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `OpenAI` chat JSON.
    pub input: &'a [u8],
    /// The answer's beginning, from an earlier attempt; may be empty. The model goes on from there.
    pub committed: &'a str,
    /// Random bits to draw tokens by, where the request has no seed.
    pub seed: u64,
}

/// A request that was taken. Dropping it stops the model, and frees its sequence at the next step.
#[derive(Debug)]
pub struct Answer {
    /// Tokens of the prompt, with committed ones.
    pub input_tokens: usize,
    /// What happens. Ends without [`Event::End`] or [`Event::Failed`] where the engine stopped.
    pub events: mpsc::Receiver<Event>,
}

/// How busy an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that have a sequence.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error("the built-in model's `{setting}` {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The weights could not be loaded. llama.cpp says more in the log.
    #[error("cannot load {}: {reason}", weights.display())]
    Weights {
        /// Which file.
        weights: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The operating system gave no thread.
    #[error("no thread for the built-in model: {0}")]
    Thread(std::io::Error),
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is wrong, and says how.
    #[error("{0}")]
    InvalidInput(String),
    /// It does not fit.
    #[error("the prompt has {prompt_tokens} tokens, and the model's context takes fewer than {context_tokens}")]
    ContextTooLong {
        /// Tokens that it has.
        prompt_tokens: usize,
        /// Tokens of prompt and answer together that fit.
        context_tokens: usize,
    },
    /// As many wait as may wait.
    #[error("the built-in model is busy: {waiting} requests wait already")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The engine has stopped.
    #[error("the built-in model has stopped")]
    Stopped,
}

impl Engine {
    /// Loads a model. Blocks for about a second: not for an async thread.
    pub fn start(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let backend = backend();
        let model = load(backend, &config)?;
        let context_tokens = context_tokens(&config, &model);
        let usable = usize::try_from(context_tokens).unwrap_or(usize::MAX);
        let writer = Writer::new(Arc::clone(&model), &config, usable)
            .map_err(|problem| StartError::Setting { setting: "template", problem })?;
        let (sender, receiver) = mpsc::channel(config.waiting);
        let running = Arc::new(AtomicUsize::new(0));
        let thread = spawn(backend, model, &config, context_tokens, Arc::clone(&running), receiver)?;
        Ok(Self {
            context_tokens: usable,
            writer,
            submissions: Mutex::new(Some(sender)),
            places: Arc::new(Semaphore::new(config.waiting)),
            running,
            thread: Mutex::new(Some(thread)),
            config,
        })
    }

    /// Takes a request, or refuses it at once.
    pub fn submit(&self, request: Request<'_>) -> Result<Answer, Refusal> {
        let Input { turns, options } =
            Input::read(request.input, &self.config.defaults).map_err(Refusal::InvalidInput)?;
        let prompt = self.writer.write(&turns, request.committed).map_err(|error| match error {
            Unwritable::TooLong(TooLong { prompt, context }) => {
                Refusal::ContextTooLong { prompt_tokens: prompt, context_tokens: context }
            }
            Unwritable::Template(error) => Refusal::InvalidInput(error),
        })?;
        let input_tokens = prompt.tokens.len();
        let room = room(&options, &prompt, self.context_tokens);
        let (reply, events) = channel(room);
        let mut sequence = Sequence::new(prompt, options, request.seed, room, reply);
        if room == 0 {
            // The committed text is as long as the answer may be.
            sequence.end(Finish::Length);
            return Ok(Answer { input_tokens, events });
        }
        let busy = || Refusal::Busy { waiting: self.config.waiting };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let submissions = self.submissions.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = submissions.as_ref().ok_or(Refusal::Stopped)?;
        sender.try_send(Submission { sequence, place }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopped,
        })?;
        Ok(Answer { input_tokens, events })
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokens of prompt and answer that fit one sequence.
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let waiting = self.config.waiting.saturating_sub(self.places.available_permits());
        Load { running: self.running.load(Ordering::Relaxed), waiting }
    }

    /// Stops the thread and waits for it, for at most a step (0.2 s). Answers that run are cut off, later requests
    /// refused. Blocks: not for an async thread.
    pub fn shutdown(&self) {
        drop(self.submissions.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(model = self.config.name, "the built-in model's thread had panicked");
        }
    }
}

/// Sends llama.cpp's many lines of log to `tracing`, at their own level, instead of to standard error.
pub(super) fn quiet() {
    send_logs_to_tracing(LogOptions::default());
}

/// llama.cpp's process-wide tables, which may be set up only once however many models there are.
fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        quiet();
        // It fails only where somebody else in this process has done it already, and then it is done.
        LlamaBackend::init().unwrap_or(LlamaBackend {})
    })
}

fn check(config: &Config) -> Result<(), StartError> {
    let bad = |setting, problem: &str| Err(StartError::Setting { setting, problem: problem.to_owned() });
    match config {
        Config { threads: 0, .. } => bad("threads", "must be at least 1"),
        Config { parallel: 0, .. } => bad("parallel", "must be at least 1"),
        Config { parallel, .. } if *parallel > MOST_SEQUENCES => bad("parallel", "must be at most 256"),
        Config { waiting: 0, .. } => bad("waiting", "must be at least 1"),
        Config { context_tokens: 0, .. } => bad("context_tokens", "must be at least 1"),
        Config { weights, .. } if !weights.is_file() => Err(StartError::Weights {
            weights: weights.clone(),
            reason: "there is no such file; scripts/fetch-model.sh fetches the built-in model's".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn load(backend: &LlamaBackend, config: &Config) -> Result<Arc<LlamaModel>, StartError> {
    let model = LlamaModel::load_from_file(backend, &config.weights, &LlamaModelParams::default());
    model
        .map(Arc::new)
        .map_err(|error| StartError::Weights { weights: config.weights.clone(), reason: error.to_string() })
}

/// What one sequence can hold.
fn context_tokens(config: &Config, model: &LlamaModel) -> u32 {
    // Rounded down at the end of what the model was trained on, rounded up before it.
    let most = (model.n_ctx_train() / CONTEXT_STEP * CONTEXT_STEP).max(CONTEXT_STEP);
    config.context_tokens.min(most).next_multiple_of(CONTEXT_STEP)
}

fn spawn(
    backend: &'static LlamaBackend,
    model: Arc<LlamaModel>,
    config: &Config,
    context_tokens: u32,
    running: Arc<AtomicUsize>,
    mut submissions: mpsc::Receiver<Submission>,
) -> Result<JoinHandle<()>, StartError> {
    let Config { parallel, threads, .. } = *config;
    let (loaded, wait) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        // The context borrows the model and stays where it was made, so both live on this thread's stack.
        match new_context(backend, &model, context_tokens, parallel, threads) {
            Ok(context) => {
                let _ = loaded.send(Ok(()));
                Scheduler::new(&model, context, parallel, running).run(&mut submissions);
            }
            Err(reason) => {
                let _ = loaded.send(Err(reason));
            }
        }
    };
    let thread = std::thread::Builder::new().name("local-model".to_owned()).spawn(work).map_err(StartError::Thread)?;
    let outcome = wait.recv().unwrap_or_else(|_| Err("its thread panicked".to_owned()));
    outcome.map_err(|reason| StartError::Weights { weights: config.weights.clone(), reason })?;
    Ok(thread)
}

fn new_context<'model>(
    backend: &LlamaBackend,
    model: &'model LlamaModel,
    context_tokens: u32,
    parallel: u32,
    threads: u32,
) -> Result<LlamaContext<'model>, String> {
    let piece = u32::try_from(PIECE_TOKENS).unwrap_or(u32::MAX);
    let threads = i32::try_from(threads).unwrap_or(i32::MAX);
    let all = context_tokens.checked_mul(parallel).ok_or("`parallel` times `context_tokens` is too large")?;
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(all))
        .with_n_seq_max(parallel)
        // A call has a token a sequence or a piece of one prompt, never more.
        .with_n_batch(parallel.max(piece))
        .with_n_ubatch(parallel.max(piece))
        // A part of the cache for each sequence. In a shared one each token's attention looks through the
        // cells of all others to find its own, which for 32 takes as long as everything else.
        .with_kv_unified(false)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_no_perf(true);
    model.new_context(backend, params).map_err(|error| format!("no room for its context? ({error})"))
}
