//! The vocabulary of tidewire and the ports that everything else plugs into.
//!
//! Nothing here opens a socket, touches a disk, reads a clock or an environment variable: all four come in
//! through [`port`], so that a test can repeat a run.

pub mod cache;
pub mod catalog;
pub mod embeddings;
pub mod ending;
pub mod event;
pub mod family;
pub mod files;
pub mod forecast;
pub mod guard;
pub mod id;
pub mod ledger;
pub mod money;
pub mod payer;
pub mod port;
pub mod queue;
pub mod route;
pub mod task;
pub mod time;
pub mod tokens;
pub mod trace;

pub use catalog::Catalog;
pub use ending::{Ending, Failure, Outcome, Usage};
pub use event::{Entry, Event, Kind};
pub use forecast::Forecast;
pub use id::{Durability, Epoch, Fence, KeyId, LogId, LogKind, LogRef, Offset, TaskId, TaskRef, TenantId, WorkerId};
pub use money::{Money, Price};
pub use payer::Payer;
pub use task::{OnDisconnect, Spec, State, Task};
pub use time::Timestamp;
pub use trace::Trace;
