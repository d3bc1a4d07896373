//! `znn train`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use toml::{Table, Value};
use znn::Extent;
use znn::trace;
use znn::train::job::{Change, Job, JobError, cfg};
use znn::train::report::metrics::{Phase, Record};
use znn::train::report::{FileNames as ReportFiles, Reporter, ReporterOptions, Verbosity};
use znn::train::{End, FileNames, Start, Trainer};

use super::interrupt::Interrupt;
use super::{CommandResult, Outcome};

/// Train a network, or go on with its training.
///
/// The folder --out receives the checkpoints, metrics.jsonl (and the same for TensorBoard), curve.png, preview.png and
/// job.toml. Ctrl-C saves a
/// checkpoint and stops; a second Ctrl-C stops at once.
#[derive(Args, Serialize)]
#[command(after_help = "Examples:
  znn train --demo
  znn train --net a.znn --images raw.tif --labels cells.tif --output-size 1,64,64 --out run
  znn train job.toml --eta 0.005
  znn train original.cfg
  znn train --resume --out run --iterations 20000")]
#[serde(rename_all = "kebab-case")]
pub struct TrainArgs {
    /// The same as --job.
    #[arg(value_name = "JOB", conflicts_with = "job")]
    #[serde(skip)]
    file: Option<PathBuf>,
    /// Read the options from a TOML file, whose keys are the names of the flags and whose paths are relative to its
    /// folder, or from a job file of the original ZNN (.cfg), which also goes on with its run; flags override it.
    #[arg(long, value_name = "FILE", help_heading = "What to train")]
    #[serde(skip)]
    job: Option<PathBuf>,
    /// Go on with the run in the folder --out, from its last checkpoint and with its options; flags override them.
    #[arg(long, help_heading = "What to train")]
    #[serde(skip)]
    resume: bool,
    /// Replace an earlier run in the folder --out.
    #[arg(long, conflicts_with = "resume", help_heading = "What to train")]
    #[serde(skip)]
    overwrite: bool,
    /// Train on a built-in synthetic volume of cells, with a built-in network unless --net is given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "What to train")]
    demo: Option<bool>,
    /// The network description.
    #[arg(long, value_name = "FILE", help_heading = "What to train")]
    net: Option<PathBuf>,
    /// Start from the weights of this model (.safetensors or .h5), in groups of the same name and shape.
    #[arg(long, value_name = "FILE", help_heading = "What to train")]
    weights: Option<PathBuf>,
    /// The folder of the run.
    #[arg(long, value_name = "DIR", help_heading = "What to train")]
    out: Option<PathBuf>,

    /// The training images, one file for each volume: TIFF, HDF5, Zarr, N5, NIfTI, NPY or raw
    /// (docs/volumes.md).
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    images: Option<Vec<PathBuf>>,
    /// The labels of the training images, of the same size: 0 is boundary, anything else the inside of a cell (for
    /// --target affinity, the number of the cell).
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    labels: Option<Vec<PathBuf>>,
    /// Which voxels of the labels count: those that are not 0. An empty name is all.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    masks: Option<Vec<PathBuf>>,
    /// The validation images.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    val_images: Option<Vec<PathBuf>>,
    /// The labels of the validation images.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    val_labels: Option<Vec<PathBuf>>,
    /// Let images have other sizes than their labels: their centres coincide.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Data")]
    centred: Option<bool>,
    /// The output patch of one iteration, in voxels.
    #[arg(long, value_name = "Z,Y,X", help_heading = "Data")]
    output_size: Option<Extent>,
    /// How the values of images are normalised: to mean 0 and standard deviation 1 in each section (standard2d) or
    /// in the whole volume (standard3d), to -1..1, or not at all.
    #[arg(long, value_name = "MODE", value_parser = ["standard2d", "standard3d", "symmetric_rescale", "none"],
        help_heading = "Data")]
    preprocess: Option<String>,
    /// What the network learns from the labels: boundary for 1 or 2 output maps, affinity for 3, semantic for a map for each
    /// class, raw for 1.
    #[arg(long, value_name = "KIND", value_parser = ["boundary", "affinity", "semantic", "raw"], help_heading = "Data")]
    target: Option<String>,
    /// The classes of the target semantic, whose numbers, from 0, the labels are; as many as the network has output maps.
    #[arg(long, value_name = "N", help_heading = "Data")]
    classes: Option<u64>,
    /// The factors of the classes in the gradient: none, balanced (the same as --rebalance global) or one number for each,
    /// such as 1,2,0.5; of boundary and affinity the classes are what is 0 and what is not.
    #[arg(long, value_name = "LIST", help_heading = "Data")]
    class_weights: Option<String>,
    /// Weigh the two classes by their frequency in the whole volume or in each patch.
    #[arg(long, value_name = "MODE", value_parser = ["none", "global", "patch"], help_heading = "Data")]
    rebalance: Option<String>,
    /// Flip patches along z, y and x and exchange x and y, at random.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Data")]
    augment: Option<bool>,
    /// The same as --augment=false.
    #[arg(long, conflicts_with = "augment", help_heading = "Data")]
    #[serde(skip)]
    no_augment: bool,
    /// Mirror the images at their border, so that the network learns from every label.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Data")]
    mirror: Option<bool>,

    /// Rotate patches in the plane of sections by a random angle of up to so many degrees to either side.
    #[arg(long, value_name = "DEGREES", help_heading = "Augmentation (see them with znn preview)")]
    rotate: Option<f64>,
    /// Make images brighter or darker by up to so much, in standard deviations where --preprocess made that their unit; half
    /// of the time each section by itself.
    #[arg(long, value_name = "AMOUNT", help_heading = "Augmentation (see them with znn preview)")]
    brightness: Option<f64>,
    /// Multiply images by a factor of up to so much from 1; half of the time each section by its own.
    #[arg(long, value_name = "FRACTION", help_heading = "Augmentation (see them with znn preview)")]
    contrast: Option<f64>,
    /// Replace sections by their mean, with this probability for each; not where a network sees a single section.
    #[arg(long, value_name = "PROBABILITY", help_heading = "Augmentation (see them with znn preview)")]
    missing_section: Option<f64>,
    /// In every second patch, displace a section of the image, or all from one on with their labels, by up to so many
    /// voxels.
    #[arg(long, value_name = "VOXELS", help_heading = "Augmentation (see them with znn preview)")]
    misalign: Option<f64>,
    /// In every second patch, blur some sections by a Gaussian of a standard deviation of up to so many voxels.
    #[arg(long, value_name = "VOXELS", help_heading = "Augmentation (see them with znn preview)")]
    blur: Option<f64>,

    /// The loss; auto is softmax for boundary in 2 output maps and for semantic, binomial-cross-entropy for affinity, square for 1
    /// output map.
    #[arg(long, value_name = "LOSS",
        value_parser = ["auto", "square", "square-square", "binomial-cross-entropy", "softmax"],
        help_heading = "Learning")]
    loss: Option<String>,
    /// Weigh the gradients of affinities by what they decide for the segmentation (MALIS): pairs of voxels; these by the sizes
    /// of their segments (frac), the number of voxels (num) or of pairs (pair); or constrained by the truth.
    #[arg(long, value_name = "MODE", value_parser = ["off", "pairs", "frac", "num", "pair", "constrained"],
        help_heading = "Learning")]
    malis: Option<String>,
    /// The learning rate at the start.
    #[arg(long, value_name = "RATE", help_heading = "Learning")]
    eta: Option<f64>,
    /// How much of the previous step is kept, from 0 to below 1; of no effect with adam and adamw, see --beta1.
    #[arg(long, value_name = "FRACTION", help_heading = "Learning")]
    momentum: Option<f64>,
    /// The decay of the weights towards 0 in each iteration, in units of eta.
    #[arg(long, value_name = "FRACTION", help_heading = "Learning")]
    weight_decay: Option<f64>,
    /// Let eta, momentum and weight_decay that the network's file gives to a group replace those of the job.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Learning")]
    group_rates: Option<bool>,
    /// How weights follow their gradients: gradient descent with momentum, Adam, or Adam with the weight decay apart from the
    /// gradient.
    #[arg(long, value_name = "NAME", value_parser = ["sgd", "adam", "adamw"], help_heading = "Learning")]
    optimiser: Option<String>,
    /// Let gradient descent look ahead by its momentum.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Learning")]
    nesterov: Option<bool>,
    /// The part of the mean gradient that Adam keeps in each iteration, from 0 to below 1.
    #[arg(long, value_name = "FRACTION", help_heading = "Learning")]
    beta1: Option<f64>,
    /// The part of the mean squared gradient that Adam keeps in each iteration, from 0 to below 1.
    #[arg(long, value_name = "FRACTION", help_heading = "Learning")]
    beta2: Option<f64>,
    /// What Adam adds to the root of the mean squared gradient, above 0.
    #[arg(long, value_name = "NUMBER", help_heading = "Learning")]
    epsilon: Option<f64>,
    /// The patches whose gradients are averaged in each iteration. They run one after another, in the memory of one.
    #[arg(long, value_name = "N", help_heading = "Learning")]
    batch: Option<u64>,
    /// Shorten the gradients of an iteration, all together, to this norm where they are longer.
    #[arg(long, value_name = "NORM", help_heading = "Learning")]
    clip_norm: Option<f64>,
    /// Bring each value of the gradients of an iteration within minus this and this.
    #[arg(long, value_name = "BOUND", help_heading = "Learning")]
    clip_value: Option<f64>,
    /// How the learning rate falls: step multiplies it by --anneal-factor every --anneal-every iterations, exponential
    /// does so a little in each iteration, plateau when the validation loss has not fallen --patience times; linear,
    /// polynomial and cosine reach 0 at --iterations.
    #[arg(long, value_name = "KIND", help_heading = "Learning",
        value_parser = ["constant", "step", "exponential", "linear", "polynomial", "cosine", "plateau"])]
    schedule: Option<String>,
    /// The factor of the learning rate at each step, above 0 and at most 1.
    #[arg(long, value_name = "FACTOR", help_heading = "Learning")]
    anneal_factor: Option<f64>,
    /// The iterations between two steps.
    #[arg(long, value_name = "N", help_heading = "Learning")]
    anneal_every: Option<u64>,
    /// The power of the schedule polynomial, above 0.
    #[arg(long, value_name = "NUMBER", help_heading = "Learning")]
    power: Option<f64>,
    /// The validations without a lower loss before a step of the schedule plateau.
    #[arg(long, value_name = "N", help_heading = "Learning")]
    patience: Option<u64>,
    /// The iterations at the start in which the learning rate rises to that of the schedule.
    #[arg(long, value_name = "N", help_heading = "Learning")]
    warmup: Option<u64>,
    /// The iterations (updates of the weights, after --batch patches each) of the whole run.
    #[arg(long, value_name = "N", help_heading = "Learning")]
    iterations: Option<u64>,
    /// Stop in order after this many seconds, whatever the iteration.
    #[arg(long, value_name = "SECONDS", help_heading = "Learning")]
    time_limit: Option<f64>,
    /// The seed of weights, sampling, augmentation, dropout and the synthetic volume.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64),
        help_heading = "Learning")]
    seed: Option<u64>,

    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", help_heading = "Machine")]
    threads: Option<usize>,
    /// How convolutions are computed; auto measures which is fastest for each layer, estimate asks a model.
    #[arg(long, value_name = "NAME", value_parser = ["auto", "estimate", "direct", "fft", "winograd"],
        help_heading = "Machine")]
    algorithm: Option<String>,
    /// How exact convolutions are; fast admits larger Winograd tiles.
    #[arg(long, value_name = "NAME", value_parser = ["standard", "fast"], help_heading = "Machine")]
    accuracy: Option<String>,
    /// The memory that one convolution layer may take for spectra, in bytes or with a unit K, M, G or T of 1024.
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    workspace: Option<String>,
    /// The file that keeps which algorithms measured fastest: none, or auto for znn/tuning.jsonl in the user's cache folder.
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    tuning: Option<String>,
    /// Give the same bits whatever the number of threads, at some cost in speed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Machine")]
    deterministic: Option<bool>,
    /// The instruction set; auto is the widest of the machine.
    #[arg(long, value_name = "TIER", value_parser = ["auto", "scalar", "avx2", "avx512f"],
        help_heading = "Machine")]
    isa: Option<String>,
    /// Write what each thread did, of a long run the last of it, as a trace for Perfetto, chrome://tracing and
    /// znn bench trace-report.
    #[arg(long, value_name = "FILE.json", help_heading = "Machine")]
    #[serde(skip)]
    trace: Option<PathBuf>,

    /// The iterations between two lines of metrics.jsonl.
    #[arg(long, value_name = "N", help_heading = "Reports")]
    report_every: Option<u64>,
    /// The iterations between two validations.
    #[arg(long, value_name = "N", help_heading = "Reports")]
    validate_every: Option<u64>,
    /// The patches of one validation.
    #[arg(long, value_name = "N", help_heading = "Reports")]
    validate_patches: Option<u64>,
    /// The iterations between two checkpoints.
    #[arg(long, value_name = "N", help_heading = "Reports")]
    checkpoint_every: Option<u64>,
    /// Also write each checkpoint as PREFIX_ITERATION.h5 and PREFIX_current.h5, in the original ZNN's format.
    #[arg(long, value_name = "PREFIX", help_heading = "Reports")]
    hdf5: Option<PathBuf>,
    /// Where the network is in these files: in the root, or with the statistics in a single one.
    #[arg(long, value_name = "NAME", value_parser = ["root", "single"], help_heading = "Reports")]
    hdf5_layout: Option<String>,
}

/// The help texts of `command` with the defaults of [`Job`], which are written nowhere else.
pub fn with_defaults(command: clap::Command) -> clap::Command {
    let (default, demo) = (Job::default().to_table(), Job::demo().to_table());
    command.mut_args(|argument| {
        let key = argument.get_long().unwrap_or_default();
        let note = match (default.get(key), demo.get(key)) {
            _ if key == "demo" => return argument,
            (Some(usual), Some(demo)) if usual != demo => {
                format!("{}, in the demo {}", show(usual), show(demo))
            }
            (Some(usual), _) => show(usual),
            (None, Some(demo)) => format!("none, in the demo {}", show(demo)),
            (None, None) => return argument,
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        argument.help(format!("{help} [default: {note}]"))
    })
}

/// A value as it is written on the command line.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        // Without the `.0` that TOML needs.
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

impl TrainArgs {
    /// The options that are given, with the keys of a job.
    fn layer(&self) -> Result<Table, JobError> {
        let mut table = Table::try_from(self).map_err(|error| JobError::Layers(error.to_string()))?;
        if self.no_augment {
            table.insert("augment".to_owned(), Value::Boolean(false));
        }
        Ok(table)
    }
}

/// What to do, after all sources of options have been read.
#[derive(Debug)]
struct Prepared {
    job: Job,
    /// What differs from the run that is resumed; empty for a new run.
    changes: Vec<Change>,
    start: Start,
    /// The checkpoint of the original system that the run goes on from, when it is not yet in the folder.
    import: Option<PathBuf>,
    warnings: Vec<String>,
}

/// The folder cannot hold the run.
#[derive(Debug, thiserror::Error)]
enum FolderError {
    #[error("{} holds a run already: go on with it (--resume), replace it (--overwrite) or choose another --out",
        .0.display())]
    Occupied(PathBuf),
    #[error("{} holds no run to resume: {} is missing; start one without --resume", .0.display(), FileNames::JOB)]
    Empty(PathBuf),
    #[error("{}: cannot remove the file of the earlier run", path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// Reads all sources of options and checks them; changes nothing on the disk.
fn prepare(args: &TrainArgs) -> Result<Prepared, Box<dyn Error>> {
    let mut layers = Vec::new();
    let (mut warnings, mut current) = (Vec::new(), None);
    let mut goes_on = args.resume;
    if let Some(path) = args.file.as_ref().or(args.job.as_ref()) {
        let job = cfg::read_layer(path)?;
        layers.push(job.layer);
        warnings.extend(job.warnings.iter().map(ToString::to_string));
        current = job.current.filter(|current| current.exists());
        // As the original does, without being asked.
        goes_on |= cfg::is_cfg(path) && !args.overwrite;
    }
    layers.push(args.layer()?);
    let folder = layers.iter().rev().find_map(|layer| layer.get("out")?.as_str());
    let folder = folder.map_or(Job::default().out, PathBuf::from);
    let stored = folder.join(FileNames::JOB);
    let new = |start, import, warnings| -> Result<Prepared, Box<dyn Error>> {
        let job = Job::from_layers(&layers)?;
        Ok(Prepared { job, changes: Vec::new(), start, import, warnings })
    };
    match (goes_on, stored.exists(), current) {
        (true, true, _) => {}
        (true, false, Some(current)) => return new(Start::Resume, Some(current), warnings),
        (true, false, None) if args.resume => return Err(FolderError::Empty(folder).into()),
        (true, false, None) => return new(Start::New, None, warnings),
        (false, true, _) if !args.overwrite => return Err(FolderError::Occupied(folder).into()),
        (false, ..) => {
            let start = if args.overwrite { Start::Overwrite } else { Start::New };
            return new(start, None, warnings);
        }
    }
    let stored = Job::read_layer(&stored)?;
    let before = Job::from_layers(std::slice::from_ref(&stored))?;
    layers.insert(0, stored);
    let job = Job { out: folder, ..Job::from_layers(&layers)? };
    Ok(Prepared { changes: before.changes(&job), job, start: Start::Resume, import: None, warnings })
}

/// Removes what an earlier run left in `folder`.
fn remove_run(folder: &Path) -> Result<(), FolderError> {
    let reports = [ReportFiles::METRICS, ReportFiles::EVENTS, ReportFiles::CURVE, ReportFiles::PREVIEW];
    for name in [FileNames::MODEL, FileNames::JOB, FileNames::STOPPED].into_iter().chain(reports) {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(FolderError::Remove { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs `znn train`.
pub fn run(args: &TrainArgs, verbosity: Verbosity) -> CommandResult {
    let Prepared { job, changes, start, import, mut warnings } = prepare(args)?;
    let interrupt = Interrupt::install()?;
    if let Some(checkpoint) = &import {
        warnings.extend(znn::train::import(&job, checkpoint)?);
    }
    let mut trainer = Trainer::new(job.clone(), start, args.trace.is_some().then_some(trace::EVENTS))?;
    // Not before the new run is known to be able to start.
    if start == Start::Overwrite {
        remove_run(&job.out)?;
    }
    let options = ReporterOptions {
        iterations: job.iterations,
        report_every: job.report_every,
        time_limit: job.time_limit.map(Duration::from_secs_f64),
        verbosity,
    };
    let mut reporter = match start == Start::Resume {
        true => Reporter::resume(&job.out, options, trainer.iteration())?,
        false => Reporter::create(&job.out, options)?,
    };
    for warning in warnings.iter().chain(trainer.warnings()) {
        reporter.say(&format!("warning: {warning}"));
    }
    if start == Start::Resume {
        reporter.say(&format!("going on after iteration {}", trainer.iteration()));
    }
    for change in &changes {
        reporter.say(&format!("changed since the run was started: {change}"));
    }
    if verbosity == Verbosity::Verbose {
        reporter
            .say(&format!("memory of an iteration: {:.1} MiB", trainer.bytes() as f64 / f64::from(1 << 20)));
    }
    let end = trainer.run(&mut reporter, interrupt.flag())?;
    if let (Some(path), Some(trace)) = (&args.trace, trainer.trace()) {
        trace.write(path)?;
    }
    reporter.say(&summary(end, trainer.iteration(), reporter.records(), &job.out));
    Ok(match end {
        End::Stopped => Outcome::Stopped { signal: interrupt.signal() },
        End::Done | End::TimeLimit => Outcome::Done,
    })
}

/// How the run ended, what it reached, and where to find it.
fn summary(end: End, iteration: u64, records: &[Record], out: &Path) -> String {
    let mut text = match end {
        End::Done => format!("done after {iteration} iterations"),
        End::TimeLimit => format!("time limit reached after {iteration} iterations"),
        End::Stopped => format!("stopped after {iteration} iterations"),
    };
    if let Some(last) = records.iter().rev().find(|record| record.phase == Phase::Validation) {
        text.push_str(&format!(", validation pixel error {:.4}", last.pixel_error));
        if let Some(constant) = last.constant_error {
            text.push_str(&format!(" (constant prediction {constant:.4})"));
        }
    }
    text.push_str(&format!("; see {}", out.display()));
    if end == End::Stopped {
        text.push_str(&format!("\ngo on with: znn train --resume --out {}", out.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};

    use super::*;

    #[derive(Subcommand)]
    enum Only {
        Train(Box<TrainArgs>),
    }

    fn arguments(text: &str) -> TrainArgs {
        let command = Only::augment_subcommands(clap::Command::new("znn"));
        let matches = command.try_get_matches_from(format!("znn train {text}").split_whitespace()).unwrap();
        let Only::Train(args) = Only::from_arg_matches(&matches).unwrap();
        *args
    }

    fn command() -> clap::Command {
        TrainArgs::augment_args(clap::Command::new("train"))
    }

    #[test]
    fn flags_and_keys_are_the_same_with_the_same_values() {
        let mut flags: Vec<String> = command()
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .filter(|flag| !["job", "resume", "overwrite", "no-augment", "trace"].contains(&flag.as_str()))
            .collect();
        let path = || Some(PathBuf::from("a"));
        let paths = || vec![PathBuf::from("a")];
        let everything = Job {
            net: path(),
            weights: path(),
            images: paths(),
            labels: paths(),
            masks: paths(),
            val_images: paths(),
            val_labels: paths(),
            hdf5: path(),
            time_limit: Some(1.0),
            clip_norm: Some(1.0),
            classes: Some(2),
            clip_value: Some(1.0),
            ..Job::default()
        };
        let mut keys: Vec<String> = everything.to_table().keys().cloned().collect();
        flags.sort();
        keys.sort();
        assert_eq!(flags, keys);
        for argument in command().get_arguments() {
            for value in argument.get_possible_values() {
                let (key, name) = (argument.get_long().unwrap(), value.get_name());
                if keys.iter().any(|known| known == key) && !["true", "false"].contains(&name) {
                    let mut table = Job::default().to_table();
                    table.insert(key.to_owned(), Value::String(name.to_owned()));
                    table.try_into::<Job>().unwrap();
                }
            }
        }
    }

    #[test]
    fn help_texts_have_the_defaults() {
        let command = with_defaults(command());
        let help = |flag: &str| {
            let mut arguments = command.get_arguments();
            arguments
                .find(|argument| argument.get_long() == Some(flag))
                .unwrap()
                .get_help()
                .unwrap()
                .to_string()
        };
        let default = Job::default();
        assert!(help("anneal-every").ends_with(&format!("[default: {}]", default.anneal_every)));
        assert!(help("target").ends_with("[default: boundary]"));
        assert!(help("eta").ends_with(&format!(
            "[default: {}, in the demo {}]",
            default.eta,
            Job::demo().eta
        )));
        assert!(help("output-size").contains(&format!("[default: {}", default.output_size)));
        assert!(!help("net").contains("default"));
    }

    #[test]
    fn flags_override_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("job.toml");
        std::fs::write(&file, "demo = true\neta = 0.5\nseed = 7\naugment = true\nout = 'run'\n").unwrap();
        let args =
            arguments(&format!("--job {} --eta 0.25 --no-augment --output-size 1,8,8", file.display()));
        let Prepared { job, changes, .. } = prepare(&args).unwrap();
        assert_eq!((job.eta, job.seed, job.augment, job.demo), (0.25, 7, false, true));
        assert_eq!(job.output_size, Extent::new(1, 8, 8));
        assert_eq!(job.out, folder.path().join("run"));
        assert!(changes.is_empty());
        let args = arguments(&format!("--job {} --demo=false --net a --images b --labels c", file.display()));
        assert!(!prepare(&args).unwrap().job.demo);
    }

    #[test]
    fn resuming_takes_the_stored_job_and_reports_what_changed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let args = arguments(&format!("--demo --seed 5 --out {}", out.display()));
        let first = prepare(&args).unwrap().job;
        std::fs::create_dir(&out).unwrap();
        first.write(&out.join(FileNames::JOB)).unwrap();

        let error = prepare(&args).unwrap_err().to_string();
        assert!(error.ends_with("(--overwrite) or choose another --out"), "{error}");
        prepare(&arguments(&format!("--demo --overwrite --out {}", out.display()))).unwrap();

        let same = prepare(&arguments(&format!("--resume --out {}", out.display()))).unwrap();
        assert_eq!((&same.job, same.changes.len()), (&first, 0));
        let args = arguments(&format!("--resume --iterations 9 --threads 3 --out {}", out.display()));
        let Prepared { job, changes, .. } = prepare(&args).unwrap();
        assert_eq!((job.seed, job.iterations, job.threads), (5, 9, 3));
        let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
        assert_eq!(changes, [format!("iterations: {} -> 9", first.iterations), "threads: 0 -> 3".to_owned()]);

        let moved = folder.path().join("moved");
        std::fs::rename(&out, &moved).unwrap();
        let job = prepare(&arguments(&format!("--resume --out {}", moved.display()))).unwrap().job;
        assert_eq!(job.out, moved, "a run may be moved");
    }

    #[test]
    fn there_must_be_a_run_to_resume() {
        let error = prepare(&arguments("--resume --out /nowhere")).unwrap_err().to_string();
        assert_eq!(error, "/nowhere holds no run to resume: job.toml is missing; start one without --resume");
    }

    #[test]
    fn overwriting_removes_the_run_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["model.safetensors", "job.toml", "metrics.jsonl", "curve.png", "preview.png", "notes.txt"]
        {
            std::fs::write(folder.path().join(name), "old").unwrap();
        }
        remove_run(folder.path()).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
        remove_run(&folder.path().join("absent")).unwrap();
    }

    #[test]
    fn the_summary_says_what_was_reached_and_how_to_go_on() {
        let record = Record {
            iteration: 7,
            phase: Phase::Validation,
            loss: 0.5,
            rand_error: None,
            pixel_error: 0.0912,
            constant_error: Some(0.208),
            eta: 0.01,
            gradient_norm: None,
            batch: 1,
            classes: Vec::new(),
            voxels_per_second: 1.0,
            seconds: 1.0,
        };
        assert_eq!(
            summary(End::Done, 7, &[record], Path::new("run")),
            "done after 7 iterations, validation pixel error 0.0912 (constant prediction 0.2080); see run"
        );
        assert_eq!(
            summary(End::Stopped, 3, &[], Path::new("run")),
            "stopped after 3 iterations; see run\ngo on with: znn train --resume --out run"
        );
    }
}
