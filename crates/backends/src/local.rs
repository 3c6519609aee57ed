//! The built-in model: small weights computed in this process by llama.cpp, so that tidewire answers without
//! any API key. One thread a model shares it among many requests.

mod adapter;
mod config;
mod engine;
mod input;
mod prompt;
mod rows;
mod sampler;
mod scheduler;
mod sequence;
mod text;
mod weights;

pub use adapter::Local;
pub use config::{Config, Defaults};
pub use engine::{Answer, Engine, Load, Refusal, Request, StartError};
pub use sequence::{Chance, Event, Finish, Token};
pub use weights::{PrepareError, prepare};
