//! `znn bench`: figures of this machine, and of the engine on it.

mod child;
mod contest;
mod conv;
mod figures;
mod net;
mod paper;
mod passes;
mod peak;
mod pool;
mod rivals;
mod runner;
mod scaling;
mod side;
mod table;
mod torch;
mod trace_report;

use clap::Subcommand;

use super::CommandResult;

/// What to measure.
#[derive(Subcommand)]
pub enum BenchCommand {
    Peak(peak::PeakArgs),
    Conv(conv::ConvArgs),
    Passes(passes::PassesArgs),
    Net(net::NetArgs),
    /// Time the network that standard input describes, as `net` asks for.
    #[command(hide = true)]
    NetServer,
    Pool(pool::PoolArgs),
    Scaling(scaling::ScalingArgs),
    TraceReport(trace_report::TraceReportArgs),
}

/// Runs `znn bench`.
pub fn run(command: &BenchCommand) -> CommandResult {
    match command {
        BenchCommand::Peak(args) => peak::run(args),
        BenchCommand::Conv(args) => conv::run(args),
        BenchCommand::Passes(args) => passes::run(args),
        BenchCommand::Net(args) => net::run(args),
        BenchCommand::NetServer => net::serve(),
        BenchCommand::Pool(args) => pool::run(args),
        BenchCommand::Scaling(args) => scaling::run(args),
        BenchCommand::TraceReport(args) => trace_report::run(args),
    }
}
