//! The account book that engines keep: who may use how much, what is held, what was used. It holds no lock, reads no
//! clock and writes nothing down: an engine does, and asks it what a call comes to.
//!
//! ```text
//!  reserve ──▶ every account has room? ──▶ held: taken from the buckets, outstanding against the budgets
//!                      │ no                   │ top_up: more of it
//!                      ▼                      ▼
//!                  nothing taken       settle: what was used is spent, the rest is free again
//! ```

mod book;
mod bucket;
mod calendar;
mod changes;
mod remembered;
mod sheet;
mod standing;

pub use book::{Book, Bounds, Held, Settled};
pub use calendar::{day, first_of_month};
pub use changes::Changed;
pub use remembered::{REMEMBERED, Remembered};
pub use sheet::{MAX_ROWS, Row, Sheet};
pub use standing::Standing;

#[cfg(test)]
mod tests;
