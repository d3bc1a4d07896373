//! Networks behind each other, applied to a tile.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flips::{Flips, add_to_mean};
use super::fragments::{Fragmented, Fragments};
use super::{InferError, Predictor, plan_bytes};
use crate::conv::Choice;
use crate::engine::Engine;
use crate::network::{Frame, Network, Parameters};
use crate::volume::{Extent, Tensor};
use znn_kernels::RowsMut;

/// A network that is applied to the volume, or to what the one before it made.
///
/// ```
/// use znn::infer::Stage;
/// use znn::network::{Parameters, spec};
///
/// # let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// # let parameters = Parameters::init(&network, 1);
/// // Its maps are probabilities already.
/// let stage = Stage { network: &network, parameters: &parameters, softmax: 0 };
/// # assert_eq!(stage.network.nodes().len(), 3);
/// # Ok::<(), znn::network::spec::SpecError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    /// The network, as it was trained.
    pub network: &'a Network,
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// Of which outputs the prediction is the softmax of the maps: bit `i` is for output `i`.
    pub softmax: u64,
}

/// How the dense prediction of a network with pooling is computed.
///
/// ```
/// use znn::infer::{ParsePoolingError, Pooling};
///
/// assert_eq!("fragments".parse(), Ok(Pooling::Fragments));
/// let error: ParsePoolingError = "sparse".parse::<Pooling>().unwrap_err();
/// println!("{error}");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Whichever is faster, measured, where there are tiles enough for it; else dilated.
    #[default]
    Auto,
    /// Dilated convolutions on whole images.
    Dilated,
    /// Plain convolutions on the sub-lattices of the images behind each pooling.
    Fragments,
}

impl Pooling {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Auto, "auto"), (Self::Dilated, "dilated"), (Self::Fragments, "fragments")];
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(pooling, _)| pooling == self).map_or("", |(_, name)| name))
    }
}

/// The text names no way of pooling.
///
/// ```
/// let error: znn::infer::ParsePoolingError = "sparse".parse::<znn::infer::Pooling>().unwrap_err();
/// assert!(error.to_string().contains("found `sparse`"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, dilated or fragments, found `{0}`")]
pub struct ParsePoolingError(String);

impl FromStr for Pooling {
    type Err = ParsePoolingError;

    fn from_str(text: &str) -> Result<Self, ParsePoolingError> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(pooling, _)| pooling).ok_or_else(|| ParsePoolingError(text.to_owned()))
    }
}

/// What is known of the stages before there is a plan.
pub(super) struct Chain<'a> {
    stages: Vec<Link<'a>>,
    /// The channels of the volume.
    channels: usize,
}

struct Link<'a> {
    stage: Stage<'a>,
    network: Arc<Network>,
    fragmented: Option<Fragmented>,
    frame: Frame,
    /// The image is an input beside the maps of the stage before.
    with_image: bool,
    /// The channels belong to one input after the other, in their order; else all of them to each.
    is_split: bool,
}

impl<'a> Chain<'a> {
    /// The stages for volumes of so many channels, which each input of the first gets, or each its part where they take as
    /// many together. Each after the first gets the maps of the first output of the one before
    /// it, behind those of the volume where it has inputs for both.
    ///
    /// # Errors
    /// Where a network has another number of inputs.
    pub fn new(stages: &[Stage<'a>], channels: usize) -> Result<Self, InferError> {
        let mut links: Vec<Link<'a>> = Vec::new();
        let mut given = channels;
        for &stage in stages {
            let network = Arc::new(stage.network.to_dense());
            let mut with_image = false;
            let all: usize = network.inputs().map(|node| network[node].size).sum();
            let is_split = links.is_empty() && network.inputs().count() > 1 && all == given;
            for node in network.inputs() {
                let expected = network[node].size;
                with_image = !links.is_empty() && expected == channels + given;
                if expected != given && !with_image && !is_split {
                    let node = network[node].name.clone();
                    return Err(match links.is_empty() {
                        true => InferError::Channels { found: given, node, expected },
                        false => InferError::Stage { maps: given, channels, node, expected },
                    });
                }
            }
            let frame = network.frame()?;
            given = network.outputs().next().map_or(0, |node| network[node].size);
            let fragmented = Fragmented::new(&network);
            links.push(Link { stage, network, fragmented, frame, with_image, is_split });
        }
        Ok(Self { stages: links, channels })
    }

    /// How much larger than a tile of the output the patch of the volume is.
    pub fn margin(&self) -> Extent {
        self.stages.iter().fold(Extent::ZERO, |margin, link| margin + link.frame.margin)
    }

    /// The tiles that work for the last stage.
    pub fn frame(&self) -> Frame {
        let all = Frame { least: Extent::ONE, step: Extent::ONE, margin: Extent::ZERO };
        self.stages.last().map_or(all, |link| link.frame)
    }

    /// Whether each voxel of the output is the same function of the volume around it, wherever the tiles lie.
    pub fn is_uniform(&self) -> bool {
        self.stages.iter().all(|link| link.network.is_uniform())
    }

    /// The channels of the volume.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The maps of each output node of the last stage.
    pub fn maps(&self) -> Vec<usize> {
        let Some(last) = self.stages.last() else { return Vec::new() };
        last.network.outputs().map(|node| last.network[node].size).collect()
    }

    /// What tiles have to be multiples of, so that the last stage can be computed by fragments; `None` where no stage can.
    /// Stages before it are computed by fragments where their tiles happen to be such multiples.
    pub fn step(&self) -> Option<Extent> {
        self.stages.iter().rev().find_map(|link| link.fragmented.as_ref().map(Fragmented::step))
    }

    /// Which stages can be computed by fragments for tiles of that extent.
    pub fn admit_fragments(&self, tile: Extent) -> Vec<bool> {
        let tiles = self.tiles(tile);
        let admits = |(link, tile): (&Link<'_>, Extent)| {
            let fragmented = link.fragmented.as_ref();
            fragmented.is_some_and(|it| tile.all(it.step(), |tile, step| tile.is_multiple_of(step)))
        };
        self.stages.iter().zip(tiles).map(admits).collect()
    }

    /// Which stages are faster by fragments, of those that admit them, measured with the memory of `bound`.
    ///
    /// # Errors
    /// Where a plan cannot be made or fails.
    pub fn measure(
        &self,
        engine: &Engine,
        tile: Extent,
        algorithm: Choice,
        bound: usize,
    ) -> Result<Vec<bool>, InferError> {
        let mut found = self.admit_fragments(tile);
        for ((link, tile), is_faster) in self.stages.iter().zip(self.tiles(tile)).zip(&mut found) {
            let (Some(fragmented), true) = (&link.fragmented, *is_faster) else { continue };
            if fragmented.bytes(engine, tile, algorithm, bound)? > bound {
                *is_faster = false;
                continue;
            }
            let maps = link.network.inputs().next().map_or(1, |node| link.network[node].size);
            let image = Tensor::from_fn(maps, tile + link.frame.margin, |i| (i % 251) as f32 / 125.0 - 1.0);
            let parameters = link.stage.parameters;
            // One after the other, so that only one takes memory; algorithms are chosen as the plan is made.
            let fragments = {
                let mut plan = fragmented.plan(engine, parameters, tile, algorithm)?;
                fastest(|| plan.predict(&image).map(drop))?
            };
            let dilated = {
                let mut plan = Predictor::new(engine, &link.network, parameters, tile, algorithm)?;
                fastest(|| Ok(plan.predict(&[&image]).map(drop)?))?
            };
            *is_faster = fragments < dilated;
        }
        Ok(found)
    }

    /// What each stage makes for a tile of the output.
    fn tiles(&self, tile: Extent) -> Vec<Extent> {
        let mut tiles = Vec::new();
        let mut next = tile;
        for link in self.stages.iter().rev() {
            tiles.push(next);
            next = next + link.frame.margin;
        }
        tiles.reverse();
        tiles
    }

    /// About how much memory applying the stages to tiles takes; where it is more than `bound`, the least that it can be.
    pub fn bytes(
        &self,
        engine: &Engine,
        tile: Extent,
        algorithm: Choice,
        fragments: &[bool],
        bound: usize,
    ) -> Result<usize, InferError> {
        let mut needed = 0;
        let mut between = self.channels;
        for ((link, tile), &by_fragments) in self.stages.iter().zip(self.tiles(tile)).zip(fragments) {
            needed += match &link.fragmented {
                Some(fragmented) if by_fragments => fragmented.bytes(engine, tile, algorithm, bound)?,
                _ => plan_bytes(engine, &link.network, tile, algorithm, bound)?,
            };
            let outputs: usize = link.network.outputs().map(|node| link.network[node].size).sum();
            // The input, the outputs, and a copy of these.
            let input = (tile + link.frame.margin).len() * between;
            needed += (input + 2 * outputs * tile.len()) * size_of::<f32>();
            between = outputs + if link.with_image { self.channels } else { 0 };
            if needed > bound {
                break;
            }
        }
        Ok(needed)
    }

    /// Plans all stages for tiles of that extent, `fragments` says which by fragments.
    pub fn plan(
        &self,
        engine: &Engine,
        tile: Extent,
        algorithm: Choice,
        fragments: &[bool],
    ) -> Result<Cascade, InferError> {
        let stages = self.stages.iter().zip(self.tiles(tile)).zip(fragments);
        let stages = stages.map(|((link, tile), &by_fragments)| {
            let parameters = link.stage.parameters;
            let runner = match &link.fragmented {
                Some(fragmented) if by_fragments => {
                    Runner::Fragments(fragmented.plan(engine, parameters, tile, algorithm)?)
                }
                _ => Runner::Whole(Box::new(Predictor::new(
                    engine,
                    &link.network,
                    parameters,
                    tile,
                    algorithm,
                )?)),
            };
            Ok(Planned {
                runner,
                network: Arc::clone(&link.network),
                input: tile + link.frame.margin,
                softmax: link.stage.softmax,
                with_image: link.with_image,
                is_split: link.is_split,
            })
        });
        Ok(Cascade { stages: stages.collect::<Result<_, InferError>>()? })
    }
}

/// The shorter of two runs after a first one.
fn fastest(mut run: impl FnMut() -> Result<(), InferError>) -> Result<Duration, InferError> {
    run()?;
    let mut least = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        run()?;
        least = least.min(start.elapsed());
    }
    Ok(least)
}

/// The planned stages.
pub(super) struct Cascade {
    stages: Vec<Planned>,
}

enum Runner {
    Whole(Box<Predictor>),
    Fragments(Fragments),
}

struct Planned {
    runner: Runner,
    network: Arc<Network>,
    /// The extent of the input, of the largest where there are several.
    input: Extent,
    softmax: u64,
    with_image: bool,
    is_split: bool,
}

impl Cascade {
    /// What the last stage makes of a patch of the volume, the mean over all `flips` of it.
    pub fn predict(
        &mut self,
        engine: &Engine,
        patch: &Tensor,
        flips: Flips,
    ) -> Result<Vec<Tensor>, InferError> {
        if flips == Flips::NONE {
            return self.apply(engine, patch);
        }
        let mut means: Vec<Tensor> = Vec::new();
        for (done, symmetry) in flips.symmetries().enumerate() {
            let maps = self.apply(engine, &symmetry.apply(patch))?;
            let maps: Vec<Tensor> = maps.iter().map(|maps| symmetry.undo(maps)).collect();
            if done == 0 {
                means = maps;
                continue;
            }
            for (mean, maps) in means.iter_mut().zip(&maps) {
                add_to_mean(mean, maps, done + 1);
            }
        }
        Ok(means)
    }

    fn apply(&mut self, engine: &Engine, patch: &Tensor) -> Result<Vec<Tensor>, InferError> {
        let mut maps: Vec<Tensor> = Vec::new();
        for stage in &mut self.stages {
            let input = match maps.first() {
                None => stage.run(patch)?,
                Some(before) if stage.with_image => stage.run(&centre(patch, stage.input).joined(before))?,
                Some(before) => stage.run(before)?,
            };
            maps = input;
            for (output, maps) in maps.iter_mut().enumerate().filter(|(_, maps)| maps.channels() > 1) {
                if stage.softmax.checked_shr(output as u32).is_some_and(|bits| bits & 1 == 1) {
                    let len = maps.extent().len();
                    engine.kernels().softmax(&mut RowsMut::new(maps.data_mut(), len));
                }
            }
        }
        Ok(maps)
    }
}

impl Planned {
    fn run(&mut self, image: &Tensor) -> Result<Vec<Tensor>, InferError> {
        let predictor = match &mut self.runner {
            Runner::Whole(predictor) => predictor,
            // They have one input, and so is the patch.
            Runner::Fragments(fragments) => return Ok(vec![fragments.predict(image)?]),
        };
        let mut first = 0;
        let mut patches: Vec<Option<Tensor>> = Vec::new();
        for node in self.network.inputs() {
            let extent = predictor.input_extent(node);
            let part = self.is_split.then(|| image.channels_of(first..first + self.network[node].size));
            first += self.network[node].size;
            let of = part.as_ref().unwrap_or(image);
            patches.push(if of.extent() == extent { part } else { Some(centre(of, extent)) });
        }
        let inputs: Vec<&Tensor> = patches.iter().map(|patch| patch.as_ref().unwrap_or(image)).collect();
        Ok(predictor.predict(&inputs)?.to_vec())
    }
}

/// The box of that extent in the middle of an image.
fn centre(image: &Tensor, extent: Extent) -> Tensor {
    let margin = (image.extent() - extent).zip(Extent::ONE, |rest, _| rest / 2);
    image.crop(margin, extent)
}
