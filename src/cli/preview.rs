//! `znn preview`.

use std::path::PathBuf;

use clap::Args;
use znn::train;
use znn::train::job::{Job, cfg};

use super::{CommandResult, Outcome, warn};

/// Draw what training would be shown: patches of a job as they are turned and distorted, with their targets.
///
/// A row for each patch: of each input the sections around the middle one, the middle section of each target, and the
/// weights of voxels where these differ. It is exactly what `znn train` takes in these iterations (with --batch 1).
#[derive(Args)]
#[command(after_help = "Examples:
  znn preview job.toml
  znn preview job.cfg --count 8 --out patches.png")]
pub struct PreviewArgs {
    /// The job: a TOML file, such as the job.toml of a run, or a job file of the original ZNN (.cfg).
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// The picture to write.
    #[arg(long, short, value_name = "FILE.png", default_value = "preview.png")]
    out: PathBuf,
    /// How many patches.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=100))]
    count: u64,
    /// The iteration of the first.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 40))]
    first: u64,
}

/// Runs `znn preview`.
pub fn run(args: &PreviewArgs) -> CommandResult {
    let training = cfg::read_layer(&args.job)?;
    training.warnings.iter().for_each(warn);
    let job = Job::from_layers(&[training.layer])?;
    let (picture, warnings) = train::preview(&job, args.first, args.count)?;
    warnings.iter().for_each(warn);
    picture.write_png(&args.out)?;
    Ok(Outcome::Done)
}
