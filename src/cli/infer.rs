//! `znn infer`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use znn::conv::Choice;
use znn::data::{DataError, NumberType, Preprocess, check_finite, tiff, volume_file};
use znn::engine::{Engine, EngineError, EngineOptions};
use znn::infer::{Border, DenseOptions, InferError, dense};
use znn::machine::memory::Bytes;
use znn::network::model_file::{self, ModelFileError};
use znn::network::weights_file::Model;
use znn::trace;
use znn::train::job::{JobError, LossKind, cfg};
use znn::train::report::Verbosity;
use znn::train::report::picture::PictureError;
use znn::train::report::preview::{self, Panel};
use znn::train::{FileNames, notes};
use znn::volume::{Extent, Tensor};
use znn_kernels::{Isa, RowsMut};

use super::convolutions::ConvolutionArgs;
use super::interrupt::Interrupt;
use super::{CommandResult, Outcome, print, warn};

/// Run a trained network over a volume of any size.
///
/// The volume is computed in tiles that fit into --memory; but for rounding, the result is the same for any. The output is a
/// TIFF of the input's size, with the input mirrored at its border, or of the valid part (--valid).
#[derive(Args)]
#[command(after_help = "Examples:
  znn infer --model run --input raw.tif --output cells.tif
  znn infer --model run --input raw.tif --output cells.tif --memory 500M --format u8 --preview cells.png
  znn infer original.cfg")]
pub struct InferArgs {
    /// Do what this job file of the original ZNN says: predict its samples, and write each output as HDF5 and TIFF.
    #[arg(value_name = "JOB.cfg", conflicts_with_all = ["input", "output", "valid", "preview", "preprocess"])]
    job: Option<PathBuf>,
    /// The folder of a training run, one of its checkpoints, or a network of the original ZNN (.h5).
    #[arg(long, value_name = "PATH", required_unless_present = "job")]
    model: Option<PathBuf>,
    /// The volume, a multi-page TIFF of 8 or 16 bits or floats, or HDF5 (/main).
    #[arg(long, value_name = "FILE.tif", required_unless_present = "job")]
    input: Option<PathBuf>,
    /// The output volume. Of a network with several maps it gets the first; the others get files numbered 1, 2, ...
    /// before the extension, but for the second of a softmax of two, which is the complement.
    #[arg(long, value_name = "FILE.tif", required_unless_present = "job")]
    output: Option<PathBuf>,
    /// Write only the voxels whose field of view lies in the volume.
    #[arg(long)]
    valid: bool,
    /// The memory for images and workspaces, in bytes or with a unit K, M, G or T of 1024.
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: Bytes,
    /// The output voxels of a tile, in place of the largest that fits into --memory.
    #[arg(long, value_name = "Z,Y,X", conflicts_with = "memory")]
    tile: Option<Extent>,
    /// The numbers of the output: u8 and u16 spread 0..1 over their range.
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Format::F32)]
    format: Format,
    /// Write a picture of input and output, the middle section, as PNG.
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
    /// How the values of the volume are normalised, in place of how it was done in training: standard2d, standard3d,
    /// symmetric_rescale or none.
    #[arg(long, value_name = "MODE")]
    preprocess: Option<Preprocess>,
    /// Worker threads; 0 is one for each core [default: 0]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How convolutions are computed: auto (whichever measures fastest for each layer), estimate (by a model, the same on
    /// every run), direct, fft or winograd [default: auto]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Choice>,
    #[command(flatten)]
    convolutions: ConvolutionArgs,
    /// The instruction set: scalar, avx2 or avx512f [default: the widest of the machine]
    #[arg(long, value_name = "TIER")]
    isa: Option<Isa>,
    /// Write what each thread did, of a long run the last of it, as a trace for Perfetto, chrome://tracing and
    /// znn bench trace-report.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

/// The volume cannot be predicted.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct Unpredicted {
    path: PathBuf,
    source: InferError,
}

/// How a voxel of the output is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    U8,
    U16,
    F32,
}

impl Format {
    /// The type in the file, and the value that stands for 1.
    fn sample(self) -> (NumberType, f32) {
        match self {
            Format::U8 => (NumberType::U8, 255.0),
            Format::U16 => (NumberType::U16, 65535.0),
            Format::F32 => (NumberType::F32, 1.0),
        }
    }
}

/// Runs `znn infer`.
pub fn run(args: &InferArgs, verbosity: Verbosity) -> CommandResult {
    match (&args.job, &args.model, &args.input, &args.output) {
        (Some(job), ..) => run_job(args, job, verbosity),
        (None, Some(model), Some(input), Some(output)) => run_volume(args, model, input, output, verbosity),
        _ => unreachable!("required where there is no job"),
    }
}

/// Predicts the volume of the options.
fn run_volume(
    args: &InferArgs,
    model: &Path,
    input: &Path,
    output: &Path,
    verbosity: Verbosity,
) -> CommandResult {
    let interrupt = Interrupt::install()?;
    let model = load_model(model)?;
    let preprocess = match (args.preprocess, model.notes.get(notes::PREPROCESS)) {
        (Some(given), _) => given,
        (None, Some(trained)) => trained.parse()?,
        (None, None) => Preprocess::default(),
    };
    let volume = read_volume(input, preprocess)?;
    // Whether it can be written is better known now than after hours.
    drop(tiff::Writer::create(output, Extent::ONE, args.format.sample().0)?);
    let engine = engine(args, args.threads.unwrap_or(0))?;
    let options = DenseOptions {
        border: if args.valid { Border::Valid } else { Border::Mirror },
        tile: args.tile,
        memory: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        algorithm: args.algorithm.unwrap_or(Choice::Measure),
    };
    let job = Prediction { engine: &engine, model: &model, input, options, interrupt: &interrupt, verbosity };
    let maps = job.run(&volume)?;
    write_trace(args, &engine)?;
    let Some(maps) = maps else { return Ok(Outcome::Stopped { signal: interrupt.signal() }) };
    let is_softmax = model.notes.get(notes::LOSS).is_some_and(|loss| *loss == LossKind::Softmax.to_string());
    let mut files = Vec::new();
    let mut is_previewed = false;
    for mut maps in maps {
        if is_softmax {
            softmax(&engine, &mut maps);
        }
        let is_complement = is_softmax && maps.channels() == 2;
        for channel in 0..if is_complement { 1 } else { maps.channels() } {
            let path = numbered(output, files.len());
            write_map(&path, &maps, channel, args.format)?;
            files.push(path);
        }
        // After the volume, which took longer to make.
        if !is_previewed {
            preview(args, &volume, &maps)?;
            is_previewed = true;
        }
    }
    list(&files, verbosity)
}

/// Predicts the samples of a job of the original system.
fn run_job(args: &InferArgs, path: &Path, verbosity: Verbosity) -> CommandResult {
    let interrupt = Interrupt::install()?;
    let job = cfg::read_forward(path)?;
    job.warnings.iter().for_each(warn);
    let Some(model) = args.model.as_ref().or(job.model.as_ref()) else {
        let (key, reason) = ("forward_net", "the job or --model has to give the trained network");
        return Err(JobError::Missing { key, reason }.into());
    };
    let model = load_model(model)?;
    let engine = engine(args, args.threads.unwrap_or(job.threads))?;
    let options = DenseOptions {
        border: if job.mirror { Border::Mirror } else { Border::Valid },
        tile: args.tile,
        memory: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        algorithm: args.algorithm.unwrap_or(job.algorithm),
    };
    let mut files = Vec::new();
    for sample in &job.samples {
        let volume = read_volume(&sample.image, sample.preprocess)?;
        let prediction = Prediction {
            engine: &engine,
            model: &model,
            input: &sample.image,
            options,
            interrupt: &interrupt,
            verbosity,
        };
        let Some(maps) = prediction.run(&volume)? else {
            return Ok(Outcome::Stopped { signal: interrupt.signal() });
        };
        for (node, mut maps) in model.network.outputs().zip(maps) {
            if job.softmax && maps.channels() > 1 {
                softmax(&engine, &mut maps);
            }
            let name = format!("_sample{}_{}", sample.id, model.network[node].name);
            let path = cfg::suffixed(&job.prefix, &format!("{name}.h5"));
            volume_file::write(&path, &maps, NumberType::F32, None)?;
            files.push(path);
            for channel in 0..maps.channels() {
                let path = cfg::suffixed(&job.prefix, &format!("{name}_{channel}.tif"));
                write_map(&path, &maps, channel, args.format)?;
                files.push(path);
            }
        }
    }
    write_trace(args, &engine)?;
    list(&files, verbosity)
}

/// The model in a file or in the folder of a run.
fn load_model(path: &Path) -> Result<Model, ModelFileError> {
    let path = if path.is_dir() { path.join(FileNames::MODEL) } else { path.to_owned() };
    let file = model_file::load(&path)?;
    file.warnings.iter().for_each(warn);
    Ok(file.model)
}

fn read_volume(path: &Path, preprocess: Preprocess) -> Result<Tensor, DataError> {
    let mut volume = volume_file::read_image(path)?;
    check_finite(&path.display().to_string(), "image", &volume)?;
    preprocess.apply(&mut volume);
    Ok(volume)
}

fn engine(args: &InferArgs, threads: usize) -> Result<Engine, EngineError> {
    Engine::new(&EngineOptions {
        threads: (threads > 0).then_some(threads),
        isa: args.isa,
        events: args.trace.is_some().then_some(trace::EVENTS),
        ..args.convolutions.engine_options()
    })
}

/// Writes what was recorded, where it is asked for.
fn write_trace(args: &InferArgs, engine: &Engine) -> Result<(), trace::TraceError> {
    match (&args.trace, engine.trace()) {
        (Some(path), Some(trace)) => trace.write(path),
        _ => Ok(()),
    }
}

fn softmax(engine: &Engine, maps: &mut Tensor) {
    let len = maps.extent().len();
    engine.kernels().softmax(&mut RowsMut::new(maps.data_mut(), len));
}

/// One volume, to be predicted.
struct Prediction<'a> {
    engine: &'a Engine,
    model: &'a Model,
    input: &'a Path,
    options: DenseOptions,
    interrupt: &'a Interrupt,
    verbosity: Verbosity,
}

impl Prediction<'_> {
    /// The maps of each output group; `None` where it was stopped.
    fn run(&self, volume: &Tensor) -> Result<Option<Vec<Tensor>>, Unpredicted> {
        let bar = progress_bar(self.verbosity);
        let Model { network, parameters, .. } = self.model;
        let maps = dense(self.engine, network, parameters, volume, &self.options, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            // Relaxed: the flag carries no data.
            !self.interrupt.flag().load(Ordering::Relaxed)
        })
        .map_err(|source| Unpredicted { path: self.input.to_owned(), source })?;
        bar.finish_and_clear();
        self.engine.take_warnings().iter().for_each(warn);
        Ok(maps)
    }
}

/// Prints the names of the files that were written.
fn list(files: &[PathBuf], verbosity: Verbosity) -> CommandResult {
    if verbosity > Verbosity::Quiet {
        for path in files {
            print(&format!("{}\n", path.display()))?;
        }
    }
    Ok(Outcome::Done)
}

/// Tiles done, on a terminal.
fn progress_bar(verbosity: Verbosity) -> ProgressBar {
    if verbosity == Verbosity::Quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("tile {pos}/{len} [{wide_bar}] {eta} left");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// `out.tif` for the first file, `out_1.tif` for the second.
fn numbered(path: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Writes one map of `output` as a TIFF stack.
fn write_map(path: &Path, output: &Tensor, channel: usize, format: Format) -> Result<(), DataError> {
    let (sample, one) = format.sample();
    let extent = output.extent();
    let mut writer = tiff::Writer::create(path, extent, sample)?;
    for section in output.channel(channel).chunks_exact(extent.y * extent.x) {
        let scaled: Vec<f32> = section.iter().map(|value| value * one).collect();
        writer.write_section(&scaled)?;
    }
    writer.finish()
}

/// Writes the picture of the middle section where it is asked for.
fn preview(args: &InferArgs, volume: &Tensor, output: &Tensor) -> Result<(), PictureError> {
    let Some(path) = &args.preview else { return Ok(()) };
    let input = preview::centre(volume, output.extent());
    let panels = [Panel::contrast("input", &input), Panel::unit("output", output)];
    preview::side_by_side(&panels)?.write_png(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_maps_get_numbered_files() {
        let name = |path: &str, index| numbered(Path::new(path), index).to_str().unwrap().to_owned();
        assert_eq!(name("a/out.tif", 0), "a/out.tif");
        assert_eq!(name("a/out.tif", 2), "a/out_2.tif");
        assert_eq!(name("out", 1), "out_1");
    }
}
