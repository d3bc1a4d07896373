//! `znn bench`: figures of this machine, and of the engine on it.

mod conv;
mod peak;
mod pool;
mod scaling;
mod torch;
mod trace_report;

use clap::Subcommand;

use super::CommandResult;

/// What to measure.
#[derive(Subcommand)]
pub enum BenchCommand {
    Peak(peak::PeakArgs),
    Conv(conv::ConvArgs),
    Pool(pool::PoolArgs),
    Scaling(scaling::ScalingArgs),
    TraceReport(trace_report::TraceReportArgs),
}

/// Runs `znn bench`.
pub fn run(command: &BenchCommand) -> CommandResult {
    match command {
        BenchCommand::Peak(args) => peak::run(args),
        BenchCommand::Conv(args) => conv::run(args),
        BenchCommand::Pool(args) => pool::run(args),
        BenchCommand::Scaling(args) => scaling::run(args),
        BenchCommand::TraceReport(args) => trace_report::run(args),
    }
}
