//! `znn segment`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use znn::data::{DataError, NumberType, VoxelSize, check_finite, volume_file};
use znn::segment::{self, BoundaryScores, Scores, WatershedOptions};
use znn::train::report::Verbosity;
use znn::train::report::picture::PictureError;
use znn::train::report::preview::{self, Panel};
use znn::{Extent, Tensor};

use super::{CommandResult, Outcome, print};

/// Turn the output of a network into segments.
///
/// The output is a volume in which each voxel has the number of its segment, from 1, or 0. With --truth it is compared
/// with labels, for each of several thresholds, and the best is written.
#[derive(Args)]
#[command(after_help = "Examples:
  znn segment cells.tif --output segments.tif --preview segments.png
  znn segment cells.tif --sections --threshold 0.3,0.5,0.7 --truth labels.tif --output segments.tif
  znn segment x.tif y.tif z.tif --output segments.tif")]
pub struct SegmentArgs {
    /// The probability that a voxel lies inside of an object, or three affinities, along x, y and z: one file with three
    /// channels (.h5), or three files.
    #[arg(value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// The segments, in any format that is written (docs/volumes.md): of 16 bits where there are at most 65535, else of 32
    /// bits, in TIFF floats.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// How segments are found.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Method::Watershed)]
    method: Method,
    /// Voxels (components), or basins on average (watershed), belong together whose affinity is above this.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.5")]
    threshold: Vec<f32>,
    /// Watershed: neighbours whose affinity is not above this are never together.
    #[arg(long, value_name = "AFFINITY", default_value_t = WatershedOptions::default().low)]
    low: f32,
    /// Watershed: neighbours whose affinity is at least this are always together.
    #[arg(long, value_name = "AFFINITY", default_value_t = WatershedOptions::default().high)]
    high: f32,
    /// Watershed: smaller segments are given to a neighbour, or else removed.
    #[arg(long, value_name = "VOXELS", default_value_t = WatershedOptions::default().least)]
    least: u32,
    /// Segment each section for itself.
    #[arg(long)]
    sections: bool,
    /// Give voxels without a segment that of the nearest one in their section.
    #[arg(long)]
    fill: bool,
    /// Labels to compare with; voxels with label 0 do not count. Where all others have one value, as in a map of boundaries,
    /// their connected components are the segments.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// How far apart boundaries may lie that are taken as the same in the comparison.
    #[arg(long, value_name = "VOXELS", default_value_t = 2.0, requires = "truth")]
    tolerance: f32,
    /// Write a picture of the middle section, as PNG.
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
}

/// How segments are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Basins of the greatest affinities, joined by their mean affinity.
    Watershed,
    /// What is connected by affinities above the threshold.
    Components,
}

/// The volumes do not fit together.
#[derive(Debug, thiserror::Error)]
enum SegmentError {
    #[error("{}: {found} voxels (z,y,x), expected {expected} as in {}", path.display(), other.display())]
    Extent { path: PathBuf, found: Extent, expected: Extent, other: PathBuf },
    #[error("{}: {found} channels, expected {expected}", path.display())]
    Channels { path: PathBuf, found: usize, expected: &'static str },
    #[error("{found} files, expected one, or three of affinities along x, y and z")]
    Files { found: usize },
    #[error("{}: {found} voxels, expected at most {limit}: cut the volume into parts", path.display(), limit = u32::MAX)]
    TooLarge { path: PathBuf, found: usize },
    #[error(
        "{found} segments, expected at most {MOST}: with a lower --threshold or a higher --least there are fewer"
    )]
    TooMany { found: u32 },
    #[error("--truth is needed to choose among several thresholds")]
    NoTruth,
}

/// The numbers of segments are written as floats or read as such by others.
const MOST: u32 = 1 << 24;

/// Runs `znn segment`.
pub fn run(args: &SegmentArgs, verbosity: Verbosity) -> CommandResult {
    let maps = read_inputs(&args.inputs)?;
    let extent = maps.extent();
    let truth = args.truth.as_deref().map(|path| read_truth(path, extent, args)).transpose()?;
    if !(0.0..=1000.0).contains(&args.tolerance) {
        return Err("--tolerance: expected voxels from 0 to 1000".into());
    }
    if truth.is_none() && args.threshold.len() > 1 {
        return Err(SegmentError::NoTruth.into());
    }
    let mut affinities = if maps.channels() == 3 { maps.clone() } else { segment::of_boundary(&maps) };
    if args.sections {
        segment::sections(&mut affinities);
    }
    let mut best: Option<(Option<Scores>, Vec<u32>)> = None;
    for &threshold in &args.threshold {
        let mut segments = match args.method {
            Method::Components => segment::components(&affinities, threshold),
            Method::Watershed => {
                let options =
                    WatershedOptions { low: args.low, high: args.high, merge: threshold, least: args.least };
                segment::watershed(&affinities, &options)
            }
        };
        if args.fill {
            segment::fill(&mut segments, extent);
        }
        let scores = truth.as_ref().map(|truth| Scores::new(&segments, truth));
        if verbosity > Verbosity::Quiet {
            let boundaries =
                truth.as_ref().map(|truth| BoundaryScores::new(&segments, truth, extent, args.tolerance));
            print(&line(threshold, &segments, scores.as_ref().zip(boundaries.as_ref())))?;
        }
        let error = |scores: &Option<Scores>| scores.as_ref().map_or(0.0, Scores::adapted_rand_error);
        if best.as_ref().is_none_or(|(found, _)| error(&scores) < error(found)) {
            best = Some((scores, segments));
        }
    }
    let Some((_, segments)) = best else { return Ok(Outcome::Done) };
    let found = segments.iter().max().copied().unwrap_or(0);
    if found > MOST {
        return Err(SegmentError::TooMany { found }.into());
    }
    let voxel = volume_file::open(&args.inputs[0])?.info().voxel.clone();
    write(&args.output, &segments, extent, voxel)?;
    preview(args, &maps, &segments)?;
    Ok(Outcome::Done)
}

/// The maps of one file, or of three as channels.
fn read_inputs(paths: &[PathBuf]) -> Result<Tensor, Box<dyn std::error::Error>> {
    let read = |path: &PathBuf| -> Result<Tensor, DataError> {
        let maps = volume_file::read_maps(path)?;
        check_finite(&path.display().to_string(), "image", &maps).map(|()| maps)
    };
    let maps = match paths {
        [path] => {
            let maps = read(path)?;
            if !(1..=3).contains(&maps.channels()) {
                let expected = "1 or 2 of which the first is inside, or 3 affinities";
                let (path, found) = (path.clone(), maps.channels());
                return Err(SegmentError::Channels { path, found, expected }.into());
            }
            maps
        }
        [first, _, _] => {
            let mut all: Option<Tensor> = None;
            for (channel, path) in paths.iter().enumerate() {
                let map = read(path)?;
                if map.channels() != 1 {
                    let (path, found) = (path.clone(), map.channels());
                    return Err(
                        SegmentError::Channels { path, found, expected: "1 in each of three files" }.into()
                    );
                }
                let all = all.get_or_insert_with(|| Tensor::zeros(3, map.extent()));
                check_extent(path, map.extent(), all.extent(), first)?;
                all.channel_mut(channel).copy_from_slice(map.data());
            }
            all.unwrap_or_else(|| unreachable!("three files"))
        }
        _ => return Err(SegmentError::Files { found: paths.len() }.into()),
    };
    let found = maps.extent().len();
    if u32::try_from(found).is_err() {
        return Err(SegmentError::TooLarge { path: paths[0].clone(), found }.into());
    }
    Ok(maps)
}

fn check_extent(path: &Path, found: Extent, expected: Extent, other: &Path) -> Result<(), SegmentError> {
    if found == expected {
        return Ok(());
    }
    Err(SegmentError::Extent { path: path.to_owned(), found, expected, other: other.to_owned() })
}

fn read_truth(
    path: &Path,
    extent: Extent,
    args: &SegmentArgs,
) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let labels = volume_file::read_label(path)?;
    check_finite(&path.display().to_string(), "label", &labels)?;
    check_extent(path, labels.extent(), extent, &args.inputs[0])?;
    let mut values = labels.data().iter().copied().filter(|&label| label > 0.0);
    let first = values.next();
    if values.any(|label| Some(label) != first) {
        return Ok(labels.data().iter().map(|&label| label as u32).collect());
    }
    let mut together = segment::of_boundary(&labels);
    if args.sections {
        segment::sections(&mut together);
    }
    Ok(segment::components(&together, 0.0))
}

/// What was found at a threshold.
fn line(threshold: f32, segments: &[u32], scores: Option<(&Scores, &BoundaryScores)>) -> String {
    let count = segments.iter().max().copied().unwrap_or(0);
    let mut line = format!("threshold {threshold}: {count} segments");
    if let Some((scores, boundaries)) = scores {
        let _ = write!(
            line,
            ", adapted Rand error {:.4} (false mergers {:.4}, false splits {:.4}), Rand error {:.4}, \
             variation of information {:.3} bits (mergers {:.3}, splits {:.3}), boundary F-score {:.4} (precision \
             {:.4}, recall {:.4})",
            scores.adapted_rand_error(),
            1.0 - scores.rand_merge,
            1.0 - scores.rand_split,
            scores.rand_error,
            scores.variation_of_information(),
            scores.merge_bits,
            scores.split_bits,
            boundaries.f_score(),
            boundaries.precision,
            boundaries.recall,
        );
    }
    line.push('\n');
    line
}

fn write(path: &Path, segments: &[u32], extent: Extent, voxel: Option<VoxelSize>) -> Result<(), DataError> {
    let volume = Tensor::from_fn(1, extent, |voxel| segments[voxel] as f32);
    let fits = segments.iter().all(|&id| id <= u32::from(u16::MAX));
    // Segment ids in TIFF are floats, which every program shows.
    let wide = if volume_file::has_channels(path) { NumberType::U32 } else { NumberType::F32 };
    volume_file::write(path, &volume, if fits { NumberType::U16 } else { wide }, voxel)
}

fn preview(args: &SegmentArgs, maps: &Tensor, segments: &[u32]) -> Result<(), PictureError> {
    let Some(path) = &args.preview else { return Ok(()) };
    let panels = [Panel::unit("input", maps), Panel::segments("segments", segments, maps.extent())];
    preview::side_by_side(&panels)?.write_png(path)
}
