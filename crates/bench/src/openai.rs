//! Loads any OpenAI-compatible endpoint, and beside it the model server that it stands in front of: alternating slices of
//! one run, so that what the one adds to the other is told apart from the machine's own weather.

mod answer;
mod connection;
mod load;
mod options;
mod report;
mod run;
mod side;

pub use options::{Length, Load, Options, Target};
pub use report::{Added, Answered, Cost, Latencies, Report, Saturation, SideReport};
pub use run::run;
