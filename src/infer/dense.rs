//! A volume in tiles.

use std::sync::Arc;

use super::{InferError, Predictor, Tiling, lower};
use crate::conv::{Choice, Passes, Problem};
use crate::data::mirror_pad;
use crate::engine::Engine;
use crate::machine::memory::{self, Bytes};
use crate::network::{Network, Parameters, ShapeError};
use crate::volume::{Extent, Tensor};

/// What is predicted near the border of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Every voxel: the volume is mirrored at its border.
    #[default]
    Mirror,
    /// Those whose field of view lies inside: the output is smaller than the volume by field of view - 1.
    Valid,
}

/// How a volume is predicted.
#[derive(Clone, Copy, Debug)]
pub struct DenseOptions {
    /// What happens at the border.
    pub border: Border,
    /// The extent of the output tiles; `None`: the largest that fits `memory`.
    pub tile: Option<Extent>,
    /// The bytes that the network's images and weights may take.
    pub memory: usize,
    /// How convolutions are computed, where the network's file does not say.
    pub algorithm: Choice,
}

/// Applies a network around every voxel of `volume`, which is given to each input node; `progress` is told how many
/// of how many tiles are done, and ends the work early by returning `false`. Returns the maps of each output node,
/// or `None` where it was ended.
///
/// Max pooling is read as max filtering followed by dilated operations, so that the prediction is dense. The tiles
/// only bound the memory: the result is the same for any, but for the rounding of convolutions by FFT.
pub fn dense(
    engine: &Engine,
    network: &Network,
    parameters: &Parameters,
    volume: &Tensor,
    options: &DenseOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<Tensor>>, InferError> {
    let network = Arc::new(network.to_dense());
    for node in network.inputs() {
        if network[node].size != volume.channels() {
            return Err(InferError::Channels {
                found: volume.channels(),
                node: network[node].name.clone(),
                expected: network[node].size,
            });
        }
    }
    let one = network.shapes(Extent::ONE)?;
    // The largest input of one output voxel; other inputs see the box around the same centre.
    let fov = network.inputs().map(|node| one[node].extent).fold(Extent::ONE, Extent::max);
    let bytes = |channels: usize, extent: Extent| (channels * extent.len() * size_of::<f32>()) as u64;
    let predicted: u64 = network.outputs().map(|node| bytes(network[node].size, volume.extent())).sum();
    memory::check(bytes(volume.channels(), volume.extent()) + predicted)
        .map_err(|source| InferError::Volume { volume: volume.extent(), source })?;
    let mirrored;
    let volume = match options.border {
        Border::Mirror => {
            mirrored = mirror_pad(volume, fov);
            &mirrored
        }
        Border::Valid => volume,
    };
    let output = volume
        .extent()
        .checked_sub(fov - Extent::ONE)
        .filter(|output| !output.is_empty())
        .ok_or(InferError::TooSmall { volume: volume.extent(), fov })?;

    let tiling = match options.tile {
        Some(tile) if tile.is_empty() => return Err(ShapeError::Empty(tile).into()),
        Some(tile) => Tiling::new(output, tile),
        None => fitting(engine, &network, output, options)?,
    };
    let tile = tiling.tile();
    let mut predictor = Predictor::new(engine, &network, parameters, tile, options.algorithm)?;
    let largest = tile + fov - Extent::ONE;
    let mut predicted: Vec<Tensor> =
        network.outputs().map(|node| Tensor::zeros(network[node].size, output)).collect();
    let total = tiling.counts().len();
    for (done, origin) in tiling.origins().enumerate() {
        let patches: Vec<Tensor> = network
            .inputs()
            .map(|node| {
                let extent = predictor.input_extent(node);
                let margin = (largest - extent).zip(Extent::ONE, |rest, _| rest / 2);
                volume.crop(origin + margin, extent)
            })
            .collect();
        let maps = predictor.predict(&patches.iter().collect::<Vec<_>>())?;
        for (to, from) in predicted.iter_mut().zip(maps) {
            to.paste(from, origin);
        }
        if !progress(done + 1, total) {
            return Ok(None);
        }
    }
    Ok(Some(predicted))
}

/// The largest tiles whose plan keeps within the memory bound.
fn fitting(
    engine: &Engine,
    network: &Network,
    output: Extent,
    options: &DenseOptions,
) -> Result<Tiling, InferError> {
    let mut tiling = Tiling::new(output, output);
    // More than the machine has is no help.
    let bound = memory::available().map_or(options.memory, |there| options.memory.min(there.0 as usize));
    loop {
        let shapes = network.shapes(tiling.tile())?;
        let mut needed = network.least_bytes(&shapes) as usize;
        // Which algorithm measures fastest is not known yet; the one estimated is near enough for a bound.
        let method = |edge, problem: &Problem| {
            let choice = match network.algorithm(edge, options.algorithm) {
                Choice::Measure => Choice::Estimate,
                choice => choice,
            };
            engine.method(choice, problem, Passes::Inference)
        };
        // A plan of far too large a tile would take long to make.
        if needed <= bound {
            needed = lower(engine, network, &shapes, method)?.plan.bytes(engine.pool().threads());
            if needed <= bound {
                return Ok(tiling);
            }
        }
        let too_large = || InferError::Memory { needed: Bytes(needed as u64), bound: Bytes(bound as u64) };
        tiling = tiling.halve().ok_or_else(too_large)?;
    }
}
