//! `znn convert`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use znn::network::hdf5_file::{self, Contents, Layout, Rates, Statistics};
use znn::network::model_file::{self, ModelFile, ModelFileError};
use znn::network::spec;
use znn::network::weights_file::{self, Model};
use znn::train::job::{Job, JobError, cfg};
use znn::train::{FileNames, notes};

use super::{CommandResult, Outcome, warn};

/// Convert networks and jobs between the formats of the original ZNN and those of this program.
///
/// A network becomes HDF5 where --to ends in .h5, else safetensors; weights, momentum and the statistics of the training
/// are kept. A job (.cfg) becomes TOML. A network's description becomes text (.znn) or TOML.
#[derive(Args)]
#[command(after_help = "Examples:
  znn convert net_current.h5 model.safetensors
  znn convert run net_current.h5 --layout single
  znn convert job.cfg job.toml
  znn convert net.znn net.toml")]
pub struct ConvertArgs {
    /// A network (.h5, .safetensors, or the folder of a run), its description (.znn, .toml) or a job (.cfg).
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The file to write.
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Where the network is in an HDF5 file: in the root, or with the statistics in a single one.
    #[arg(long, value_name = "NAME", default_value = "root")]
    layout: Layout,
}

/// What is asked for is no conversion.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot convert {} to {}: expected a network (.h5, .safetensors) to .h5 or .safetensors, \
     a description (.znn, .toml) to .znn or .toml, or a job (.cfg) to .toml",
    from.display(), to.display()
)]
struct NoConversion {
    from: PathBuf,
    to: PathBuf,
}

/// The note of a weights file that holds the statistics of an HDF5 file.
const STATISTICS: &str = "statistics";

/// Runs `znn convert`.
pub fn run(args: &ConvertArgs) -> CommandResult {
    let extension = args.to.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let refused = || NoConversion { from: args.from.clone(), to: args.to.clone() };
    if cfg::is_cfg(&args.from) {
        if extension != "toml" {
            return Err(refused().into());
        }
        convert_job(&args.from, &args.to)?;
        return Ok(Outcome::Done);
    }
    if let "znn" | "toml" = extension {
        let is_spec = spec::is_toml(&args.from) || args.from.extension().is_some_and(|end| end == "znn");
        if !is_spec {
            return Err(refused().into());
        }
        convert_spec(&args.from, &args.to)?;
        return Ok(Outcome::Done);
    }
    let from = if args.from.is_dir() { args.from.join(FileNames::MODEL) } else { args.from.clone() };
    match extension {
        "h5" | "hdf5" => to_hdf5(&from, &args.to, args.layout)?,
        "safetensors" => to_safetensors(&from, &args.to)?,
        _ => return Err(refused().into()),
    }
    Ok(Outcome::Done)
}

fn convert_job(from: &Path, to: &Path) -> Result<(), JobError> {
    let training = cfg::read_training(from)?;
    training.warnings.iter().for_each(warn);
    Job::from_layers(&[training.layer])?.write(to)
}

fn convert_spec(from: &Path, to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let parsed = spec::read(from)?;
    parsed.warnings.iter().for_each(warn);
    let network = &parsed.network;
    let text = if spec::is_toml(to) { spec::to_toml(network) } else { network.to_string() };
    std::fs::write(to, text).map_err(|error| format!("{}: {error}", to.display()).into())
}

fn load(path: &Path) -> Result<ModelFile, ModelFileError> {
    let file = model_file::load(path)?;
    file.warnings.iter().for_each(warn);
    Ok(file)
}

fn to_safetensors(from: &Path, to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let ModelFile { model, statistics, .. } = load(from)?;
    let Model { network, parameters, mut notes } = model;
    if let Some(statistics) = statistics {
        notes.extend([
            (notes::ITERATION.to_owned(), statistics.iteration().to_string()),
            (notes::SECONDS.to_owned(), statistics.elapsed.to_string()),
            (STATISTICS.to_owned(), serde_json::to_string(&statistics)?),
        ]);
    }
    Ok(weights_file::save(to, &network, &parameters, &notes, true)?)
}

fn to_hdf5(from: &Path, to: &Path, layout: Layout) -> Result<(), Box<dyn std::error::Error>> {
    let ModelFile { model, statistics, .. } = load(from)?;
    let statistics = match statistics {
        Some(statistics) => Some(statistics),
        None => noted_statistics(&model.notes, from)?,
    };
    let contents = Contents {
        network: &model.network,
        parameters: &model.parameters,
        rates: Rates::default(),
        statistics: statistics.as_ref(),
    };
    Ok(hdf5_file::save(to, &contents, layout)?)
}

/// The statistics in the notes of a weights file, or else of the run in whose folder it is.
fn noted_statistics(
    notes: &BTreeMap<String, String>,
    file: &Path,
) -> Result<Option<Statistics>, Box<dyn std::error::Error>> {
    if let Some(text) = notes.get(STATISTICS) {
        return Ok(Some(serde_json::from_str(text)?));
    }
    let number = |note| notes.get(note).and_then(|text| text.parse::<f64>().ok());
    let Some(iteration) = number(notes::ITERATION) else { return Ok(None) };
    let folder = file.parent().unwrap_or(Path::new(""));
    let seconds = number(notes::SECONDS).unwrap_or(0.0);
    Ok(Some(znn::train::statistics(folder, iteration as u64, seconds)?))
}
