//! A volume in memory.

use super::cascade::Pooling;
use super::{DensePlan, Flips, InferError, Input, Stage};
use crate::conv::Choice;
use crate::data::Normalisation;
use crate::data::formats::MemoryReader;
use crate::engine::Engine;
use crate::machine::memory;
use crate::network::{Network, Parameters};
use crate::volume::{Extent, Tensor};

/// What is predicted near the border of a volume.
///
/// ```
/// use znn::infer::{Border, DenseOptions};
///
/// assert_eq!(DenseOptions::default().border, Border::Mirror);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Every voxel: the volume is mirrored at its border.
    #[default]
    Mirror,
    /// Those whose field of view lies inside: the output is smaller than the volume by field of view - 1.
    Valid,
}

/// How a volume is predicted.
///
/// ```
/// use znn::infer::{Border, DenseOptions};
///
/// let options = DenseOptions { border: Border::Valid, ..DenseOptions::default() };
/// assert_eq!(options.memory, 2 << 30);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DenseOptions {
    /// What happens at the border.
    pub border: Border,
    /// The extent of the output tiles; `None`: the largest that fits `memory`.
    pub tile: Option<Extent>,
    /// The bytes that the network's images and weights, and the tiles that wait to be computed or written, may take.
    pub memory: usize,
    /// How convolutions are computed, where the network's file does not say.
    pub algorithm: Choice,
    /// How what follows a pooling is computed.
    pub pooling: Pooling,
    /// By how much neighbouring tiles overlap; what they give there is blended. `None`: not at all where a tile's border is
    /// as good as its middle, for networks without padding; else by a quarter.
    pub overlap: Option<Extent>,
    /// Blocks do not depend on each other: in place of blending, each is the middle of its tile.
    pub independent: bool,
    /// The images of a patch over which the prediction is averaged.
    pub flips: Flips,
}

/// Mirrored borders, 2 GiB, measured algorithms, no overlap and no flips.
impl Default for DenseOptions {
    fn default() -> Self {
        Self {
            border: Border::Mirror,
            tile: None,
            memory: 2 << 30,
            algorithm: Choice::Measure,
            pooling: Pooling::Auto,
            overlap: None,
            independent: false,
            flips: Flips::NONE,
        }
    }
}

/// Applies a network around every voxel of `volume`, which is given to each input node; `progress` is told how many
/// of how many tiles are done, and ends the work early by returning `false`. Returns the maps of each output node,
/// or `None` where it was ended.
///
/// Max pooling is read as max filtering followed by dilated operations, or is computed by fragments ([`Pooling`]), so that
/// the prediction is dense. The tiles only bound the memory: the result is the same for any, but for the rounding of
/// convolutions by FFT. A network with padding, strides or deconvolution is applied to tiles of sizes that it takes, which
/// overlap and are blended.
///
/// ```
/// use znn::conv::Choice;
/// use znn::infer::{Border, DenseOptions, Flips, Pooling, dense};
/// use znn::network::{Parameters, spec};
/// use znn::{Engine, EngineOptions, Extent, Tensor};
///
/// # let engine = Engine::new(&EngineOptions { threads: Some(1), ..Default::default() })?;
/// let network = spec::read("examples/networks/hello.znn".as_ref())?.network;
/// let parameters = Parameters::init(&network, 1);
/// let volume = Tensor::from_fn(1, Extent::new(8, 20, 20), |i| (i % 7) as f32);
/// let options = DenseOptions {
///     border: Border::Valid,
///     memory: 64 << 20,
///     algorithm: Choice::Estimate,
///     pooling: Pooling::Auto,
///     flips: Flips::NONE,
///     ..DenseOptions::default()
/// };
/// let outputs = dense(&engine, &network, &parameters, &volume, &options, |done, all| {
///     println!("{done} of {all} tiles");
///     true
/// })?;
/// let maps = &outputs.expect("nobody ended it early")[0];
/// // Smaller than the volume by the field of view less one: 5 x 9 x 9 voxels here.
/// assert_eq!((maps.channels(), maps.extent()), (2, Extent::new(4, 12, 12)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dense(
    engine: &Engine,
    network: &Network,
    parameters: &Parameters,
    volume: &Tensor,
    options: &DenseOptions,
    progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<Tensor>>, InferError> {
    let stage = Stage { network, parameters, softmax: 0 };
    let plan = DensePlan::new(engine, &[stage], volume.channels(), volume.extent(), options, None)?;
    let bytes = |channels: usize, extent: Extent| (channels * extent.len() * size_of::<f32>()) as u64;
    let maps: usize = plan.maps().iter().sum();
    memory::check(bytes(volume.channels(), volume.extent()) + bytes(maps, plan.output()))
        .map_err(|source| InferError::Volume { volume: volume.extent(), source })?;
    let mut predicted: Vec<Tensor> =
        plan.maps().iter().map(|&maps| Tensor::zeros(maps, plan.output())).collect();
    let mut input = Input::new(Box::new(MemoryReader::new(volume)), Normalisation::NONE, "");
    let all: Vec<usize> = (0..plan.blocks()).collect();
    let is_done = plan.run(
        engine,
        &mut input,
        &all,
        &mut |part| {
            predicted.iter_mut().zip(&part.maps).for_each(|(to, from)| to.paste(from, part.origin));
            Ok(())
        },
        progress,
    )?;
    Ok(is_done.then_some(predicted))
}
