//! What the workers did, as a file and as a table.
//!
//! A pool records what its workers do ([`PoolOptions::events`](crate::pool::PoolOptions::events));
//! [`TraceFile`] is the file of it, in the JSON form that Chrome (`chrome://tracing`) and Perfetto show; [`Report`] sums
//! one up: who was busy, idle or stealing, where the time went, and how long the longest chain of tasks is.

mod file;
mod report;

pub use file::{TraceError, TraceFile};
pub use report::Report;

/// The events of each worker that are kept where a trace is asked for: the last ones of a long run.
pub const EVENTS: usize = 1 << 17;
