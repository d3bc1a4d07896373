//! `znn check`.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use znn::conv::{Choice, Method};
use znn::network::spec;
use znn::train::{Derivative, check, natural_loss};
use znn::{Engine, EngineOptions, Extent};

use super::{CommandResult, Outcome, print, warn};

/// Compare the gradients of a network with finite differences.
///
/// Random weights, input and target are drawn. For each group of parameters and each way of computing convolutions,
/// the derivative of the loss by the backward pass is compared with a difference of losses; the command fails where
/// one is off.
#[derive(Args)]
pub struct CheckArgs {
    /// The network description.
    #[arg(long, value_name = "FILE")]
    net: PathBuf,
    /// The output patch, in voxels.
    #[arg(long, value_name = "Z,Y,X", default_value = "1,2,3")]
    output_size: Extent,
    /// The seed of weights, input and target.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Gradients are off.
#[derive(Debug, thiserror::Error)]
#[error("{wrong} of {all} gradients differ from finite differences by more than {tolerance}",
    tolerance = Derivative::TOLERANCE)]
struct WrongGradients {
    wrong: usize,
    all: usize,
}

/// Runs `znn check`.
pub fn run(args: &CheckArgs) -> CommandResult {
    let parsed = spec::read(&args.net)?;
    parsed.warnings.iter().for_each(warn);
    let network = Arc::new(parsed.network);
    let engine = Engine::new(&EngineOptions::default())?;
    let loss = natural_loss(&network);
    let (mut wrong, mut all) = (0, 0);
    for method in Method::ALL {
        let choice = Choice::Fixed(method);
        let found = check(&engine, &network, args.output_size, loss, choice, args.seed)?;
        print(&table(method, &found))?;
        all += found.len();
        wrong += found.iter().filter(|derivative| !derivative.is_right()).count();
    }
    if wrong > 0 {
        return Err(WrongGradients { wrong, all }.into());
    }
    print(&format!("all {all} gradients are right\n"))?;
    Ok(Outcome::Done)
}

/// The derivatives, a line each.
fn table(method: Method, derivatives: &[Derivative]) -> String {
    let width = derivatives.iter().map(|derivative| derivative.group.len()).max().unwrap_or(0);
    let mut text = format!("convolutions: {method}\n");
    for Derivative { group, parameters, backward, difference, error } in derivatives {
        let _ = writeln!(
            text,
            "  {group:width$} {parameters:>9} parameters  backward {backward:>12.5e}  \
             difference {difference:>12.5e}  error {error:.1e}"
        );
    }
    text
}
