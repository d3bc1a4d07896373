//! `znn bench`: figures of this machine, and of the engine on it.

mod conv;
mod peak;
mod torch;

use clap::Subcommand;

use super::CommandResult;

/// What to measure.
#[derive(Subcommand)]
pub enum BenchCommand {
    Peak(peak::PeakArgs),
    Conv(conv::ConvArgs),
}

/// Runs `znn bench`.
pub fn run(command: &BenchCommand) -> CommandResult {
    match command {
        BenchCommand::Peak(args) => peak::run(args),
        BenchCommand::Conv(args) => conv::run(args),
    }
}

/// The middle of `values`, which are sorted.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
