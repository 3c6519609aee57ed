//! What an operator can set for the built-in model.

use std::path::PathBuf;

/// What the model's own chat template would say where a request has no system message. llama.cpp's rendering
/// of that template leaves it out, and without it the model answers noticeably worse.
const SMOLLM_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// How one model is loaded and served.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name by which requests ask for it.
    pub name: String,
    /// A GGUF file, as [`prepare`](super::prepare) returned it.
    pub weights: PathBuf,
    /// Threads that compute, 1 or more. They spin while they wait for each other, so with as many threads as
    /// cores they fall to a tenth of their speed whenever anything else runs.
    pub threads: u32,
    /// Sequences that run at once, from 1 to 256. Each holds its part of the cache from the start.
    pub parallel: u32,
    /// Tokens of prompt and answer in each sequence; rounded up to a multiple of 256, and bounded by what the
    /// model was trained on.
    ///
    /// Memory is `parallel` × this × the model's cache per token, all of it taken at start. For SmolLM2-135M a
    /// token takes 22.5 KiB (30 layers × 3 heads × 64 × key and value × 2 bytes): 32 × 2,048 take 1.4 GiB.
    pub context_tokens: u32,
    /// Requests that wait for a free sequence. One more is refused at once.
    pub waiting: usize,
    /// Said first where a request has no system message.
    pub default_system: Option<String>,
    /// A chat template that llama.cpp knows by name, such as `chatml`, instead of the one in the weights.
    pub template: Option<String>,
    /// What a request leaves open.
    pub defaults: Defaults,
}

/// What holds where a request says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Bound on an answer's tokens. 512 is about a page, and half a minute of this model when it is busy.
    pub max_tokens: u32,
    /// 0.2 is what `SmolLM2`'s authors use; at `OpenAI`'s 1.0 so small a model wanders off.
    pub temperature: f32,
    /// 0.9, also from the authors.
    pub top_p: f32,
    /// What the answer's own words are charged for coming again, by DRY; 0 lets them.
    pub dry_multiplier: f32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { max_tokens: 512, temperature: 0.2, top_p: 0.9, dry_multiplier: 0.0 }
    }
}

impl Config {
    /// Any GGUF file, with what suits a small machine.
    pub fn new(name: impl Into<String>, weights: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            weights: weights.into(),
            threads: spare_cores(),
            parallel: 32,
            context_tokens: 2_048,
            // Eight full rounds: whoever waits longer than that is better served by a quick refusal.
            waiting: 256,
            default_system: None,
            template: None,
            defaults: Defaults::default(),
        }
    }

    /// The model that comes with tidewire. It is so small that it says one sentence over and over where nothing keeps it from that:
    /// 0.8 is what DRY's author uses.
    pub fn smollm2(weights: impl Into<PathBuf>) -> Self {
        let defaults = Defaults { dry_multiplier: 0.8, ..Defaults::default() };
        Self { default_system: Some(SMOLLM_SYSTEM.to_owned()), defaults, ..Self::new("smollm2-135m-instruct", weights) }
    }
}

/// All cores but one, which is left to the rest of the server.
fn spare_cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.saturating_sub(1).max(1)).unwrap_or(1)
}
