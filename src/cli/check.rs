//! `znn check`.

use std::path::PathBuf;

use clap::Args;
use znn::train::report::Verbosity;
use znn::volume::Extent;

use super::CommandResult;

/// Compare the gradients of a network with finite differences.
///
/// Random weights, input and target are drawn; the command fails where a gradient is off.
#[derive(Args)]
pub struct CheckArgs {
    /// The network description.
    #[arg(long, value_name = "FILE.znn")]
    net: PathBuf,
    /// The output patch, in voxels.
    #[arg(long, value_name = "Z,Y,X", default_value = "1,2,3")]
    output_size: Extent,
    /// The seed of weights, input and target.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs `znn check`.
pub fn run(args: &CheckArgs, _verbosity: Verbosity) -> CommandResult {
    let CheckArgs { net, output_size, seed } = args;
    Err(format!("this build has no gradient check: {net:?} {output_size} {seed}").into())
}
