//! What the workers did, as a file and as a table.
//!
//! A pool records what its workers do ([`PoolOptions::events`](crate::pool::PoolOptions::events));
//! [`TraceFile`] is the file of it, in the JSON form that Chrome (`chrome://tracing`) and Perfetto show; [`Report`] sums
//! one up: who was busy, idle or stealing, where the time went, and how long the longest chain of tasks is.
//!
//! ```
//! use znn::trace::{EVENTS, Report, TraceFile};
//! use znn::{Conv3d, Conv3dOptions, Engine, EngineOptions, Extent, Problem};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = EngineOptions { threads: Some(1), events: Some(EVENTS), ..Default::default() };
//! let engine = Engine::new(&options)?;
//! let problem = Problem::valid(1, 1, Extent::new(8, 8, 8), Extent::new(3, 3, 3), Extent::ONE);
//! let mut conv = Conv3d::new(&engine, problem, &Conv3dOptions::default())?;
//! conv.forward(&[1.0; 512], &[1.0; 27], None, &mut [0.0; 216])?;
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("trace.json");
//! engine.trace().expect("it is recorded").write(&path)?;
//! println!("{}", Report::new(&TraceFile::read(&path)?));
//! # Ok(())
//! # }
//! ```

mod file;
mod report;

pub use file::{TraceError, TraceFile};
pub use report::Report;

/// The events of each worker that are kept where a trace is asked for: the last ones of a long run.
pub const EVENTS: usize = 1 << 17;
