//! The wire as types, shared by the server's edge, the client and the bench. PROTOCOL.md says what they mean;
//! the core never sees them.

pub mod admin;
pub mod batch;
pub mod close;
pub mod error;
pub mod event;
pub mod feedback;
pub mod frame;
pub mod http;
pub mod operations;
pub mod public;
pub mod routes;
pub mod task;
pub mod trace;
pub mod usage;

pub use error::{Code, ErrorBody, WireError};
pub use event::WireEvent;
pub use frame::{ClientFrame, ServerFrame};
pub use task::{Submission, TaskView};
