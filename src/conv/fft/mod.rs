//! Convolution by products of spectra: of tiles, or of whole images. Padding is put around the images first.

mod spectra;
mod tiled;
mod tiling;
mod whole;

use tiled::Tiled;
use tiling::Tiling;
use whole::WholeImage;
use znn_kernels::tile_fft::TileShape;

use super::padded::{self, Padded, unpadded};
use super::{Algorithm, Layer, Pass, Passes, Problem, Tools, Variant};
use crate::fft::FftError;
use crate::volume::Extent;

/// Whether there are tiles of `size`, and they are not smaller than the kernel.
pub(super) fn fits(size: Extent, kernel: Extent) -> bool {
    TileShape::new(size.to_array()).is_some() && size.all(kernel, |size, kernel| size >= kernel)
}

/// Begins to lower a layer by tiles of a size that [fits](fits()).
pub(super) fn begin_tiled(
    layer: Layer,
    size: Extent,
    tools: Tools<'_>,
) -> Result<Box<dyn Algorithm>, FftError> {
    Padded::begin(layer, tools.kernels, |layer| {
        let tiling = Tiling::new(&layer.problem, shape(size));
        Ok(Box::new(Tiled::new(layer, tools, tiling)))
    })
}

/// Begins to lower a layer by whole images.
pub(super) fn begin_whole(layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    Padded::begin(layer, tools.kernels, |layer| Ok(Box::new(WholeImage::new(layer, tools)?)))
}

fn shape(size: Extent) -> TileShape {
    TileShape::new(size.to_array()).expect("the size of a tile")
}

/// The variants for `problem`, which is without stride, and the modelled [`work`] of all passes by them, in
/// ascending order.
pub(super) fn candidates(problem: &Problem, passes: Passes, tools: Tools<'_>) -> Vec<(Variant, f64)> {
    let tiled = tiling::shapes(problem.kernel).map(|shape| Variant::TiledFft(shape.size().into()));
    let mut found: Vec<(Variant, f64)> = tiled
        .chain([Variant::WholeFft])
        .map(|variant| (variant, work(variant, problem, passes.list(), passes.is_frozen(), tools)))
        .collect();
    found.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    found
}

/// The time of some passes of a layer by a model, in floating-point operations at full speed.
pub(super) fn work(
    variant: Variant,
    problem: &Problem,
    passes: &[Pass],
    frozen: bool,
    tools: Tools<'_>,
) -> f64 {
    let problem = &unpadded(problem);
    let load = Load::new(problem, passes, frozen);
    match variant {
        Variant::TiledFft(size) => tiling::work(problem, &load, tools.kernels.lanes(), shape(size)),
        _ => whole::work(problem, &load, tools.planner),
    }
}

/// Bytes that the passes of a layer hold.
pub(super) fn bytes(variant: Variant, problem: &Problem, tools: Tools<'_>) -> usize {
    let images = padded::bytes(problem);
    let problem = &unpadded(problem);
    images
        + match variant {
            Variant::TiledFft(size) => tiled::least_bytes(problem, shape(size), tools.kernels.lanes()),
            _ => WholeImage::bytes(problem, tools.planner.good_extent(problem.input)),
        }
}

/// What some passes of a layer have to do, with spectra that they share.
struct Load {
    /// Products of all pairs of maps.
    products: f64,
    /// Images that are transformed there or back.
    images: f64,
    /// How many times all kernels are transformed there or back.
    kernels: f64,
}

impl Load {
    fn new(problem: &Problem, passes: &[Pass], frozen: bool) -> Self {
        let [forward, data, weights] =
            [Pass::Forward, Pass::BackwardData, Pass::BackwardWeights].map(|pass| passes.contains(&pass));
        let count = |cases: [bool; 2]| cases.into_iter().filter(|&case| case).count() as f64;
        let (c_in, c_out) = (problem.c_in as f64, problem.c_out as f64);
        Self {
            products: passes.len() as f64,
            images: c_in * count([forward || weights, data]) + c_out * count([data || weights, forward]),
            kernels: count([(forward || data) && !frozen, weights]),
        }
    }
}
