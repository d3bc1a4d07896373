//! `znn bench`: figures of this machine, and of the engine on it.

mod conv;
mod passes;
mod peak;
mod pool;
mod scaling;
mod torch;
mod trace_report;

use std::error::Error;
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CommandResult, print};

/// What to measure.
#[derive(Subcommand)]
pub enum BenchCommand {
    Peak(peak::PeakArgs),
    Conv(conv::ConvArgs),
    Passes(passes::PassesArgs),
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
        BenchCommand::Pool(args) => pool::run(args),
        BenchCommand::Scaling(args) => scaling::run(args),
        BenchCommand::TraceReport(args) => trace_report::run(args),
    }
}

/// The cases of `file`, or else those that are built in, and where they come from.
fn read_table<T: DeserializeOwned>(
    file: Option<&Path>,
    built_in: &str,
    name: &str,
) -> Result<(T, String), Box<dyn Error>> {
    let (text, place) = match file {
        Some(path) => {
            let place = path.display().to_string();
            (std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?, place)
        }
        None => (built_in.to_owned(), name.to_owned()),
    };
    let table = toml::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
    Ok((table, place))
}

/// Writes figures as an array of JSON objects.
fn write_json(path: &Path, figures: &[impl Serialize]) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string_pretty(figures)?;
    Ok(std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Prints the geometric mean of the ratios to a rival, where there are any.
fn print_mean(ratios: &[f64]) -> std::io::Result<()> {
    if ratios.is_empty() {
        return Ok(());
    }
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    print(&format!("geometric mean of the ratios {mean:.2}\n"))
}
