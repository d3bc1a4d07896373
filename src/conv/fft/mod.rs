//! Convolution by products of spectra: of tiles, or of whole images where the kernel is larger than any tile.

mod tiled;
mod tiling;
mod whole;

use tiled::Tiled;
use tiling::Tiling;
use whole::WholeImage;

use super::{Algorithm, Layer, Problem, Tools};
use crate::fft::FftError;

/// Begins to lower a layer.
pub(super) fn begin(layer: Layer, tools: Tools<'_>) -> Result<Box<dyn Algorithm>, FftError> {
    Ok(match Tiling::best(&layer.problem, layer.frozen, tools.kernels) {
        Some(tiling) => Box::new(Tiled::new(layer, tools.kernels, tiling)),
        None => Box::new(WholeImage::new(layer, tools)?),
    })
}

/// Bytes that the passes of a layer hold.
pub(super) fn bytes(problem: &Problem, tools: Tools<'_>) -> usize {
    let size = tools.planner.good_extent(problem.input);
    WholeImage::bytes(problem, size)
}
