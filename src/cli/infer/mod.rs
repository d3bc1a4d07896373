//! `znn infer`.

mod output;
mod prediction;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use znn::conv::Choice;
use znn::data::data_set::DataImage;
use znn::data::{Preprocess, volume_file};
use znn::infer::{Border, DenseOptions, Flips, Pooling, Shard, Stage};
use znn::machine::memory::Bytes;
use znn::network::model_file::{self, ModelFileError};
use znn::network::weights_file::Model;
use znn::trace;
use znn::train::job::{JobError, cfg};
use znn::train::report::Verbosity;
use znn::train::report::preview::{self, Panel};
use znn::train::{FileNames, notes};
use znn::{Engine, EngineError, EngineOptions, Extent};
use znn_kernels::Isa;

use self::output::Format;
use self::prediction::{Predictor, Sharing, Source};
use super::convolutions::ConvolutionArgs;
use super::interrupt::Interrupt;
use super::{CommandResult, Outcome, print, warn};

/// Run a trained network over a volume of any size.
///
/// The volume is read, computed and written in tiles that fit into --memory; but for rounding, the result is the same for any.
/// The output has the input's size, with the input mirrored at its border, or that of the valid part (--valid). The names of
/// files say their formats: TIFF, HDF5, Zarr, N5, NIfTI, NPY or raw (docs/volumes.md).
#[derive(Args)]
#[command(after_help = "Examples:
  znn infer --model run --input raw.tif --output cells.tif
  znn infer --model run --input raw.tif --output cells.tif --memory 500M --format u8 --preview cells.png
  znn infer --model run --input raw.zarr --output cells.zarr --shard 3/16
  znn infer --model run --input raw.h5 --output cells.n5 --flips yx --resume
  znn infer original.cfg -r 1-3")]
pub struct InferArgs {
    /// Do what this job file of the original ZNN says: predict its samples, and write each output as HDF5 and TIFF.
    #[arg(value_name = "JOB.cfg", conflicts_with_all = ["input", "output", "valid", "preview", "preprocess"])]
    job: Option<PathBuf>,
    /// The folder of a training run, one of its checkpoints, or a network of the original ZNN (.h5).
    #[arg(long, value_name = "PATH", required_unless_present = "job")]
    model: Option<PathBuf>,
    /// The samples of the job that are predicted, in place of its forward_range, such as 1-3,7.
    #[arg(short, long, value_name = "RANGE", requires = "job")]
    range: Option<String>,
    /// A second network, which gets the maps of the first, or, where it has inputs for both, the volume and these. May be
    /// given again for a third.
    #[arg(long, value_name = "PATH", conflicts_with = "job")]
    then: Vec<PathBuf>,
    /// The volume; for a network with several inputs, one for all of them or one for each, in the order of its groups.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "job")]
    input: Vec<PathBuf>,
    /// The output volume, with all maps as channels, but for the second of a softmax of two, which is the complement. A TIFF
    /// gets the first map; the others get files numbered 1, 2, ... before the extension, as further output groups do.
    #[arg(long, value_name = "FILE", required_unless_present = "job")]
    output: Option<PathBuf>,
    /// Write only the voxels whose field of view lies in the volume.
    #[arg(long)]
    valid: bool,
    /// The memory for tiles and workspaces, in bytes or with a unit K, M, G or T of 1024.
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: Bytes,
    /// The output voxels of a tile, in place of the largest that fits into --memory.
    #[arg(long, value_name = "Z,Y,X", conflicts_with = "memory")]
    tile: Option<Extent>,
    /// How what follows a pooling is computed: dilated, fragments (each pooling splits the images into sub-lattices, on which
    /// plain convolutions are computed), or auto (whichever measures faster, where there are 8 tiles or more).
    #[arg(long, value_name = "NAME", default_value_t = Pooling::Auto)]
    dense: Pooling,
    /// By how many voxels tiles overlap; what they say there is blended smoothly, or, with --resume and --shard, each tile
    /// gives its middle. For networks with padding, whose tiles are worse at their borders [default: 0, with padding a quarter
    /// of the tile]
    #[arg(long, value_name = "Z,Y,X")]
    overlap: Option<Extent>,
    /// Average over the mirror images of each patch: the axes that are reversed, of z, y and x, and t to exchange y and x.
    /// yx computes 4 images, zyxt 16. Not for affinities.
    #[arg(long, value_name = "AXES")]
    flips: Option<Flips>,
    /// Go on with an interrupted prediction; the output has to be Zarr or N5. Finished blocks are remembered in
    /// OUTPUT.progress, which is removed at the end.
    #[arg(long, conflicts_with = "job")]
    resume: bool,
    /// Compute part I of N of the blocks of a Zarr or N5 output, which processes on many machines share. Implies --resume and
    /// --deterministic; OUTPUT.progress can be removed when all are done.
    #[arg(long, value_name = "I/N", conflicts_with = "job")]
    shard: Option<Shard>,
    /// The chunks of a Zarr or N5 output, at most.
    #[arg(long, value_name = "Z,Y,X", default_value = "64,64,64")]
    chunk: Extent,
    /// The same bits for any number of threads, and on all machines with the same instruction set.
    #[arg(long)]
    deterministic: bool,
    /// Write the network's own values in place of probabilities: the softmax at its end, in the network or in the loss that it
    /// was trained with, is left out.
    #[arg(long)]
    scores: bool,
    /// The numbers of the output: u8 and u16 spread 0..1 over their range; classes is the number of the map with the largest
    /// value, in 8 bits, one file for each output group.
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

/// Runs `znn infer`.
pub fn run(args: &InferArgs, verbosity: Verbosity) -> CommandResult {
    match (&args.job, &args.model, &args.output) {
        (Some(job), ..) => run_job(args, job, verbosity),
        (None, Some(model), Some(output)) => run_volume(args, model, output, verbosity),
        _ => unreachable!("required where there is no job"),
    }
}

/// Predicts the volume of the options.
fn run_volume(args: &InferArgs, model: &Path, output: &Path, verbosity: Verbosity) -> CommandResult {
    let interrupt = Interrupt::install()?;
    let mut model = load_model(model)?;
    let mut then: Vec<Model> = args.then.iter().map(|path| load_model(path)).collect::<Result<_, _>>()?;
    choose_values(args, then.last_mut().unwrap_or(&mut model))?;
    let last = then.last().unwrap_or(&model);
    if args.flips.is_some() && last.notes.get(notes::TARGET).is_some_and(|target| target == "affinity") {
        let reason = "--flips: the network predicts affinities, which belong to pairs of voxels: in a mirror image each \
                      belongs to another pair";
        return Err(reason.into());
    }
    let sources = sources(args, &model)?;
    let sharing = sharing(args, &sources, output)?;
    let engine = engine(args, args.threads.unwrap_or(0))?;
    let stages: Vec<Stage<'_>> = [&model].into_iter().chain(&then).map(prediction::stage).collect();
    let softmax = prediction::stage(last).softmax;
    let sums_to_one: Vec<bool> = (0..)
        .zip(last.network.outputs())
        .map(|(output, node)| {
            last.network.gives_probabilities(node) || softmax.unbounded_shr(output) & 1 == 1
        })
        .collect();
    let predictor = Predictor {
        engine: &engine,
        stages,
        options: DenseOptions {
            border: if args.valid { Border::Valid } else { Border::Mirror },
            independent: sharing.is_some(),
            ..options(args, args.algorithm.unwrap_or(Choice::Measure))
        },
        interrupt: &interrupt,
        verbosity,
    };
    let chunk = volume_file::is_chunked(output).then_some(args.chunk);
    let files = predictor.run(&sources, chunk, sharing.as_ref(), |plan, kind, files| {
        for (node, maps) in plan.maps().into_iter().enumerate() {
            if args.format == Format::Classes {
                let path = output::numbered(output, files.len());
                files.begin(path, (node, 0, maps), args.format, kind)?;
                continue;
            }
            let kept = if sums_to_one[node] && maps == 2 { 1 } else { maps };
            if volume_file::has_channels(output) {
                let path = output::numbered(output, files.len());
                files.begin(path, (node, 0, kept), args.format, kind)?;
                continue;
            }
            for channel in 0..kept {
                let path = output::numbered(output, files.len());
                files.begin(path, (node, channel, 1), args.format, kind)?;
            }
        }
        Ok(())
    })?;
    write_trace(args, &engine)?;
    let Some(files) = files else { return Ok(Outcome::Stopped { signal: interrupt.signal() }) };
    let files = files.finish()?;
    // After the volume, which took longer to make.
    preview(args, &sources[0].path, &files[0])?;
    list(&files, verbosity)
}

/// The volumes of the options. How each was normalised in training is in the notes of the model.
fn sources(args: &InferArgs, model: &Model) -> Result<Vec<Source>, Box<dyn std::error::Error>> {
    let trained = model.notes.get(notes::PREPROCESS).map(String::as_str);
    let trained: Vec<&str> = trained.map_or(Vec::new(), |names| names.split(',').collect());
    let source = |(place, path): (usize, &PathBuf)| {
        let preprocess = match (args.preprocess, trained.get(place).or(trained.last())) {
            (Some(given), _) => given,
            (None, Some(trained)) => trained.parse()?,
            (None, None) => Preprocess::default(),
        };
        Ok(Source { path: path.clone(), preprocess })
    };
    args.input.iter().enumerate().map(source).collect()
}

/// How a chunked output is shared, or a reason why it cannot be.
fn sharing<'a>(
    args: &InferArgs,
    sources: &[Source],
    output: &'a Path,
) -> Result<Option<Sharing<'a>>, Box<dyn std::error::Error>> {
    let is_asked = args.resume || args.shard.is_some();
    if !volume_file::is_chunked(output) {
        return match is_asked {
            false => Ok(None),
            true => Err(format!(
                "{}: --resume and --shard need an output in chunks, Zarr or N5",
                output.display()
            )
            .into()),
        };
    }
    // Blended blocks depend on each other.
    if args.overlap.is_some() && !is_asked {
        return Ok(None);
    }
    let list = |of: &dyn Fn(&Source) -> String| sources.iter().map(of).collect::<Vec<_>>().join(",");
    let description = BTreeMap::from([
        ("input".to_owned(), list(&|source| source.path.display().to_string())),
        ("preprocess".to_owned(), list(&|source| source.preprocess.to_string())),
        ("format".to_owned(), format!("{:?}", args.format)),
        ("deterministic".to_owned(), is_deterministic(args).to_string()),
    ]);
    Ok(Some(Sharing {
        output,
        shard: args.shard.unwrap_or(Shard::ALL),
        resume: is_asked,
        is_shared: args.shard.is_some(),
        description,
    }))
}

fn options(args: &InferArgs, algorithm: Choice) -> DenseOptions {
    DenseOptions {
        border: Border::Mirror,
        tile: args.tile,
        memory: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        algorithm,
        pooling: args.dense,
        overlap: args.overlap,
        independent: false,
        flips: args.flips.unwrap_or(Flips::NONE),
    }
}

/// Predicts the samples of a job of the original system.
fn run_job(args: &InferArgs, path: &Path, verbosity: Verbosity) -> CommandResult {
    let interrupt = Interrupt::install()?;
    let job = cfg::read_forward(path, args.range.as_deref())?;
    job.warnings.iter().for_each(warn);
    let Some(model) = args.model.as_ref().or(job.model.as_ref()) else {
        let (key, reason) = ("forward_net", "the job or --model has to give the trained network");
        return Err(JobError::Missing { key, reason }.into());
    };
    let mut model = load_model(model)?;
    choose_values(args, &mut model)?;
    let engine = engine(args, args.threads.unwrap_or(job.threads))?;
    let is_softmax = job.softmax && !args.scores;
    let softmax = prediction::bits(&model.network, std::iter::repeat(is_softmax));
    let predictor = Predictor {
        engine: &engine,
        stages: vec![Stage { softmax, ..prediction::stage(&model) }],
        options: DenseOptions {
            border: if job.mirror { Border::Mirror } else { Border::Valid },
            ..options(args, args.algorithm.unwrap_or(job.algorithm))
        },
        interrupt: &interrupt,
        verbosity,
    };
    let mut written = Vec::new();
    for sample in &job.samples {
        let source = |image: &DataImage| Source { path: image.image.clone(), preprocess: image.preprocess };
        let mut sources: Vec<Source> = sample.images.iter().map(source).collect();
        // One image for all inputs is read once.
        if sample.images.iter().all(|image| *image == sample.images[0]) {
            sources.truncate(1);
        }
        let files = predictor.run(&sources, None, None, |plan, kind, files| {
            let nodes: Vec<_> = model.network.outputs().collect();
            for (node, maps) in plan.maps().into_iter().enumerate() {
                let name = format!("_sample{}_{}", sample.id, model.network[nodes[node]].name);
                let path = cfg::suffixed(&job.prefix, &format!("{name}.h5"));
                files.begin(path, (node, 0, maps), Format::F32, kind)?;
                if args.format == Format::Classes {
                    let path = cfg::suffixed(&job.prefix, &format!("{name}_classes.tif"));
                    files.begin(path, (node, 0, maps), args.format, kind)?;
                    continue;
                }
                for channel in 0..maps {
                    let path = cfg::suffixed(&job.prefix, &format!("{name}_{channel}.tif"));
                    files.begin(path, (node, channel, 1), args.format, kind)?;
                }
            }
            Ok(())
        })?;
        let Some(files) = files else { return Ok(Outcome::Stopped { signal: interrupt.signal() }) };
        written.extend(files.finish()?);
    }
    write_trace(args, &engine)?;
    list(&written, verbosity)
}

/// Makes `model`, the last, give what is to be written.
fn choose_values(args: &InferArgs, model: &mut Model) -> Result<(), Box<dyn std::error::Error>> {
    if args.scores {
        model.network = model.network.without_softmax();
        model.notes.remove(notes::LOSS);
    }
    let groups = model.network.outputs().map(|node| &model.network[node]);
    match groups.into_iter().find(|group| !(2..=256).contains(&group.size)) {
        Some(group) if args.format == Format::Classes => {
            let (name, maps) = (&group.name, group.size);
            Err(format!("--format classes: output group `{name}` has {maps} maps, expected 2 to 256").into())
        }
        _ => Ok(()),
    }
}

/// The model in a file or in the folder of a run.
fn load_model(path: &Path) -> Result<Model, ModelFileError> {
    let path = if path.is_dir() { path.join(FileNames::MODEL) } else { path.to_owned() };
    let file = model_file::load(&path)?;
    file.warnings.iter().for_each(warn);
    Ok(file.model)
}

/// Sharded blocks have to be the same whoever computes them.
fn is_deterministic(args: &InferArgs) -> bool {
    args.deterministic || args.shard.is_some()
}

fn engine(args: &InferArgs, threads: usize) -> Result<Engine, EngineError> {
    Engine::new(&EngineOptions {
        threads: (threads > 0).then_some(threads),
        isa: args.isa,
        deterministic: is_deterministic(args),
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

/// Prints the names of the files that were written.
fn list(files: &[PathBuf], verbosity: Verbosity) -> CommandResult {
    if verbosity > Verbosity::Quiet {
        for path in files {
            print(&format!("{}\n", path.display()))?;
        }
    }
    Ok(Outcome::Done)
}

/// Writes the picture of the middle section where it is asked for.
fn preview(args: &InferArgs, input: &Path, output: &Path) -> CommandResult {
    let Some(path) = &args.preview else { return Ok(Outcome::Done) };
    let (mut input, mut output) = (volume_file::open(input)?, volume_file::open(output)?);
    let (whole, extent) = (input.info().extent, output.info().extent);
    let margin = (whole - extent).zip(Extent::ONE, |rest, _| rest / 2);
    let middle = Extent::new(extent.z / 2, 0, 0);
    let section = Extent { z: 1, ..extent };
    let (image, mut map) = (input.read(margin + middle, section)?, output.read(middle, section)?);
    let (_, one) = args.format.numbers();
    map.data_mut().iter_mut().for_each(|value| *value /= one);
    let panels = [Panel::contrast("input", &image), Panel::unit("output", &map)];
    preview::side_by_side(&panels)?.write_png(path)?;
    Ok(Outcome::Done)
}
