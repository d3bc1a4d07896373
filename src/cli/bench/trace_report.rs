//! `znn bench trace-report`.

use std::path::PathBuf;

use clap::Args;
use znn::trace::{Report, TraceFile};

use super::super::{CommandResult, Outcome, print};

/// Sum up a trace: who was busy, idle or stealing, the longest chain of tasks, and the time of each layer and pass.
///
/// `estimated` is the planned time of the tasks over the measured one: priorities are as good as these are alike.
#[derive(Args)]
pub struct TraceReportArgs {
    /// The trace, as written by --trace.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs `znn bench trace-report`.
pub fn run(args: &TraceReportArgs) -> CommandResult {
    print(&Report::new(&TraceFile::read(&args.file)?).to_string())?;
    Ok(Outcome::Done)
}
