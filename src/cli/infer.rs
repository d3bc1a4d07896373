//! `znn infer`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use znn::conv::Choice;
use znn::data::tiff::{self, SampleType};
use znn::data::{DataError, Preprocess, check_finite};
use znn::engine::{Engine, EngineOptions};
use znn::infer::{Border, DenseOptions, InferError, dense};
use znn::network::weights_file;
use znn::trace;
use znn::train::job::LossKind;
use znn::train::report::Verbosity;
use znn::train::report::picture::PictureError;
use znn::train::report::preview::{self, Panel};
use znn::train::{FileNames, notes};
use znn::volume::{Extent, Tensor};
use znn_kernels::{Isa, RowsMut};

use super::interrupt::Interrupt;
use super::{CommandResult, Outcome, print};

/// Run a trained network over a volume of any size.
///
/// The volume is computed in tiles that fit into --memory; but for rounding, the result is the same for any. The output is a
/// TIFF of the input's size, with the input mirrored at its border, or of the valid part (--valid).
#[derive(Args)]
#[command(after_help = "Examples:
  znn infer --model run --input raw.tif --output cells.tif
  znn infer --model run --input raw.tif --output cells.tif --memory 500M --format u8 --preview cells.png")]
pub struct InferArgs {
    /// The folder of a training run, or one of its checkpoints.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The volume, a multi-page TIFF of 8 or 16 bits or floats.
    #[arg(long, value_name = "FILE.tif")]
    input: PathBuf,
    /// The output volume. Of a network with several maps it gets the first; the others get files numbered 1, 2, ...
    /// before the extension, but for the second of a softmax of two, which is the complement.
    #[arg(long, value_name = "FILE.tif")]
    output: PathBuf,
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
    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How convolutions are computed: auto (whichever measures fastest for each layer), direct or fft.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    algorithm: Choice,
    /// The instruction set: scalar, avx2 or avx512f [default: the widest of the machine]
    #[arg(long, value_name = "TIER")]
    isa: Option<Isa>,
    /// Write what each thread did, of a long run the last of it, as a trace for Perfetto, chrome://tracing and
    /// znn bench trace-report.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

/// A number of bytes, written as `500M` or `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("expected a number of bytes such as 500M or 2G, found `{text}`");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift =
            match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
                "" => 0,
                "K" => 10,
                "M" => 20,
                "G" => 30,
                "T" => 40,
                _ => return Err(fail()),
            };
        let number: f64 = digits.parse().map_err(|_| fail())?;
        let bytes = number * (1_u64 << shift) as f64;
        if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(fail()) }
    }
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
    fn sample(self) -> (SampleType, f32) {
        match self {
            Format::U8 => (SampleType::U8, 255.0),
            Format::U16 => (SampleType::U16, 65535.0),
            Format::F32 => (SampleType::F32, 1.0),
        }
    }
}

/// Runs `znn infer`.
pub fn run(args: &InferArgs, verbosity: Verbosity) -> CommandResult {
    let interrupt = Interrupt::install()?;
    let path = if args.model.is_dir() { args.model.join(FileNames::MODEL) } else { args.model.clone() };
    let model = weights_file::load(&path)?;
    let preprocess = match (args.preprocess, model.notes.get(notes::PREPROCESS)) {
        (Some(given), _) => given,
        (None, Some(trained)) => trained.parse()?,
        (None, None) => Preprocess::default(),
    };
    let mut volume = tiff::read(&args.input)?;
    check_finite(&args.input.display().to_string(), "image", &volume)?;
    preprocess.apply(&mut volume);
    // Whether it can be written is better known now than after hours.
    drop(tiff::Writer::create(&args.output, Extent::ONE, args.format.sample().0)?);
    let engine = Engine::new(&EngineOptions {
        threads: (args.threads > 0).then_some(args.threads),
        isa: args.isa,
        events: args.trace.is_some().then_some(trace::EVENTS),
        ..EngineOptions::default()
    })?;
    let options = DenseOptions {
        border: if args.valid { Border::Valid } else { Border::Mirror },
        tile: args.tile,
        memory: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        algorithm: args.algorithm,
    };
    let bar = progress_bar(verbosity);
    let maps = dense(&engine, &model.network, &model.parameters, &volume, &options, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        // Relaxed: the flag carries no data.
        !interrupt.flag().load(Ordering::Relaxed)
    })
    .map_err(|source| Unpredicted { path: args.input.clone(), source })?;
    bar.finish_and_clear();
    if let (Some(path), Some(trace)) = (&args.trace, engine.trace()) {
        trace.write(path)?;
    }
    let Some(maps) = maps else { return Ok(Outcome::Stopped { signal: interrupt.signal() }) };
    let is_softmax = model.notes.get(notes::LOSS).is_some_and(|loss| *loss == LossKind::Softmax.to_string());
    let mut files = Vec::new();
    let mut is_previewed = false;
    for mut output in maps {
        let len = output.extent().len();
        if is_softmax {
            engine.kernels().softmax(&mut RowsMut::new(output.data_mut(), len));
        }
        let is_complement = is_softmax && output.channels() == 2;
        for channel in 0..if is_complement { 1 } else { output.channels() } {
            let path = numbered(&args.output, files.len());
            write_map(&path, &output, channel, args.format)?;
            files.push(path);
        }
        // After the volume, which took longer to make.
        if !is_previewed {
            preview(args, &volume, &output)?;
            is_previewed = true;
        }
    }
    if verbosity > Verbosity::Quiet {
        for path in &files {
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

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1000", 1000),
            ("2G", 2 << 30),
            ("500M", 500 << 20),
            ("1.5k", 1536),
            ("3GiB", 3 << 30),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "-1G", "0", "1X", "1e99T", "nan", "inf", "two"] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert_eq!(error, format!("expected a number of bytes such as 500M or 2G, found `{text}`"));
        }
    }
}
